//! `up` and `down`: a whole DFS on this machine with one command. The data survives both.
use crate::cluster::Cluster;
use crate::shell::{self, Outcome, Stages};
use crate::{fuse, install, packages};
use clap::Args;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const BIN_DIR: &str = "/usr/local/bin";
const PORTS: [u16; 4] = [7400, 7411, 7412, 7413];

#[derive(Args)]
pub struct UpArgs {
    /// Where to mount
    #[arg(default_value = "/mnt/dfs")]
    mountpoint: PathBuf,
    /// Where the data, the log and the pid file live
    #[arg(long, default_value = "/var/lib/dfs")]
    data_dir: PathBuf,
}

#[derive(Args)]
pub struct DownArgs {
    /// The directory that `up` was given
    #[arg(long, default_value = "/var/lib/dfs")]
    data_dir: PathBuf,
}

fn cluster(data_dir: &Path) -> Cluster {
    Cluster {
        programs: BIN_DIR.into(),
        home: data_dir.into(),
        ports: PORTS,
    }
}

/// Remembers the mountpoint for `down`.
fn mount_file(cluster: &Cluster) -> PathBuf {
    cluster.home.join("mountpoint")
}

pub fn up(args: &UpArgs) -> Outcome {
    if !shell::is_root() {
        return Err(needs_root(args));
    }
    let cluster = cluster(&std::path::absolute(&args.data_dir).map_err(|e| e.to_string())?);
    let point = std::path::absolute(&args.mountpoint).map_err(|e| e.to_string())?;
    let mut stages = Stages::default();
    stages.stage("packages", || packages::ensure(&[packages::BUILD, packages::RUN]))?;
    stages.stage("FUSE", fuse::check)?;
    stages.stage("build", install::build_release)?;
    stages.stage("install", || install::install(Path::new(BIN_DIR)))?;
    stages.stage("server", || match cluster.running() {
        Some(pid) => {
            println!("already running as process {pid}");
            Ok(())
        }
        None => cluster.start(),
    })?;
    stages.stage("mount", || match fuse::mounted(&point) {
        Some(kind) if kind == "fuse.dfs" => Ok(()),
        Some(kind) => Err(format!(
            "{} is in use by a mount of type {kind}: name another",
            point.display()
        )),
        None => cluster.mount(&point),
    })?;
    std::fs::write(mount_file(&cluster), point.as_os_str().as_encoded_bytes())
        .map_err(|e| format!("cannot write {}: {e}", mount_file(&cluster).display()))?;
    stages.stage("probe", || probe(&point))?;
    stages.summary();
    println!("{}", advice(&cluster, &point));
    Ok(())
}

fn needs_root(args: &UpArgs) -> String {
    format!(
        "`cargo xtask up` needs root to\n  - install Debian packages that are missing ({} and what they need)\n  \
         - write {BIN_DIR}/dfs, {BIN_DIR}/dfs-server and /sbin/mount.fuse.dfs\n  - keep data, log and pid file in {}\n  \
         - mount a FUSE file system for all users on {}\nRun it again as root.",
        "protobuf-compiler, libprotobuf-dev, fuse3",
        args.data_dir.display(),
        args.mountpoint.display()
    )
}

/// One durable write and its way back, before anybody is told that it works.
fn probe(point: &Path) -> Outcome {
    let file = point.join(format!(".dfs-probe-{}", std::process::id()));
    let said = b"written, synced, read";
    let attempt = || -> std::io::Result<Vec<u8>> {
        let mut out = std::fs::File::create(&file)?;
        out.write_all(said)?;
        out.sync_all()?;
        let mut back = Vec::new();
        std::fs::File::open(&file)?.read_to_end(&mut back)?;
        std::fs::remove_file(&file)?;
        Ok(back)
    };
    let back = attempt().map_err(|e| format!("the mount on {} does not work: {e}", point.display()))?;
    if back == said {
        Ok(())
    } else {
        Err("the mount gave back other bytes than were written".into())
    }
}

fn advice(cluster: &Cluster, point: &Path) -> String {
    let (point, log) = (point.display(), cluster.log_file());
    format!(
        "\nDFS is mounted on {point}: one coordinator, three datanodes, three copies of every byte.\n\n  \
         Try   git clone . {point}/clone && df -h {point} && dfs status {point} && dfs info {point}/clone/README.md\n  \
         Log   {}\n  Stop  cargo xtask down      (the data stays; `cargo xtask up` brings it back)\n",
        log.display()
    )
}

pub fn down(args: &DownArgs) -> Outcome {
    if !shell::is_root() {
        return Err("run as root: this unmounts and stops what `cargo xtask up` started".into());
    }
    let cluster = cluster(&std::path::absolute(&args.data_dir).map_err(|e| e.to_string())?);
    if let Ok(point) = std::fs::read_to_string(mount_file(&cluster)) {
        let point = PathBuf::from(point);
        if fuse::mounted(&point).is_some_and(|kind| kind == "fuse.dfs") {
            fuse::unmount(&point)?;
            println!("unmounted {}", point.display());
        }
        std::fs::remove_file(mount_file(&cluster))
            .map_err(|e| format!("cannot forget the mountpoint: {e}"))?;
    }
    match cluster.running() {
        Some(_) => cluster
            .stop()
            .map(|()| println!("stopped; the data stays in {}", cluster.home.display())),
        None => {
            println!("no server of {} is running", cluster.home.display());
            Ok(())
        }
    }
}
