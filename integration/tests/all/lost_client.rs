//! A client that is lost to the others: killed, frozen, or behind a cut cable. It delays them by at most one lease term,
//! what it says afterwards about what it had is refused, and it says so to its own callers.
use crate::Scene;
use integration::{Cluster, Mount, Network, Room, Setup, patience};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::Command;
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

fn bounded<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    patience::within(what, LIMIT, call)
}

fn far(scene: &Scene) -> Mount {
    Mount::with(
        &scene.cluster,
        scene.room.path(),
        "far",
        "",
        "allow_other,timeout=10",
    )
}

/// Loses the client by `lose` while it has written what nobody has yet, has others write the file meanwhile, and has it
/// come back by `bring_back`: the late write must be refused and told.
fn late_writes_are_refused(
    scene: &Scene,
    far: &mut Mount,
    lose: impl Fn(&mut Mount),
    bring_back: impl Fn(&mut Mount),
) {
    std::fs::write(scene.join("f"), "old").unwrap();
    std::fs::write(scene.join("g"), "kept").unwrap();
    assert_eq!(std::fs::read(far.join("g")).unwrap(), b"kept");
    let mut late = File::options().write(true).open(far.join("f")).unwrap();
    late.write_all(b"late").unwrap();
    lose(far);
    let begun = Instant::now();
    std::fs::write(scene.join("f"), "near").unwrap();
    File::open(scene.join("f")).unwrap().sync_all().unwrap();
    std::fs::write(scene.join("g"), "moved on").unwrap();
    assert!(
        begun.elapsed() < DELAY * 2,
        "two files of the lost client took {:?}",
        begun.elapsed()
    );
    bring_back(far);
    let synced = bounded("fsync of the late write", move || late.sync_all());
    assert!(synced.is_err(), "what cannot be kept is told");
    for mount in [&scene.mount, far] {
        patience::until_true("both see what was written meanwhile", LIMIT, || {
            let read = |name: &str| std::fs::read(mount.join(name)).unwrap_or_default();
            read("f") == b"near" && read("g") == b"moved on"
        });
    }
    std::fs::write(far.join("f"), "again").unwrap();
    assert_eq!(std::fs::read(scene.join("f")).unwrap(), b"again");
}

// S15, S22
#[test]
fn a_frozen_client_delays_others_by_a_lease_term_and_its_late_writes_are_refused() {
    let scene = Scene::new();
    let mut far = far(&scene);
    let freeze = |far: &mut Mount| far.process().freeze();
    // A program that is started closes its copies of descriptors: that must not take the error from whoever syncs.
    let thaw = |far: &mut Mount| {
        far.process().thaw();
        patience::until_true("the client knows what it has missed", LIMIT, || {
            std::fs::read(far.join("g")).is_ok_and(|bytes| bytes == b"moved on")
        });
        assert!(Command::new("true").status().unwrap().success());
    };
    late_writes_are_refused(&scene, &mut far, freeze, thaw);
    scene.cluster.assert_clean();
}

// S15, S22
#[test]
fn what_a_client_wrote_behind_a_cut_cable_is_refused_when_it_is_back() {
    let scene = networked();
    let mut far = far(&scene);
    let network = scene.cluster.network.clone().unwrap();
    let cut = |_: &mut Mount| network.isolate("far");
    late_writes_are_refused(&scene, &mut far, cut, |_| network.heal_all());
    scene.cluster.assert_clean();
}

// S21, S22
#[test]
fn a_killed_client_delays_others_by_a_lease_term() {
    let scene = Scene::new();
    let mut far = far(&scene);
    std::fs::write(far.join("f"), "far").unwrap();
    far.kill();
    let begun = Instant::now();
    std::fs::write(scene.join("f"), "near").unwrap();
    assert!(begun.elapsed() < DELAY, "{:?}", begun.elapsed());
    assert_eq!(std::fs::read(scene.join("f")).unwrap(), b"near");
}

fn try_lock(file: &File) -> bool {
    // SAFETY: the descriptor is open as long as the file.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

// S15, S21, S22
#[test]
fn a_client_that_sleeps_through_its_session_says_so_and_changes_nothing() {
    let scene = Scene::new();
    let mut far = far(&scene);
    for name in ["f", "lock"] {
        std::fs::write(scene.join(name), "old").unwrap();
    }
    let mut late = File::options().write(true).open(far.join("f")).unwrap();
    let mut locked = File::options().write(true).open(far.join("lock")).unwrap();
    assert!(try_lock(&locked));
    late.write_all(b"late").unwrap();
    far.process().freeze();
    let near = File::open(scene.join("lock")).unwrap();
    assert!(!try_lock(&near), "it may still come back");
    patience::until_true("its session ends and its lock with it", LIMIT, || try_lock(&near));
    std::fs::write(scene.join("f"), "near").unwrap();
    far.process().thaw();
    let synced = bounded("fsync in a session that is over", move || late.sync_all());
    assert!(synced.is_err());
    let written = bounded("a write under a lock that is lost", move || {
        locked.write_all(b"under no lock")
    });
    assert!(
        written.is_err(),
        "who believes that it has the lock must learn that it has not"
    );
    for mount in [&scene.mount, &far] {
        patience::until_true("both see what was written meanwhile", LIMIT, || {
            let read = |name: &str| std::fs::read(mount.join(name)).unwrap_or_default();
            read("f") == b"near" && read("lock") == b"old"
        });
    }
    scene.cluster.assert_clean();
}
