//! Quotas by directory: to the byte, at the call that would exceed them, for several mounts at once.
use crate::Scene;
use integration::{Cluster, Mount, Room, Setup, patience};
use serde_json::Value;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MIB: usize = 1 << 20;

fn dfs(args: &[&str]) -> std::process::Output {
    Command::new(integration::programs::dfs())
        .args(args)
        .output()
        .unwrap()
}

/// A loaded machine takes no lease away, with data that is not committed: then fewer bytes count.
fn unhurried() -> Scene {
    let mut setup = Setup::default();
    let flags = [
        "--lease-term",
        "10s",
        "--gc-delay",
        "10s",
        "--session-timeout",
        "60s",
    ];
    setup.coordinator_flags = flags.map(String::from).to_vec();
    let room = Room::new();
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    Scene { mount, cluster, room }
}

fn quota(args: &[&str]) {
    let all: Vec<&str> = ["quota"].iter().chain(args).copied().collect();
    let output = dfs(&all);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn row(dir: &Path) -> Value {
    let output = dfs(&["quota", "get", dir.to_str().unwrap(), "--json"]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    rows[0].clone()
}

fn counted(dir: &Path) {
    patience::until_true("the quota is counted", Duration::from_secs(30), || {
        row(dir)["counting"] == Value::Bool(false)
    });
}

fn exceeded(result: std::io::Result<impl Sized>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::QuotaExceeded)
}

// S33
#[test]
fn the_write_that_exceeds_a_quota_is_refused_and_no_later_call() {
    let scene = unhurried();
    let dir = scene.join("d");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("old"), vec![1; MIB]).unwrap();
    File::open(dir.join("old")).unwrap().sync_all().unwrap();
    let name = dir.to_str().unwrap();
    quota(&["set", name, "--bytes", "10MiB", "--inodes", "4"]);
    counted(&dir);
    assert_eq!(row(&dir)["used_inodes"], 2);
    let mut file = File::create(dir.join("f")).unwrap();
    for _ in 0..9 {
        file.write_all(&vec![2; MIB]).unwrap();
    }
    assert!(exceeded(file.write(&[3])), "not a byte more");
    file.write_all_at(&vec![4; MIB], 4 * MIB as u64).unwrap();
    file.sync_all().unwrap();
    assert_eq!(row(&dir)["used_bytes"], 10 * MIB as u64);
    // Inodes, and what statfs shows.
    File::create(dir.join("fourth")).unwrap();
    assert!(exceeded(File::create(dir.join("fifth"))));
    let shown = Command::new("stat")
        .args(["-f", "-c", "%b %S %a", name])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "2560 4096 0");
    // Truncating and removing make room, also for copies and other mounts.
    file.set_len(3 * MIB as u64).unwrap();
    std::fs::remove_file(dir.join("old")).unwrap();
    drop(file);
    // The kernel lets go of the removed one a moment later: that is waited for.
    File::create(dir.join("copy")).unwrap();
    std::fs::copy(dir.join("f"), dir.join("copy")).unwrap();
    let second = scene.second();
    let other = File::options().write(true).open(second.join("d/fourth")).unwrap();
    other.write_all_at(&vec![5; 4 * MIB], 0).unwrap();
    assert!(exceeded(other.write_at(&[6], 4 * MIB as u64)));
    other.sync_all().unwrap();
    assert_eq!(row(&dir)["used_bytes"], 10 * MIB as u64);
    assert!(
        exceeded(std::fs::write(dir.join("copy"), vec![7; 4 * MIB])),
        "3 MiB were freed"
    );
    let moved = std::fs::rename(dir.join("f"), scene.join("outside"));
    assert!(moved.is_ok(), "a file takes its bytes along");
    quota(&["remove", name]);
    patience::until_true("the quota is gone", Duration::from_secs(30), || {
        row(&dir).is_null()
    });
    std::fs::write(dir.join("free"), vec![8; 12 * MIB]).unwrap();
    scene.cluster.assert_clean();
}

// S33
#[test]
fn two_mounts_together_never_exceed_a_quota() {
    let scene = unhurried();
    let second = scene.second();
    let dir = scene.join("d");
    std::fs::create_dir(&dir).unwrap();
    quota(&["set", dir.to_str().unwrap(), "--bytes", "24MiB"]);
    counted(&dir);
    let writers = [scene.path(), second.path()].map(|mount| mount.join("d"));
    let sums = std::thread::scope(|scope| {
        let threads: Vec<_> = writers
            .iter()
            .enumerate()
            .map(|(number, dir)| {
                scope.spawn(move || {
                    let mut file = File::create(dir.join(format!("f{number}"))).unwrap();
                    let mut sum = 0;
                    while sum < 24 * MIB {
                        match file.write(&vec![number as u8; 64 << 10]) {
                            Ok(written) => sum += written,
                            Err(error) if error.kind() == ErrorKind::QuotaExceeded => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    // What was accepted is kept: nothing is refused late.
                    file.sync_all().unwrap();
                    sum
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<usize>()
    });
    assert_eq!(row(&dir)["used_bytes"], sums as u64);
    assert!(sums <= 24 * MIB && sums > 23 * MIB, "{sums}");
    scene.cluster.assert_clean();
}
