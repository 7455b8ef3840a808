//! The guard of a mount: a killed client's connection ends although something still holds it open.
use crate::Scene;
use integration::{patience, sys};
use std::fs::File;
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// The guards of a client.
fn guards(client: i32) -> Vec<PathBuf> {
    let wanted = format!("dfs-guard\0{client}\0");
    let processes = std::fs::read_dir("/proc").unwrap();
    let paths = processes.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| std::fs::read(path.join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
        .collect()
}

/// One more descriptor of the client's connection, as a thread of it that is stuck in the kernel holds one.
fn share_connection(client: i32) -> File {
    let fds = std::fs::read_dir(format!("/proc/{client}/fd")).unwrap();
    let of_device = |path: &PathBuf| std::fs::read_link(path).is_ok_and(|to| to == Path::new("/dev/fuse"));
    let path = fds.map(|fd| fd.unwrap().path()).find(of_device);
    let path = path.expect("a client has its connection open");
    let number: i32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // SAFETY: the calls take numbers and return new descriptors, which belong to nobody else.
    unsafe {
        let process = sys::check(libc::syscall(libc::SYS_pidfd_open, client, 0)).unwrap();
        let process = File::from_raw_fd(process as i32);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&process);
        let shared = sys::check(libc::syscall(libc::SYS_pidfd_getfd, fd, number, 0)).unwrap();
        File::from_raw_fd(shared as i32)
    }
}

// S23
#[test]
fn a_killed_client_whose_connection_stays_open_hangs_nobody() {
    let mut scene = Scene::new();
    std::fs::write(scene.join("file"), "content").unwrap();
    File::open(scene.join("file")).unwrap().sync_all().unwrap();
    let client = scene.mount.process().pid();
    let [guard] = &guards(client)[..] else {
        panic!("a client has one guard, not {:?}", guards(client));
    };
    patience::until_true("the guard has its name", LIMIT, || {
        std::fs::read_to_string(guard.join("comm")).is_ok_and(|name| name == "dfs-guard\n")
    });
    let held = share_connection(client);
    scene.mount.process().signal(libc::SIGKILL);
    for name in ["file", "absent"] {
        let path = scene.join(name);
        let asked = patience::within("a call on the dead mount", LIMIT, move || path.metadata());
        // Who was under way when the connection was cut gets the one, who comes later the other.
        let errno = sys::errno(asked);
        assert!(
            [libc::ECONNABORTED, libc::ENOTCONN].contains(&errno),
            "errno {errno}"
        );
    }
    assert!(
        sys::mounted(scene.path()).is_some(),
        "it is there until somebody unmounts it"
    );
    patience::until_true("the guard ends", LIMIT, || guards(client).is_empty());
    scene.mount.kill_and_mount();
    drop(held);
    assert_eq!(std::fs::read(scene.join("file")).unwrap(), b"content");
    let client = scene.mount.process().pid();
    assert_eq!(guards(client).len(), 1);
    scene.mount.unmount();
    assert!(guards(client).is_empty(), "an orderly end leaves no guard");
}
