//! What a killed client leaves: removed files that it had open, and uploads that it never committed. Both are kept until
//! its session has ended, because it could come back, and go afterwards.
use crate::Scene;
use integration::figures::Figures;
use integration::{Cluster, Mount, Room, Setup, patience};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(60);
/// Several inventories and several rounds of the garbage collection.
const WATCHED: Duration = Duration::from_secs(4);
const ENDED: &str = "a session was silent for its timeout and ends";

fn scene() -> Scene {
    let flags = "--lease-term 1s --gc-delay 1s --inventory-interval 1s --session-timeout 8s";
    let setup = Setup {
        coordinator_flags: flags.split(' ').map(String::from).collect(),
        ..Setup::default()
    };
    let room = Room::new();
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    Scene { mount, cluster, room }
}

/// Copies of chunks on all datanodes, as they count them themselves.
fn copies(cluster: &Cluster) -> u64 {
    let of = |address| Figures::of(address).sum("dfs_datanode_chunks", "");
    cluster.datanodes.iter().map(|node| of(node.metrics)).sum::<f64>() as u64
}

/// Content for which no call waits: it is on datanodes before any metadata knows it.
fn write(mount: &Mount, name: &str, mib: usize) -> File {
    let file = File::create(mount.join(name)).unwrap();
    file.write_all_at(&vec![7; mib * MIB], 0).unwrap();
    file
}

// S3, S22, S28
#[test]
fn what_a_killed_client_had_open_or_in_flight_goes_when_its_session_has_ended() {
    let mut scene = scene();
    write(&scene.mount, "kept", 2).sync_all().unwrap();
    let kept = copies(&scene.cluster);
    assert!(kept > 0);
    let mut far = scene.second();
    let orphan = write(&far, "orphan", 8);
    orphan.sync_all().unwrap();
    std::fs::remove_file(far.join("orphan")).unwrap();
    let with_orphan = copies(&scene.cluster);
    assert!(with_orphan > kept, "{with_orphan} copies");

    // Without a coordinator the uploads go on and nothing can be committed.
    File::create(far.join("late")).unwrap().sync_all().unwrap();
    let late = write(&far, "late", 8);
    scene.cluster.coordinator.kill();
    let mut last = (copies(&scene.cluster), Instant::now());
    patience::until_true("the uploads are there and no more come", LIMIT, || {
        let now = copies(&scene.cluster);
        if now != last.0 {
            last = (now, Instant::now());
        }
        now > with_orphan && last.1.elapsed() > WATCHED / 4
    });
    far.kill();
    drop((orphan, late));
    let (all, started) = (last.0, Instant::now());
    scene.cluster.coordinator.start_again();
    scene.cluster.coordinator.wait_until_listening();
    assert_eq!(
        scene.join("late").metadata().unwrap().len(),
        0,
        "it was committed"
    );

    // The count is taken before the look at the log: what it shows was so while the session was there.
    let mut seen = Duration::ZERO;
    patience::until_true("the session ends", LIMIT, || {
        let now = copies(&scene.cluster);
        if scene.cluster.coordinator.process().log().contains(ENDED) {
            return true;
        }
        seen = started.elapsed();
        assert_eq!(now, all, "something went {seen:?} after the restart");
        false
    });
    assert!(seen > WATCHED, "the session was there for only {seen:?}");
    patience::until_true("only what has a name is left", LIMIT, || {
        copies(&scene.cluster) == kept
    });
    assert!(std::fs::read(scene.join("kept")).unwrap() == vec![7; 2 * MIB]);
    scene.cluster.assert_clean();
}
