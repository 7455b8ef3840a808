//! `dfs profile` blames the right one: another mount's lease, the disk of the metadata log, the disks of datanodes.
use crate::Scene;
use integration::cluster::Setup;
use integration::disk::Disk;
use integration::{Cluster, Mount, Room, patience, programs};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// How long the guilty one stands still, and what of it must be blamed on it at least: a loaded machine takes its part.
const STILL: Duration = Duration::from_millis(700);
const BLAMED: f64 = 350_000.0;

/// A recording that has begun.
fn profile(mountpoint: &Path) -> Child {
    let mut command = Command::new(programs::dfs());
    command
        .arg("profile")
        .arg(mountpoint)
        .args(["--json", "--slower-than", "100ms", "--seconds", "300"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = child.stderr.take().unwrap();
    let line = patience::within("the recording begins", LIMIT, move || {
        let mut line = String::new();
        BufReader::new(stderr).read_line(&mut line).map(|_| line)
    });
    assert!(line.unwrap().starts_with("recording "));
    child
}

/// Ends it early, as Ctrl-C does: what it has seen.
fn said(child: Child) -> Value {
    // SAFETY: a signal to a child that is waited for only below.
    let sent = unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    assert_eq!(sent, 0);
    let output = patience::within("dfs profile", LIMIT, move || child.wait_with_output().unwrap());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn micros(call: &Value, stage: &str) -> f64 {
    call["stages_us"][stage]
        .as_f64()
        .unwrap_or_else(|| panic!("{stage} in {call}"))
}

/// The slowest call with this path's end.
fn slowest<'a>(said: &'a Value, path: &str) -> &'a Value {
    let calls = said["slowest"].as_array().unwrap();
    let own = |call: &&Value| call["path"].as_str().is_some_and(|found| found.ends_with(path));
    calls
        .iter()
        .find(own)
        .unwrap_or_else(|| panic!("no slow call of {path}: {said}"))
}

/// The stages of a call are its whole.
fn assert_whole(call: &Value) {
    let stages = call["stages_us"].as_object().unwrap();
    let sum: f64 = stages.values().filter_map(Value::as_f64).sum();
    let total = call["total_us"].as_f64().unwrap();
    assert!((sum - total).abs() < 1_000.0, "{sum} against {call}");
}

#[test]
fn another_mounts_lease_is_blamed() {
    let scene = Scene::new();
    let mut other = scene.second();
    std::fs::create_dir(scene.join("d")).unwrap();
    std::fs::write(other.join("d/f"), "held alone").unwrap();
    std::fs::read_dir(scene.join("d")).unwrap().count();
    let recording = profile(scene.path());
    let refused = Command::new(programs::dfs())
        .arg("profile")
        .arg(scene.path())
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("somebody else records"),
        "{refused:?}"
    );
    std::fs::write(other.join("d/f"), "written again").unwrap();
    // Its lease is given to others when it was silent for a lease term.
    other.process().signal(libc::SIGSTOP);
    let path = scene.join("d/f");
    patience::within("a read", LIMIT, move || std::fs::read(path)).ok();
    other.process().signal(libc::SIGCONT);
    let said = said(recording);
    assert!(micros(&said["all"], "lease") >= BLAMED, "{said}");
    let calls = said["slowest"].as_array().unwrap();
    let most = calls
        .iter()
        .max_by(|one, other| micros(one, "lease").total_cmp(&micros(other, "lease")));
    let most = most.unwrap();
    assert_whole(most);
    assert!(
        micros(most, "lease") > micros(most, "log") + micros(most, "datanode"),
        "{most}"
    );
}

#[test]
fn the_disk_of_the_log_and_those_of_datanodes_are_blamed() {
    let room = Room::new();
    let log = Disk::new(room.path(), "log-disk", 512);
    let chunks = Disk::new(room.path(), "chunk-disk", 512);
    let mut setup = Setup::default();
    setup
        .directories
        .push(("coordinator".to_owned(), log.path().join("coordinator")));
    setup
        .directories
        .push(("datanode-1".to_owned(), chunks.path().join("datanode-1")));
    (setup.datanodes, setup.replication) = (1, 1);
    let cluster = Cluster::with(room.path(), &setup);
    let mut mount = Mount::new(&cluster, room.path(), "mnt");
    let file = std::fs::File::create(mount.join("f")).unwrap();
    file.sync_all().unwrap();
    let sync = |what: &'static str, disk: &Disk, content: &str| {
        let recording = profile(mount.path());
        let frozen = disk.freeze();
        let (file, content) = (file.try_clone().unwrap(), content.to_owned());
        let syncing = std::thread::Builder::new().spawn(move || {
            use std::io::Write;
            (&file).write_all(content.as_bytes())?;
            file.sync_all()
        });
        std::thread::sleep(STILL);
        drop(frozen);
        let syncing = syncing.unwrap();
        let done = patience::within(what, LIMIT, move || syncing.join().unwrap());
        assert!(done.is_ok(), "{what}: {done:?}");
        said(recording)
    };
    let of_log = sync("a slow log", &log, "one");
    let call = slowest(&of_log, "/f");
    assert_whole(call);
    assert!(
        micros(call, "log") >= BLAMED && micros(call, "log") > micros(call, "datanode"),
        "{call}"
    );
    let of_disk = sync("slow chunks", &chunks, "two");
    let call = slowest(&of_disk, "/f");
    assert_whole(call);
    assert!(
        micros(call, "datanode") >= BLAMED && micros(call, "datanode") > micros(call, "log"),
        "{call}"
    );
    drop(file);
    mount.unmount();
}
