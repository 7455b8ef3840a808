//! A client that is lost to the others: killed, frozen, or behind a cut cable. It delays them by at most one lease term,
//! what it says afterwards about what it had is refused, and it says so to its own callers.
use crate::Scene;
use integration::{Cluster, Mount, Network, Room, Setup, patience};
use std::time::{Duration, Instant};

/// The lease term of the tests' clusters, and what a loaded machine adds to it.
const DELAY: Duration = Duration::from_secs(6);
const LIMIT: Duration = Duration::from_secs(40);

/// Each process with an address of its own; nothing may be lost by the bounds of a loaded machine.
fn networked() -> Scene {
    let room = Room::new();
    let setup = Setup {
        network: Some(Network::new()),
        ..Setup::default()
    };
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    Scene { mount, cluster, room }
}

// S20, S22
#[test]
fn a_client_cut_off_delays_others_by_a_lease_term_and_is_stale_to_nobody() {
    let scene = networked();
    let far = Mount::with(
        &scene.cluster,
        scene.room.path(),
        "far",
        "",
        "allow_other,timeout=2",
    );
    let network = scene.cluster.network.clone().unwrap();
    std::fs::write(scene.join("f"), "one").unwrap();
    assert_eq!(std::fs::read(far.join("f")).unwrap(), b"one");
    network.isolate("far");
    let begun = Instant::now();
    std::fs::write(scene.join("f"), "three").unwrap();
    std::fs::write(scene.join("new"), "").unwrap();
    assert!(begun.elapsed() < DELAY, "others waited {:?}", begun.elapsed());
    // Whoever was told "three" anywhere must not find "one" here any more.
    let path = far.join("f");
    let size = patience::within("stat on the lost mount", LIMIT, move || {
        path.metadata().map(|stat| stat.len())
    });
    assert!(
        !matches!(size, Ok(3)),
        "the lost mount answers from what it once knew"
    );
    network.heal_all();
    patience::until_true("the mount is back", LIMIT, || {
        std::fs::read(far.join("f")).is_ok_and(|bytes| bytes == b"three")
    });
    assert!(far.join("new").exists());
}
