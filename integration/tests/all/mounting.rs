//! Mounting as a native file system is mounted: options, the mount helper, errors, remount, the end.
use crate::Scene;
use integration::{Cluster, Mount, Room, patience, programs, script, sys};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

/// Runs `dfs mount` in the background way; it must come back by itself.
fn dfs_mount(args: &[&str]) -> Output {
    let mut command = Command::new(programs::dfs());
    // The test shows what the client says itself; nothing is left in /var/log.
    command
        .args(["mount", "--log", "/dev/null"])
        .args(args)
        .stdin(Stdio::null());
    patience::within("`dfs mount` returns", LIMIT, move || command.output().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The clients that serve `point`, by their command line.
fn clients(point: &Path) -> usize {
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()));
    let serves = |process: &Path| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line
            .split(|b| *b == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        words.iter().any(|word| word == text(point)) && words.iter().any(|word| word.starts_with("dfs://"))
    };
    processes.filter(|process| serves(process)).count()
}

// S31
#[test]
fn background_mount_is_usable_when_it_returns_and_umount_ends_the_client() {
    let room = Room::new();
    let cluster = Cluster::start(room.path());
    let point = room.folder("mnt");
    let output = dfs_mount(&[&cluster.source(""), text(&point)]);
    assert!(output.status.success(), "{}", said(&output));
    std::fs::write(point.join("file"), "content").unwrap();
    assert_eq!(sys::mounted(&point).unwrap().kind, "fuse.dfs");
    assert_eq!(clients(&point), 1);
    sys::unmount(&point).unwrap();
    patience::until_true("the client ends", LIMIT, || clients(&point) == 0);
    assert_eq!(std::fs::read_dir(&point).unwrap().count(), 0);
    let output = dfs_mount(&[&cluster.source(""), text(&point)]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(std::fs::read(point.join("file")).unwrap(), b"content");
    let output = Command::new(programs::dfs())
        .arg("umount")
        .arg(&point)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(sys::mounted(&point).is_none());
    patience::until_true("the client ends", LIMIT, || clients(&point) == 0);
}

#[test]
fn a_directory_of_the_volume_can_be_the_root() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.join("a/b")).unwrap();
    std::fs::write(scene.join("a/b/file"), "inside").unwrap();
    let by_url = Mount::with(&scene.cluster, scene.room.path(), "url", "a/b", "allow_other");
    assert_eq!(std::fs::read(by_url.join("file")).unwrap(), b"inside");
    let by_option = Mount::with(&scene.cluster, scene.room.path(), "option", "", "subdir=a/b");
    assert_eq!(std::fs::read(by_option.join("file")).unwrap(), b"inside");
}

// S31
#[test]
fn read_only_refuses_changes_and_remount_starts_no_second_client() {
    let scene = Scene::new();
    std::fs::write(scene.join("file"), "content").unwrap();
    let read_only = Mount::with(
        &scene.cluster,
        scene.room.path(),
        "ro",
        "",
        "ro,noatime,allow_other",
    );
    assert_eq!(std::fs::read(read_only.join("file")).unwrap(), b"content");
    assert_eq!(
        sys::errno(std::fs::write(read_only.join("file"), "other")),
        libc::EROFS
    );
    assert_eq!(
        sys::errno(std::fs::create_dir(read_only.join("dir"))),
        libc::EROFS
    );
    let options = sys::mounted(read_only.path()).unwrap().options;
    assert!(
        options.split(',').any(|o| o == "ro") && options.contains("noatime"),
        "{options}"
    );

    scene.room.install_mount_program();
    let point = scene.path().to_owned();
    let remount = |options: &str| {
        let mut command = Command::new("mount");
        command.args(["-o", options]).arg(&point);
        let output = patience::within("mount -o remount", LIMIT, move || command.output().unwrap());
        assert!(output.status.success(), "{}", said(&output));
    };
    let before = clients(&point);
    remount("remount,ro");
    assert_eq!(
        sys::errno(std::fs::write(scene.join("file"), "other")),
        libc::EROFS
    );
    remount("remount,rw");
    std::fs::write(scene.join("file"), "other").unwrap();
    assert_eq!(clients(&point), before);
}

#[test]
fn mount_and_fstab_work_with_the_usual_options() {
    let room = Room::new();
    let cluster = Cluster::start(room.path());
    room.install_mount_program();
    let point = room.folder("mnt");
    let (source, at) = (cluster.source(""), text(&point));
    script::run(
        room.path(),
        LIMIT,
        &format!("mount -t fuse.dfs {source} {at} -o rw,allow_other,nosuid,nodev,noexec"),
    );
    let entry = sys::mounted(&point).unwrap();
    assert_eq!(entry.kind, "fuse.dfs");
    for option in ["rw", "nosuid", "nodev", "noexec", "allow_other"] {
        assert!(
            entry.options.split(',').any(|o| o == option),
            "{option} is not in {}",
            entry.options
        );
    }
    std::fs::write(point.join("file"), "content").unwrap();
    script::run(room.path(), LIMIT, &format!("umount {at}"));

    let options = "ro,_netdev,nofail,x-systemd.automount,x-systemd.device-timeout=5,suid,dev,exec,relatime";
    std::fs::write(
        room.path().join("fstab"),
        format!("{source} {at} fuse.dfs {options} 0 0\n"),
    )
    .unwrap();
    script::run(
        room.path(),
        LIMIT,
        &format!("mount --fstab {}/fstab {at}", text(room.path())),
    );
    assert_eq!(std::fs::read(point.join("file")).unwrap(), b"content");
    assert_eq!(
        sys::errno(std::fs::write(point.join("file"), "other")),
        libc::EROFS
    );
    script::run(room.path(), LIMIT, &format!("umount {at}"));
    assert!(sys::mounted(&point).is_none());
}

// S31
#[test]
fn wrong_mounts_are_refused_with_one_clear_line_and_leave_nothing() {
    let room = Room::new();
    let cluster = Cluster::start(room.path());
    let source = cluster.source("");
    let full = room.folder("full");
    std::fs::write(full.join("something"), "").unwrap();
    let file = room.path().join("file");
    std::fs::write(&file, "").unwrap();
    let point = room.folder("mnt");
    let absent = room.path().join("absent");
    let cases: [(&[&str], &str); 7] = [
        (&[&source, text(&full)], "empty"),
        (&[&source, text(&file)], "directory"),
        (&[&source, text(&absent)], "absent"),
        (&[&source, text(&point), "-o", "no-such-option"], "no-such-option"),
        (&["http://localhost/default", text(&point)], "dfs://"),
        (&[&format!("{source}/no/such/dir"), text(&point)], "no/such/dir"),
        (
            &[&source.replace("/default", "/no-such-volume"), text(&point)],
            "no-such-volume",
        ),
    ];
    for (args, word) in cases {
        let output = dfs_mount(args);
        let said = said(&output);
        assert!(!output.status.success(), "{args:?} must fail");
        assert!(said.contains(word), "{args:?} must name {word}, says: {said}");
        assert!(said.trim().lines().count() <= 3, "{args:?} says too much: {said}");
        assert!(sys::mounted(&point).is_none(), "{args:?} leaves a mount");
    }
    let output = dfs_mount(&[&source, text(&point)]);
    assert!(output.status.success(), "{}", said(&output));
    let output = dfs_mount(&[&source, text(&point)]);
    assert!(
        !output.status.success() && said(&output).contains("mounted"),
        "{}",
        said(&output)
    );
    sys::unmount(&point).unwrap();
    assert!(sys::mounted(&point).is_none());
}

// S23, S31
#[test]
fn no_server_is_an_error_in_time_and_no_stale_mount() {
    let room = Room::new();
    let point = room.folder("mnt");
    let port = integration::cluster::free_ports(1)[0];
    let output = dfs_mount(&[
        &format!("dfs://127.0.0.1:{port}/default"),
        text(&point),
        "-o",
        "timeout=3",
    ]);
    assert!(!output.status.success());
    assert!(said(&output).contains(&port.to_string()), "{}", said(&output));
    assert!(sys::mounted(&point).is_none());
}

#[test]
fn sigterm_unmounts_and_keeps_what_was_written() {
    let mut scene = Scene::new();
    std::fs::write(scene.join("file"), vec![7; 3_000_000]).unwrap();
    let status = scene.mount.process().terminate();
    assert!(status.success(), "{status}");
    assert!(sys::mounted(scene.path()).is_none());
    scene.mount.mount();
    assert_eq!(std::fs::read(scene.join("file")).unwrap(), vec![7; 3_000_000]);
}

#[test]
fn servers_show_their_configuration_and_refuse_what_is_not_theirs() {
    let room = Room::new();
    let mut cluster = Cluster::start(room.path());
    let server = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(programs::dfs_server());
        command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
        patience::within("dfs-server returns", LIMIT, move || command.output().unwrap())
    };
    let file = room.path().join("server.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:7001\"\nreplication = 2\n").unwrap();
    let from = |args: &[&str], env: &[(&str, &str)]| {
        let usual = [
            "coordinator",
            "--config",
            text(&file),
            "--data-dir",
            "x",
            "--print-config",
        ];
        let output = server(&[&usual, args].concat(), env);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(from(&[], &[]).contains("127.0.0.1:7001"));
    let env = [("DFS_LISTEN", "127.0.0.1:7002")];
    assert!(from(&[], &env).contains("127.0.0.1:7002"));
    assert!(from(&["--listen", "127.0.0.1:7003"], &env).contains("127.0.0.1:7003"));

    // Without --init nothing is created; a directory of another node or cluster is refused.
    let absent = room.path().join("absent");
    let output = server(
        &[
            "coordinator",
            "--data-dir",
            text(&absent),
            "--listen",
            "127.0.0.1:0",
        ],
        &[],
    );
    assert!(
        !output.status.success() && said(&output).contains("--init"),
        "{}",
        said(&output)
    );
    let foreign = cluster.datanodes[0].data.clone();
    cluster.datanodes[0].kill();
    let output = server(
        &[
            "coordinator",
            "--data-dir",
            text(&foreign),
            "--listen",
            "127.0.0.1:0",
        ],
        &[],
    );
    assert!(
        !output.status.success() && said(&output).contains(text(&foreign)),
        "{}",
        said(&output)
    );
}
