//! `dfs stats`: it shows the operations that were just made, to the user who mounted and to root, and to nobody else.
use crate::Scene;
use integration::{Room, patience, programs};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65_534;

fn stats(mountpoint: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(programs::dfs());
    command.arg("stats").arg(mountpoint).args(args);
    command
}

/// Of a list of operations the row with this name.
fn row<'a>(picture: &'a Value, list: &str, op: &str) -> Option<&'a Value> {
    picture[list]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["op"] == op)
}

fn count(picture: &Value, list: &str, op: &str) -> u64 {
    row(picture, list, op).map_or(0, |row| row["count"].as_u64().unwrap())
}

/// Looks at the mount until it is killed; its pictures as they come.
fn looking(mountpoint: &Path) -> (Child, Receiver<Value>) {
    let mut command = stats(mountpoint, &["--json", "-i", "0.2"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (send, pictures) = channel();
    let read = move || {
        for line in lines.map_while(Result::ok) {
            let Ok(picture) = serde_json::from_str(&line) else {
                return;
            };
            if send.send(picture).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().spawn(read).unwrap();
    (child, pictures)
}

#[test]
fn stats_show_the_operations_that_were_just_made() {
    let scene = Scene::new();
    let (mut child, pictures) = looking(scene.path());
    let next = || pictures.recv_timeout(LIMIT).expect("a picture in time");
    // What happens after the first picture is in one of the next.
    next();
    for number in 0..20 {
        std::fs::create_dir(scene.join(&format!("d{number}"))).unwrap();
    }
    std::fs::write(scene.join("f"), vec![7; 1 << 20]).unwrap();
    std::fs::File::open(scene.join("f")).unwrap().sync_all().unwrap();
    let sum = |pictures: &[Value], list: &str, op: &str| -> u64 {
        pictures.iter().map(|picture| count(picture, list, op)).sum()
    };
    let mut seen = Vec::new();
    patience::until_true("the operations are shown", LIMIT, || {
        seen.push(next());
        sum(&seen, "calls", "mkdir") >= 20 && sum(&seen, "calls", "fsync") >= 1
    });
    seen.push(next());
    assert_eq!(sum(&seen, "calls", "mkdir"), 20, "each is shown once");
    assert_eq!(sum(&seen, "calls", "rmdir"), 0);
    let uploaded = |picture: &Value| picture["uploaded_bytes_per_second"].as_f64().unwrap();
    assert!(seen.iter().any(|picture| uploaded(picture) > 0.0));
    assert!(sum(&seen, "coordinator_calls", "commit") + sum(&seen, "coordinator_calls", "ship") >= 1);
    let with = seen
        .iter()
        .find_map(|picture| row(picture, "calls", "mkdir"))
        .unwrap();
    let micros = |key: &str| with[key].as_f64().unwrap();
    assert!(micros("p50_us") > 0.0 && micros("p99_us") >= micros("p50_us") && micros("mean_us") > 0.0);
    let last = &seen[seen.len() - 1]["now"];
    assert!(
        last["leases_shared"].as_u64().unwrap() + last["leases_exclusive"].as_u64().unwrap() >= 20,
        "{last}"
    );
    assert_eq!(last["connected"], true);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn stats_are_for_people_too_and_only_for_root_and_who_mounted() {
    let scene = Scene::new();
    // People get a line for each interval where there is no terminal.
    let output = stats(scene.path(), &["-i", "0.1", "-n", "2"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).lines().count(),
        3,
        "{output:?}"
    );
    // Others may use the mount, and may not look.
    let copy = scene.room.path().join("dfs");
    let copied = Command::new("cp")
        .arg(programs::dfs())
        .arg(&copy)
        .status()
        .unwrap();
    assert!(copied.success(), "cp");
    let mut other = Command::new(copy);
    other
        .arg("stats")
        .arg(scene.path())
        .args(["-n", "1"])
        .uid(NOBODY)
        .gid(NOBODY);
    let other = other.output().unwrap();
    assert!(!other.status.success(), "{other:?}");
    assert!(
        String::from_utf8_lossy(&other.stderr).contains("only root"),
        "{other:?}"
    );
    let elsewhere = stats(Room::new().path(), &["-n", "1"]).output().unwrap();
    assert!(!elsewhere.status.success(), "{elsewhere:?}");
}
