//! Chunks that files share: when most of them are removed, the rest is rewritten and the space comes back, unnoticed by
//! whoever reads and writes meanwhile.
use crate::Scene;
use integration::cluster::{Cluster, Server, Setup};
use integration::figures::Figures;
use integration::mount::Mount;
use integration::{Room, patience, script};
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FILES: usize = 640;
const LEN: usize = 64 << 10;
/// One file in so many stays.
const KEEP: usize = 8;
/// The file that is written while chunks are cleaned.
const WRITTEN: usize = 3 * KEEP;
/// Between two rounds of a reader or writer: the servers share this machine.
const BREATH: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(90);

fn content(number: usize) -> Vec<u8> {
    (0..LEN).map(|at| (number * 31 + at / 7) as u8).collect()
}

fn name(number: usize) -> String {
    format!("f{number}")
}

fn stored(cluster: &Cluster) -> f64 {
    let all = cluster.datanodes.iter();
    all.map(|node| Figures::of(node.metrics).sum("dfs_datanode_used_bytes", ""))
        .sum()
}

/// Reads the survivors through, until told to stop: how often.
fn read_all(dir: &Path, stop: &AtomicBool) -> usize {
    let mut rounds = 0;
    while !stop.load(Ordering::SeqCst) {
        for number in (0..FILES).step_by(KEEP).filter(|number| *number != WRITTEN) {
            let got = std::fs::read(dir.join(name(number))).unwrap();
            assert!(got == content(number), "file {number} has other content");
        }
        rounds += 1;
        std::thread::sleep(BREATH);
    }
    rounds
}

/// Overwrites parts of one file, until told to stop: what is in it then.
fn write_one(dir: &Path, stop: &AtomicBool) -> Vec<u8> {
    let mut expected = content(WRITTEN);
    let file = File::options().write(true).open(dir.join(name(WRITTEN))).unwrap();
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        let at = round * 4096 % (LEN / 2);
        let piece = vec![round as u8; 1000];
        file.write_all_at(&piece, at as u64).unwrap();
        file.sync_all().unwrap();
        expected[at..at + 1000].copy_from_slice(&piece);
        round += 1;
        std::thread::sleep(BREATH);
    }
    expected
}

// S28
#[test]
fn the_space_of_removed_files_comes_back_from_chunks_that_others_share() {
    let room = Room::new();
    let mut setup = Setup::default();
    setup
        .coordinator_flags
        .extend(["--clean-interval", "2s"].map(String::from));
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    let scene = Scene { mount, cluster, room };
    let second = scene.second();
    let empty = stored(&scene.cluster);
    for number in 0..FILES {
        std::fs::write(scene.join(&name(number)), content(number)).unwrap();
    }
    script::run(scene.path(), LIMIT, "sync -f .");
    let full = 3.0 * (FILES * LEN) as f64;
    patience::until_true("the datanodes tell of all files", LIMIT, || {
        stored(&scene.cluster) - empty >= full
    });
    for number in (0..FILES).filter(|number| number % KEEP != 0) {
        std::fs::remove_file(scene.join(&name(number))).unwrap();
    }
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let readers = [scene.path(), second.path()].map(|dir| scope.spawn(|| read_all(dir, &stop)));
        let writer = scope.spawn(|| write_one(second.path(), &stop));
        patience::until_true("the space comes back", LIMIT, || {
            readers.iter().any(|reader| reader.is_finished()) || stored(&scene.cluster) - empty < full / 3.0
        });
        stop.store(true, Ordering::SeqCst);
        for reader in readers {
            assert!(reader.join().unwrap() > 0, "nothing was read");
        }
        writer.join().unwrap()
    });
    let cleaned =
        || Figures::of(scene.cluster.coordinator.metrics).sum("dfs_coordinator_cleaned_chunks_total", "");
    patience::until_true("cleaned chunks are counted", LIMIT, || cleaned() >= 1.0);
    let fresh = Mount::new(&scene.cluster, scene.room.path(), "mnt-3");
    for dir in [scene.path(), second.path(), fresh.path()] {
        for number in (0..FILES).step_by(KEEP) {
            let expected = if number == WRITTEN {
                written.clone()
            } else {
                content(number)
            };
            let got = std::fs::read(dir.join(name(number))).unwrap();
            assert!(got == expected, "file {number} in {}", dir.display());
        }
    }
    drop((fresh, second));
    scene.cluster.assert_clean();
}

/// Chunks on all datanodes.
fn copies(cluster: &Cluster) -> f64 {
    let all = cluster.datanodes.iter();
    all.map(|node| Figures::of(node.metrics).sum("dfs_datanode_chunks", ""))
        .sum()
}

/// Chunks that the datanodes were told to compose, and did.
fn composed(cluster: &Cluster) -> f64 {
    let of = |node: &Server| {
        let figures = Figures::of(node.metrics);
        let asked = figures.sum("dfs_datanode_request_seconds_count", "op=\"compose\"");
        asked - figures.sum("dfs_datanode_request_failures_total", "op=\"compose\"")
    };
    cluster.datanodes.iter().map(of).sum()
}

/// Whether `dfs fsck` finds nothing wrong, and the datanodes hold what the rows say and no more.
fn is_tidy(cluster: &Cluster) -> bool {
    let output = cluster.dfs(&["fsck", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let wanted = found["chunks"].as_f64().unwrap() * Setup::default().replication as f64;
    found["clean"] == true && found["copies_awaiting_repair"] == 0 && copies(cluster) == wanted
}

fn signal_datanodes(cluster: &mut Cluster, signal: i32) {
    for node in &mut cluster.datanodes {
        node.process().signal(signal);
    }
}

/// Holds the coordinator between its order to compose a chunk and the change of the extents, with the chunk on all
/// datanodes: they are frozen when it gives the order, and it is when they carry it out.
fn stop_before_relocation(cluster: &mut Cluster) {
    let orders = |cluster: &mut Cluster| {
        let log = cluster.coordinator.process().log();
        log.matches("a chunk is being composed").count()
    };
    let begun = Instant::now();
    let (mut seen, mut before) = (0, 0.0);
    loop {
        patience::until_true("an order to compose", LIMIT, || orders(cluster) > seen);
        cluster.coordinator.process().signal(libc::SIGSTOP);
        seen = orders(cluster);
        signal_datanodes(cluster, libc::SIGCONT);
        // An order that was given up meanwhile is not carried out.
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if composed(cluster) > before {
                return;
            }
            std::thread::sleep(BREATH);
        }
        assert!(begun.elapsed() < LIMIT, "no chunk is composed");
        before = composed(cluster);
        signal_datanodes(cluster, libc::SIGSTOP);
        cluster.coordinator.process().signal(libc::SIGCONT);
    }
}

// S28
#[test]
fn a_coordinator_killed_between_composing_and_relocating_loses_nothing_and_leaves_nothing() {
    let room = Room::new();
    let mut setup = Setup::default();
    let flags = [
        "--clean-interval",
        "2s",
        "--suspect-after",
        "60s",
        "--log-level",
        "info,dfs_server::coordinator::workers::cleaner=debug",
    ];
    setup.coordinator_flags.extend(flags.map(String::from));
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    let mut scene = Scene { mount, cluster, room };
    for number in 0..FILES {
        std::fs::write(scene.join(&name(number)), content(number)).unwrap();
    }
    script::run(scene.path(), LIMIT, "sync -f .");
    patience::until_true("all copies are there", LIMIT, || {
        stored(&scene.cluster) >= 3.0 * (FILES * LEN) as f64 && is_tidy(&scene.cluster)
    });
    signal_datanodes(&mut scene.cluster, libc::SIGSTOP);
    for number in (0..FILES).filter(|number| number % KEEP != 0) {
        std::fs::remove_file(scene.join(&name(number))).unwrap();
    }
    stop_before_relocation(&mut scene.cluster);
    scene.cluster.coordinator.restart();

    let fresh = Mount::new(&scene.cluster, scene.room.path(), "mnt-2");
    for dir in [scene.path(), fresh.path()] {
        for number in (0..FILES).step_by(KEEP) {
            let got = std::fs::read(dir.join(name(number))).unwrap();
            assert!(got == content(number), "file {number} in {}", dir.display());
        }
    }
    // What was composed for nothing is found by the inventory; cleaning begins again.
    let coordinator = scene.cluster.coordinator.process();
    patience::until_true("the composed chunk is deleted", LIMIT, || {
        coordinator
            .log()
            .contains("chunks that nobody can use were deleted")
    });
    patience::until_true("nothing is left of it", LIMIT, || is_tidy(&scene.cluster));
}
