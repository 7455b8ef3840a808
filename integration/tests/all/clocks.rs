//! The wall clock of one process after another jumps by a day, forth and back, under load: nothing is lost, nothing is
//! deleted early, nobody is taken for dead.
use integration::figures::Figures;
use integration::{Clocks, Cluster, Mount, Room, Setup, patience};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
/// What a true clock and a slow machine may differ by.
const HOUR: i64 = 3600;
const LIMIT: Duration = Duration::from_secs(30);
const SERVERS: [&str; 4] = ["coordinator", "datanode-1", "datanode-2", "datanode-3"];

fn setup(clocks: &Clocks) -> Setup {
    let flags = [
        ["--lease-term", "5s"],
        // Much longer than the test, much shorter than a jump.
        ["--gc-delay", "10m"],
        ["--session-timeout", "20s"],
        ["--inventory-interval", "5s"],
    ];
    Setup {
        coordinator_flags: flags.concat().into_iter().map(String::from).collect(),
        clocks: Some(clocks.clone()),
        ..Setup::default()
    }
}

/// Writes on one mount and reads on the other, until it is told to end; counts rounds. Any error is a failure.
fn load(from: PathBuf, to: PathBuf, ended: Arc<AtomicBool>, rounds: Arc<AtomicUsize>) {
    for number in 0.. {
        if ended.load(Ordering::SeqCst) {
            return;
        }
        let name = format!("file-{}", number % 8);
        let content = format!("content {number} ").repeat(10_000);
        let mut file = File::create(from.join(&name)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file.sync_all().unwrap();
        drop(file);
        assert!(std::fs::read_to_string(to.join(&name)).unwrap() == content);
        let renamed = to.join(format!("{name}-renamed"));
        std::fs::rename(to.join(&name), &renamed).unwrap();
        if number % 2 == 0 {
            std::fs::remove_file(&renamed).unwrap();
        }
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

/// By how many seconds the time of what is made here next is off.
fn error_of(made: &Path) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    made.metadata().unwrap().mtime() - now.as_secs() as i64
}

/// Returns when the jump is seen from outside.
fn arrived(scene: (&Cluster, &Mount), name: &str, offset: i64) {
    let (cluster, mount) = scene;
    let what = format!("the clock of {name} is seen to be off by {offset} s");
    let mut number = 0;
    patience::until_true(&what, LIMIT, || {
        number += 1;
        let seen = match name {
            "coordinator" => {
                let dir = mount.join(&format!("dir-{offset}-{number}"));
                std::fs::create_dir(&dir).unwrap();
                error_of(&dir)
            }
            // Its clock is in no time that it gives: what it writes has the coordinator's.
            "mnt" => {
                let file = mount.join(&format!("time-{offset}-{number}"));
                std::fs::write(&file, "x").unwrap();
                return error_of(&file).abs() < HOUR;
            }
            _ => {
                let skewed = said(cluster, &["status"]).contains("CLOCK");
                return skewed == (offset != 0);
            }
        };
        (seen - offset).abs() < HOUR
    });
}

fn said(cluster: &Cluster, args: &[&str]) -> String {
    String::from_utf8_lossy(&cluster.dfs(args).stdout).into_owned()
}

fn of_coordinator(cluster: &Cluster, name: &str) -> f64 {
    Figures::of(cluster.coordinator.metrics).sum(name, "")
}

/// Copies on all datanodes.
fn held(cluster: &Cluster) -> f64 {
    let nodes = cluster.datanodes.iter();
    nodes
        .map(|node| Figures::of(node.metrics).sum("dfs_datanode_chunks", ""))
        .sum()
}

fn assert_undisturbed(cluster: &Cluster) {
    for (what, name, wanted) in [
        ("chunks deleted", "dfs_coordinator_deleted_chunks_total", 0.0),
        ("leases lost", "dfs_coordinator_leases_revoked_total", 0.0),
        ("sessions", "dfs_coordinator_sessions", 2.0),
    ] {
        assert_eq!(of_coordinator(cluster, name), wanted, "{what}");
    }
}

// S62
#[test]
fn jumps_of_any_wall_clock_change_nothing() {
    let room = Room::new();
    let clocks = Clocks::new(room.path());
    let cluster = Cluster::with(room.path(), &setup(&clocks));
    let mut mount = Mount::new(&cluster, room.path(), "mnt");
    mount.use_clocks(&clocks);
    let second = Mount::new(&cluster, room.path(), "second");

    // Garbage, something in the trash, and a session with an open file and a lock.
    std::fs::write(mount.join("garbage"), vec![1; 3 << 20]).unwrap();
    File::open(mount.join("garbage")).unwrap().sync_all().unwrap();
    std::fs::remove_file(mount.join("garbage")).unwrap();
    patience::until_true("there is garbage", LIMIT, || {
        of_coordinator(&cluster, "dfs_coordinator_garbage_chunks") > 0.0
    });
    let retain = cluster.dfs(&["trash", "retain", "1h", "--volume"]);
    assert!(
        retain.status.success(),
        "{}",
        String::from_utf8_lossy(&retain.stderr)
    );
    std::fs::write(second.join("kept"), "kept").unwrap();
    File::open(second.join("kept")).unwrap().sync_all().unwrap();
    std::fs::remove_file(second.join("kept")).unwrap();
    let mut open = File::create(mount.join("open")).unwrap();
    open.lock().unwrap();
    let before = held(&cluster);
    assert!(before > 0.0);

    let (ended, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let dirs = [mount.join("a"), second.join("b")];
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let threads = [(&dirs[0], second.join("a")), (&dirs[1], mount.join("b"))].map(|(from, to)| {
        let (from, ended, rounds) = (from.clone(), ended.clone(), rounds.clone());
        let thread = std::thread::Builder::new().name("load".into());
        thread.spawn(move || load(from, to, ended, rounds)).unwrap()
    });
    for name in SERVERS.into_iter().chain(["mnt"]) {
        for offset in [DAY, -DAY, 0] {
            clocks.set(name, offset);
            arrived((&cluster, &mount), name, offset);
            let (begun, waited) = (
                rounds.load(Ordering::SeqCst),
                format!("work goes on after {name} jumped"),
            );
            patience::until_true(&waited, LIMIT, || rounds.load(Ordering::SeqCst) > begun + 3);
            open.write_all(b"line\n").unwrap();
            open.sync_all().unwrap();
        }
    }
    ended.store(true, Ordering::SeqCst);
    for thread in threads {
        patience::within("the load ends", LIMIT, move || thread.join()).expect("a call failed");
    }

    let elsewhere = File::open(second.join("open")).unwrap();
    assert!(elsewhere.try_lock().is_err(), "the lock is still held");
    let mut content = String::new();
    (&elsewhere).read_to_string(&mut content).unwrap();
    assert_eq!(content, "line\n".repeat(15));
    assert_undisturbed(&cluster);
    assert!(held(&cluster) >= before, "nothing was deleted");
    let trash = said(&cluster, &["trash", "list", "--volume"]);
    assert!(trash.contains("kept"), "{trash}");
    cluster.assert_clean();
}
