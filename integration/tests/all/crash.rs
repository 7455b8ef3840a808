//! SIGKILL at random moments: of everything, of one server, of the client. What fsync acknowledged must be there.
use crate::Scene;
use integration::oracle::Oracle;
use integration::order::Order;
use integration::patience;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Everything,
    Coordinator,
    Datanode,
    Client,
    Servers,
}

const WORK_LIMIT: Duration = Duration::from_secs(60);
const CLEAN_LIMIT: Duration = Duration::from_secs(60);

/// One round: work, a kill at a random moment, recovery, the oracle's check.
fn round(scene: &mut Scene, oracle: Oracle, victim: Victim, random: &mut StdRng) -> Oracle {
    let stop = Arc::new(AtomicBool::new(false));
    let (dir, told, seed) = (scene.join("work"), stop.clone(), random.random());
    let mut oracle = oracle;
    let worker = std::thread::Builder::new().name("worker".into()).spawn(move || {
        let outcome = oracle.work(&dir, seed, &told);
        (oracle, outcome)
    });
    let worker = worker.unwrap();
    std::thread::sleep(Duration::from_millis(random.random_range(50..1200)));
    strike(scene, victim, random);
    if matches!(victim, Victim::Coordinator | Victim::Datanode | Victim::Servers) {
        std::thread::sleep(Duration::from_millis(300));
    }
    stop.store(true, Ordering::Relaxed);
    let (oracle, outcome) = patience::within("the worker", WORK_LIMIT, move || worker.join().unwrap());
    match (victim, outcome) {
        // The mount lives on and waits: whoever works on it sees no error.
        (Victim::Coordinator | Victim::Datanode | Victim::Servers, Err(e)) => {
            panic!("{victim:?} killed, and: {e}")
        }
        _ => oracle,
    }
}

fn strike(scene: &mut Scene, victim: Victim, random: &mut StdRng) {
    match victim {
        Victim::Everything => {
            scene.mount.process().signal(libc::SIGKILL);
            scene.cluster.kill_all();
            scene.mount.kill();
            scene.cluster.start_all();
            scene.mount.mount();
        }
        Victim::Servers => {
            scene.cluster.kill_all();
            scene.cluster.start_all();
        }
        Victim::Coordinator => scene.cluster.coordinator.restart(),
        Victim::Datanode => {
            let which = random.random_range(0..scene.cluster.datanodes.len());
            scene.cluster.datanodes[which].restart();
        }
        Victim::Client => scene.mount.kill_and_mount(),
    }
}

/// Rounds with a mount that makes changes by itself, and as many with one that asks for each.
fn rounds(count: u32, victim: Victim) {
    for options in ["allow_other,nowsync", "allow_other,wsync"] {
        rounds_with(options, count / 2, victim);
    }
}

fn rounds_with(options: &str, count: u32, victim: Victim) {
    let seed = std::env::var("DFS_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand_seed);
    eprintln!("DFS_TEST_SEED={seed} repeats the choices of this run with {options}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut scene = Scene::with(options);
    std::fs::create_dir(scene.join("work")).unwrap();
    std::fs::File::open(scene.path()).unwrap().sync_all().unwrap();
    let mut oracle = Oracle::default();
    for n in 1..=count {
        let before = oracle.acknowledged();
        oracle = round(&mut scene, oracle, victim, &mut random);
        eprintln!(
            "round {n}: {} acknowledged",
            oracle.acknowledged() - before.min(oracle.acknowledged())
        );
        oracle.verify(&scene.join("work"));
    }
    assert!(
        oracle.acknowledged() > u64::from(count),
        "too little work was done to show anything"
    );
    let clean = || scene.cluster.dfs(&["fsck"]).status.success();
    patience::until_true("dfs fsck finds nothing wrong", CLEAN_LIMIT, clean);
    // What another client reads is the same.
    let second = scene.second();
    oracle.verify(&second.join("work"));
}

fn rand_seed() -> u64 {
    rand::rng().random()
}

// S13, S17, S30
#[test]
fn everything_killed() {
    rounds(12, Victim::Everything);
}

// S13, S24
#[test]
fn only_the_servers_killed() {
    rounds(8, Victim::Servers);
}

// S13, S18
#[test]
fn only_the_coordinator_killed() {
    rounds(10, Victim::Coordinator);
}

// S25
#[test]
fn only_a_datanode_killed() {
    rounds(10, Victim::Datanode);
}

// S13, S17
#[test]
fn only_the_client_killed() {
    rounds(12, Victim::Client);
}

// S19
#[test]
fn the_state_is_rebuilt_from_checkpoint_and_log() {
    let mut scene = Scene::new();
    let work = scene.join("work");
    std::fs::create_dir(&work).unwrap();
    for n in 0..300 {
        std::fs::write(work.join(format!("f{n}")), format!("content {n}")).unwrap();
    }
    integration::script::run(
        &work,
        WORK_LIMIT,
        "sync -f . ; for f in f*; do sync $f; done; sync .",
    );
    scene.cluster.coordinator.kill();
    let state = scene.cluster.coordinator.data.join("state");
    assert!(
        state.is_dir(),
        "the coordinator keeps its state in {}",
        state.display()
    );
    std::fs::remove_dir_all(&state).unwrap();
    scene.cluster.coordinator.start_again();
    scene.cluster.coordinator.wait_until_listening();
    let second = scene.second();
    for n in 0..300 {
        assert_eq!(
            std::fs::read_to_string(second.join(&format!("work/f{n}"))).unwrap(),
            format!("content {n}")
        );
    }
}

// S14
#[test]
fn names_and_attributes_need_no_fsync_with_wsync() {
    let mut scene = Scene::with("allow_other,wsync");
    for round in 0..4 {
        let at = |name: &str| scene.join(&format!("{name}-{round}"));
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::File::create(at("dir").join("file")).unwrap();
        std::os::unix::fs::symlink("target", at("soft")).unwrap();
        std::fs::hard_link(at("dir").join("file"), at("hard")).unwrap();
        std::fs::File::create(at("gone")).unwrap();
        std::fs::rename(at("hard"), at("moved")).unwrap();
        std::fs::remove_file(at("gone")).unwrap();
        std::fs::set_permissions(at("dir"), std::os::unix::fs::PermissionsExt::from_mode(0o710)).unwrap();
        strike(&mut scene, Victim::Everything, &mut StdRng::seed_from_u64(round));
        let at = |name: &str| scene.join(&format!("{name}-{round}"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&at("dir").metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o710);
        assert!(at("dir").join("file").is_file() && at("moved").is_file() && at("soft").is_symlink());
        assert!(!at("gone").exists() && !at("hard").exists());
    }
}

/// Longer than changes wait before they are told.
const TOLD: Duration = Duration::from_secs(5);

/// One round of changes of names that nobody waits for, and a kill: all steps, those synced, and those that are left.
fn ordered(scene: &mut Scene, name: &str, victim: Victim, idle: Duration, random: &mut StdRng) -> [usize; 3] {
    let dir = scene.join(name);
    std::fs::create_dir(&dir).unwrap();
    std::fs::File::open(&dir).unwrap().sync_all().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (told, seed) = (stop.clone(), random.random());
    let worker = std::thread::Builder::new().name("worker".into()).spawn(move || {
        let mut order = Order::default();
        let outcome = order.work(&dir, seed, &told);
        (order, outcome)
    });
    std::thread::sleep(Duration::from_millis(random.random_range(400..1500)));
    if !idle.is_zero() {
        stop.store(true, Ordering::Relaxed);
        std::thread::sleep(idle);
    }
    strike(scene, victim, random);
    stop.store(true, Ordering::Relaxed);
    let worker = worker.unwrap();
    let (order, outcome) = patience::within("the worker", WORK_LIMIT, move || worker.join().unwrap());
    if victim == Victim::Coordinator {
        outcome.expect("the mount lives on and waits");
    }
    [order.steps(), order.synced(), order.verify(&scene.join(name))]
}

// S13, S64, S65
#[test]
fn what_was_not_synced_is_lost_from_the_end() {
    let seed = rand_seed();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut scene = Scene::with("allow_other,nowsync");
    let victims = [Victim::Client, Victim::Everything, Victim::Coordinator];
    let mut done = 0;
    for (round, victim) in victims.into_iter().cycle().take(9).enumerate() {
        let idle = if round < 6 { Duration::ZERO } else { TOLD };
        let name = format!("round-{round}");
        let [steps, synced, left] = ordered(&mut scene, &name, victim, idle, &mut random);
        eprintln!("{victim:?}: {left} of {steps} steps are left, {synced} were synced");
        done += steps;
        if victim == Victim::Coordinator || !idle.is_zero() {
            assert_eq!(left, steps, "{victim:?}: nothing is lost by it");
        }
    }
    assert!(done > 60, "too little was done to show anything: {done} steps");
    scene.cluster.assert_clean();
}
