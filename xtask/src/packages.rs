//! The Debian packages that building, running, testing and measuring need. Called by the commands that need
//! them; installs only what is missing and starts no service.
use crate::shell::{self, Outcome};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A package and, where one exists, the program that shows that it is not needed.
pub struct Package {
    name: &'static str,
    program: Option<&'static str>,
}

const fn program(name: &'static str, program: &'static str) -> Package {
    Package {
        name,
        program: Some(program),
    }
}

const fn library(name: &'static str) -> Package {
    Package { name, program: None }
}

/// The wire is generated from .proto files when the workspace is built.
pub const BUILD: &[Package] = &[
    program("gcc", "cc"),
    library("libc6-dev"),
    program("protobuf-compiler", "protoc"),
    library("libprotobuf-dev"),
];

pub const RUN: &[Package] = &[program("fuse3", "fusermount3")];

pub const TEST: &[Package] = &[
    library("libacl1-dev"), // pjdfstest links it
    program("acl", "setfacl"),
    program("attr", "setfattr"),
    program("bubblewrap", "bwrap"),
    program("e2fsprogs", "mkfs.ext4"), // small disks that fill up
    program("etcd-client", "etcdctl"),
    program("etcd-server", "etcd"), // started by the tests that need one; its service stays off
    program("faketime", "faketime"), // wall clocks that jump under running processes
    program("fio", "fio"),
    program("git", "git"),
    program("iproute2", "ip"), // networks of namespaces, which tests cut
    program("make", "make"),
    program("openssl", "openssl"), // certificates of an etcd under test
    library("postgresql"),
    program("python3", "python3"),
    program("rsync", "rsync"),
    program("runc", "runc"),
    program("sqlite3", "sqlite3"),
    program("util-linux", "losetup"),
];

pub const BENCH: &[Package] = &[
    program("fio", "fio"),
    program("gcc", "gcc"),
    program("git", "git"),
    library("libfuse3-dev"), // the passthrough's source is among its examples
    program("pkg-config", "pkg-config"),
    program("python3", "python3"),
];

pub const MOOSEFS: &[Package] = &[
    program("gcc", "gcc"), // for the shim that lets its daemons talk on the loopback interface
    program("moosefs-chunkserver", "mfschunkserver"),
    program("moosefs-cli", "mfscli"),
    program("moosefs-client", "mfsmount"),
    program("moosefs-master", "mfsmaster"),
];

pub const GLUSTER: &[Package] = &[
    program("attr", "setfattr"),
    program("glusterfs-client", "glusterfs"),
    program("glusterfs-server", "glusterd"),
];

pub const CEPH: &[Package] = &[
    program("ceph-common", "ceph"),
    program("ceph-fuse", "ceph-fuse"),
    program("ceph-mds", "ceph-mds"),
    program("ceph-mgr", "ceph-mgr"),
    program("ceph-mon", "ceph-mon"),
    program("ceph-osd", "ceph-osd"),
];

fn missing<'a>(wanted: &[&'a [Package]]) -> Vec<&'a str> {
    let absent =
        |p: &Package| p.program.is_none_or(|name| shell::on_path(name).is_none()) && !installed(p.name);
    let mut names: Vec<_> = wanted
        .iter()
        .flat_map(|list| list.iter())
        .filter(|p| absent(p))
        .collect();
    names.sort_by_key(|p| p.name);
    names.dedup_by_key(|p| p.name);
    names.into_iter().map(|p| p.name).collect()
}

fn installed(name: &str) -> bool {
    let mut query = shell::command("dpkg-query");
    shell::capture(query.args(["-W", "-f", "${Status}", name])).is_ok_and(|s| s.contains("ok installed"))
}

/// Installs what is missing of the lists.
pub fn ensure(wanted: &[&[Package]]) -> Outcome {
    let names = missing(wanted);
    if names.is_empty() {
        return Ok(());
    }
    if shell::on_path("apt-get").is_none() {
        return Err(format!(
            "this is not Debian: install the equivalents of {} and try again",
            names.join(" ")
        ));
    }
    if !shell::is_root() {
        return Err(format!(
            "run as root, or first: apt-get install {}",
            names.join(" ")
        ));
    }
    println!("installing {}", names.join(" "));
    let quiet = no_services()?;
    let outcome = install(&names);
    if quiet {
        std::fs::remove_file(POLICY).map_err(|e| format!("cannot remove {POLICY}: {e}"))?;
    }
    outcome
}

fn install(names: &[&str]) -> Outcome {
    let apt = |args: &[&str]| {
        let mut apt = shell::command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-qq")
            .args(args)
            .stdout(std::process::Stdio::null());
        shell::run(&mut apt)
    };
    let args = [&["install", "-y", "--no-install-recommends"], names].concat();
    // The list of packages may be old or absent: fetch it only when the first try fails.
    apt(&args).or_else(|_| apt(&["update"]).and_then(|()| apt(&args)))
}

/// Debian asks this program before it starts a package's service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

fn no_services() -> Outcome<bool> {
    if Path::new(POLICY).exists() {
        return Ok(false);
    }
    std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")
        .and_then(|()| std::fs::set_permissions(POLICY, PermissionsExt::from_mode(0o755)))
        .map_err(|e| format!("cannot write {POLICY}: {e}"))?;
    Ok(true)
}
