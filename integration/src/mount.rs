//! One mount: `dfs mount -f` as a process, killed or unmounted, and nothing of it left when the test ends.
use crate::clock::Clocks;
use crate::cluster::Cluster;
use crate::net::Node;
use crate::process::Process;
use crate::{patience, programs, sys};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const MOUNT_LIMIT: Duration = Duration::from_secs(40);
const UNMOUNT_LIMIT: Duration = Duration::from_secs(40);

/// DFS_TEST_KIND checks the tests themselves: with DFS_PROGRAMS they then run on another file system.
fn kind() -> String {
    std::env::var("DFS_TEST_KIND").unwrap_or_else(|_| "fuse.dfs".into())
}

/// DFS_TEST_OPTIONS is given to every mount, before the test's own options: the suites with another default.
fn options(own: &str) -> String {
    match std::env::var("DFS_TEST_OPTIONS") {
        Ok(every) => format!("{every},{own}"),
        Err(_) => own.into(),
    }
}

pub struct Mount {
    point: PathBuf,
    source: String,
    options: String,
    log: PathBuf,
    /// What the client logs, when not the usual.
    filter: Option<String>,
    node: Option<Node>,
    clocks: Option<Clocks>,
    process: Option<Process>,
}

impl Mount {
    pub fn new(cluster: &Cluster, dir: &Path, name: &str) -> Self {
        Self::with(cluster, dir, name, "", "allow_other")
    }

    /// A mount of another volume than the first.
    pub fn of_volume(cluster: &Cluster, dir: &Path, name: &str, volume: &str) -> Self {
        let source = cluster.source_of(volume);
        Self::of(cluster, dir, name, source, "allow_other")
    }

    /// `inside` is a directory of the volume or empty.
    pub fn with(cluster: &Cluster, dir: &Path, name: &str, inside: &str, options: &str) -> Self {
        Self::of(cluster, dir, name, cluster.source(inside), options)
    }

    fn of(cluster: &Cluster, dir: &Path, name: &str, source: String, options: &str) -> Self {
        let point = dir.join(name);
        std::fs::create_dir_all(&point).unwrap();
        let log = dir.join(format!("{name}.log"));
        let mut mount = Self {
            point,
            source,
            options: self::options(options),
            log,
            filter: None,
            node: cluster.network.as_ref().map(|network| network.node(name)),
            clocks: None,
            process: None,
        };
        mount.mount();
        mount
    }

    pub fn path(&self) -> &Path {
        &self.point
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the mount's client runs")
    }

    /// Mounts anew with a client that logs what the filter says.
    pub fn log_as(&mut self, filter: &str) {
        self.filter = Some(filter.into());
        self.remount();
    }

    /// Mounts anew with a client whose wall clock a test sets, under the mount's name.
    pub fn use_clocks(&mut self, clocks: &Clocks) {
        self.clocks = Some(clocks.clone());
        self.remount();
    }

    /// Starts the client and waits until the mount answers.
    pub fn mount(&mut self) {
        let mut command = Command::new(programs::dfs());
        command
            .args(["mount", "-f", &self.source])
            .arg(&self.point)
            .args(["-o", &self.options]);
        if let Some(filter) = &self.filter {
            command.env("DFS_LOG", filter);
        }
        if let Some(node) = &self.node {
            node.enter(&mut command);
        }
        if let Some(clocks) = &self.clocks {
            let name = self.point.file_name().expect("a mount point has a name");
            clocks.give(&name.to_string_lossy(), &mut command);
        }
        let mut process = Process::start("dfs mount", &mut command, &self.log);
        patience::until_true("the volume is mounted", MOUNT_LIMIT, || {
            if let Some(status) = process.ended() {
                panic!(
                    "`dfs mount -f` ended instead of mounting: {status}\n{}",
                    process.log()
                );
            }
            sys::mounted(&self.point).is_some_and(|entry| entry.kind == kind())
        });
        let point = self.point.clone();
        patience::within("the first call on the mount", MOUNT_LIMIT, move || {
            point.metadata()
        })
        .unwrap();
        self.process = Some(process);
    }

    /// SIGKILL to the client; the dead mount is taken away.
    pub fn kill(&mut self) {
        let process = self.process.take();
        if let Some(process) = &process {
            process.signal(libc::SIGKILL);
        }
        // A thread of the client that is in the kernel for a notification may have to wait for a call that only the
        // end of the mount answers.
        sys::unmount_lazily(&self.point);
        drop(process);
    }

    pub fn kill_and_mount(&mut self) {
        self.kill();
        self.mount();
    }

    /// As an administrator does: umount, and the client ends by itself.
    pub fn unmount(&mut self) {
        let point = self.point.clone();
        // A program that another thread is just starting has copies of this one's open files until it runs.
        let unmounted = move || {
            patience::until("the mount is not busy", UNMOUNT_LIMIT, || {
                match sys::unmount(&point) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => None,
                    outcome => Some(outcome),
                }
            })
        };
        patience::within("umount", UNMOUNT_LIMIT * 2, unmounted).expect("umount");
        if let Some(mut process) = self.process.take() {
            let status = patience::until("the client ends after umount", UNMOUNT_LIMIT, || process.ended());
            assert!(
                status.success(),
                "`dfs mount -f` ended with {status} after umount\n{}",
                process.log()
            );
        }
    }

    pub fn remount(&mut self) {
        self.unmount();
        self.mount();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached first: a call that still hangs in the mount must not stop the clean-up.
        sys::unmount_lazily(&self.point);
    }
}
