//! Chunks that files share: when most of them are removed, the rest is rewritten and the space comes back, unnoticed by
//! whoever reads and writes meanwhile.
use crate::Scene;
use integration::cluster::{Cluster, Setup};
use integration::figures::Figures;
use integration::mount::Mount;
use integration::{Room, patience, script};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
