//! Servers that are gone: bounded waits, errors instead of hanging, umount, and going on when they return.
use crate::Scene;
use integration::{Mount, patience, sys};
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(4);
/// The mount's bound, and what a loaded machine adds.
const BOUND: Duration = Duration::from_secs(20);
const RETURN: Duration = Duration::from_secs(40);

/// A second mount with a short bound, so that the test does not take the default's 30 s per call.
fn impatient(scene: &Scene) -> Mount {
    let options = format!("allow_other,timeout={}", WAIT.as_secs());
    Mount::with(&scene.cluster, scene.room.path(), "impatient", "", &options)
}

// S23, S24
#[test]
fn without_servers_calls_end_with_an_error_and_go_on_when_they_return() {
    let mut scene = Scene::new();
    let mount = impatient(&scene);
    std::fs::write(mount.join("before"), "content").unwrap();
    File::open(mount.join("before")).unwrap().sync_all().unwrap();
    scene.cluster.kill_all();
    let path = mount.join("new");
    let begun = Instant::now();
    let made = patience::within("create and fsync without servers", BOUND, move || {
        std::fs::create_dir(&path)?;
        File::open(path)?.sync_all()
    });
    assert_eq!(
        sys::errno(made),
        libc::ETIMEDOUT,
        "nobody could have made it durable"
    );
    assert!(
        begun.elapsed() > Duration::from_millis(500),
        "it did not even try: {:?}",
        begun.elapsed()
    );
    let path = mount.path().to_owned();
    patience::within("ls without servers", BOUND, move || {
        std::fs::read_dir(path).map(Iterator::count)
    })
    .ok();
    scene.cluster.start_all();
    let back = || std::fs::read(mount.join("before")).is_ok_and(|bytes| bytes == b"content");
    patience::until_true("the same mount reads again", RETURN, back);
    let writes = || std::fs::write(mount.join("after"), "content").is_ok();
    patience::until_true("the same mount writes again", RETURN, writes);
    File::open(mount.join("after")).unwrap().sync_all().unwrap();
}

// S23
#[test]
fn umount_works_without_servers() {
    let mut scene = Scene::new();
    let mut mount = impatient(&scene);
    std::fs::write(mount.join("file"), "content").unwrap();
    File::open(mount.join("file")).unwrap().sync_all().unwrap();
    scene.cluster.kill_all();
    mount.unmount();
}

// S23
#[test]
fn a_caller_that_waits_can_be_killed() {
    let mut scene = Scene::new();
    std::fs::write(scene.join("file"), "content").unwrap();
    scene.cluster.coordinator.process().freeze();
    let mut command = std::process::Command::new("mkdir");
    command.arg(scene.join("new"));
    let mut caller =
        integration::process::Process::start("mkdir", &mut command, &scene.room.path().join("mkdir.log"));
    std::thread::sleep(Duration::from_secs(1));
    caller.signal(libc::SIGKILL);
    patience::until_true("the killed caller ends", Duration::from_secs(5), || {
        caller.ended().is_some()
    });
    scene.cluster.coordinator.process().thaw();
    patience::until_true("the mount goes on", RETURN, || {
        std::fs::write(scene.join("after"), "x").is_ok()
    });
}

// S18, S24
#[test]
fn a_coordinator_killed_and_restarted_is_no_error_to_a_patient_caller() {
    let mut scene = Scene::new();
    let path = scene.join("log");
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let work = move || -> std::io::Result<u32> {
        let mut log = File::options().create(true).append(true).open(&path)?;
        let mut lines = 0;
        while let Err(std::sync::mpsc::TryRecvError::Empty) = receive.try_recv() {
            log.write_all(format!("{lines:07}\n").as_bytes())?;
            log.sync_data()?;
            std::fs::write(path.with_extension("tmp"), lines.to_string())?;
            std::fs::rename(path.with_extension("tmp"), path.with_extension("last"))?;
            lines += 1;
        }
        Ok(lines)
    };
    let worker = std::thread::Builder::new().spawn(work).unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(800));
        scene.cluster.coordinator.restart();
    }
    std::thread::sleep(Duration::from_millis(800));
    drop(send);
    let lines = patience::within("the worker", BOUND, move || worker.join().unwrap())
        .expect("no error while it waits");
    let text = std::fs::read_to_string(scene.join("log")).unwrap();
    let wanted: String = (0..lines).map(|n| format!("{n:07}\n")).collect();
    assert!(text == wanted, "{} lines of {lines}", text.lines().count());
}

// S25
#[test]
fn a_datanode_killed_or_frozen_under_load_is_no_error() {
    let mut scene = Scene::new();
    let content: Vec<u8> = (0..24u32 << 20).map(|n| (n ^ (n >> 11)) as u8).collect();
    std::fs::write(scene.join("f"), &content).unwrap();
    File::open(scene.join("f")).unwrap().sync_all().unwrap();
    scene.mount.remount();
    for which in 0..3 {
        let mut reader = File::open(scene.join("f")).unwrap();
        let mut half = vec![0; content.len() / 2];
        reader.read_exact(&mut half).unwrap();
        let node = &mut scene.cluster.datanodes[which];
        if which == 1 {
            node.process().freeze()
        } else {
            node.kill()
        }
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(half == content[..half.len()] && rest == content[half.len()..]);
        let mut writer = File::create(scene.join("g")).unwrap();
        writer.write_all(&content).unwrap();
        writer.sync_all().expect("two members are alive");
        drop((reader, writer));
        assert!(std::fs::read(scene.join("g")).unwrap() == content);
        let node = &mut scene.cluster.datanodes[which];
        if which == 1 {
            node.process().thaw()
        } else {
            node.restart()
        }
        scene.mount.remount();
        assert!(std::fs::read(scene.join("g")).unwrap() == content);
        whole(&scene);
    }
    scene.cluster.assert_clean();
}

/// Waits until no member lacks a copy.
fn whole(scene: &Scene) {
    let clean = || scene.cluster.dfs(&["fsck"]).status.success();
    patience::until_true("missing copies are made again", Duration::from_secs(60), clean);
}
