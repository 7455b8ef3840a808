//! The file systems that are measured. How each is started, mounted again and taken away is a script of its name in
//! bench/targets; which packages it needs, and which rows it is measured on, is here.
use super::passthrough;
use crate::packages::{self, Package};
use crate::shell::{self, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything about a start is bounded in the scripts; these are the bounds of their sums, in seconds.
const UP_LIMIT: &str = "600";
const DOWN_LIMIT: &str = "300";

/// Rows whose meaning is that something is on stable storage. `git` syncs every object that it writes.
pub const ROWS_THAT_SYNC: &str = "^(seq_write|randwrite_.*|append_.*|sqlite_tx|git_add_commit)$";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// One copy, no network: what this machine allows.
    Limit,
    /// This project.
    Subject,
    Peer,
}

pub struct Target {
    pub name: &'static str,
    pub part: Part,
    /// What it is, for the page.
    pub about: &'static str,
    /// Only these rows; nothing means all.
    pub rows: Option<&'static str>,
    script: &'static str,
    settings: &'static [(&'static str, &'static str)],
    packages: &'static [Package],
}

pub const ALL: [Target; 7] = [
    Target {
        name: "ext4",
        part: Part::Limit,
        about: "the disk itself: one copy, no network, no daemon",
        rows: None,
        script: "ext4.sh",
        settings: &[],
        packages: &[],
    },
    Target {
        name: "passthrough",
        part: Part::Limit,
        about: "libfuse's passthrough_ll over that disk: what FUSE allows with one copy and no network",
        rows: None,
        script: "passthrough.sh",
        settings: &[],
        packages: &[],
    },
    Target {
        name: "dfs",
        part: Part::Subject,
        about: "this project: a coordinator and three datanodes, three copies, default options, fsync on all of them",
        rows: None,
        script: "dfs.sh",
        settings: &[],
        packages: &[],
    },
    Target {
        name: "moosefs",
        part: Part::Peer,
        about: "MooseFS, three copies, the package's defaults, which never sync: it takes no part in the rows that do",
        rows: None,
        script: "moosefs.sh",
        settings: &[("SAFE", "0")],
        packages: packages::MOOSEFS,
    },
    Target {
        name: "moosefs-safe",
        part: Part::Peer,
        about: "the same with HDD_FSYNC_BEFORE_CLOSE=1 and CHANGELOG_SAVE_MODE=2, for the rows that sync",
        rows: Some(ROWS_THAT_SYNC),
        script: "moosefs.sh",
        settings: &[("SAFE", "1")],
        packages: packages::MOOSEFS,
    },
    Target {
        name: "gluster",
        part: Part::Peer,
        about: "GlusterFS, replica 3, the package's defaults; fsync on all bricks",
        rows: None,
        script: "gluster.sh",
        settings: &[],
        packages: packages::GLUSTER,
    },
    Target {
        name: "ceph",
        part: Part::Peer,
        about: "CephFS, size 3, min_size 2, BlueStore, ceph-fuse; fsync on all OSDs",
        rows: None,
        script: "ceph.sh",
        settings: &[],
        packages: packages::CEPH,
    },
];

impl Target {
    pub fn script_path(&self) -> PathBuf {
        shell::root().join("xtask/bench/targets").join(self.script)
    }
}

/// A target and where it keeps its things.
pub struct Place {
    pub target: &'static Target,
    scratch: PathBuf,
    /// Where this project's executables are.
    programs: PathBuf,
}

impl Place {
    pub fn new(target: &'static Target, scratch: &Path, programs: &Path) -> Self {
        Self {
            target,
            scratch: scratch.to_owned(),
            programs: programs.to_owned(),
        }
    }

    pub fn mountpoint(&self) -> PathBuf {
        self.scratch.join(format!("{}-mnt", self.target.name))
    }

    fn tools(&self) -> PathBuf {
        self.scratch.join("tools")
    }

    /// Installs and builds what the target needs, and clears what an earlier run left.
    pub fn prepare(&self) -> Outcome {
        packages::ensure(&[self.target.packages])?;
        std::fs::create_dir_all(self.tools())
            .map_err(|e| format!("cannot make {}: {e}", self.tools().display()))?;
        if self.target.script == "passthrough.sh" {
            passthrough::build(&self.tools().join("passthrough"))?;
        }
        self.stop()
    }

    pub fn start(&self) -> Outcome {
        shell::run(&mut self.script(UP_LIMIT, "up"))
    }

    /// Unmounts, stops and deletes the files.
    pub fn stop(&self) -> Outcome {
        shell::run(&mut self.script(DOWN_LIMIT, "down"))?;
        match std::fs::remove_dir(self.mountpoint()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {e}", self.mountpoint().display()))
            }
            _ => Ok(()),
        }
    }

    /// For a shell: unmounts and mounts the client again and nothing else.
    pub fn remount_command(&self) -> String {
        let mut words = vec!["env".to_owned()];
        words.extend(
            self.environment()
                .iter()
                .map(|(name, value)| format!("{name}='{value}'")),
        );
        words.push(format!("'{}' remount", self.target.script_path().display()));
        words.join(" ")
    }

    fn script(&self, limit: &str, verb: &str) -> Command {
        let mut command = shell::command("timeout");
        command
            .args(["--kill-after=10", limit])
            .arg(self.target.script_path())
            .arg(verb);
        command.envs(self.environment());
        command
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.display().to_string();
        let mut all = vec![
            ("MNT", text(self.mountpoint())),
            ("BASE", text(self.scratch.join(self.target.name))),
            ("TOOLS", text(self.tools())),
            ("PROGRAMS", text(self.programs.clone())),
        ];
        all.extend(
            self.target
                .settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        all
    }
}
