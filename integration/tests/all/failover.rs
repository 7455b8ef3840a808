//! Three coordinators on a real etcd: leaders killed, frozen and stopped under load, members of etcd lost. What was
//! acknowledged is there once, nobody sees an error while a wait is enough, and service is back within seconds.
use crate::Scene;
use integration::figures::Figures;
use integration::oracle::Oracle;
use integration::{Cluster, Mount, Room, Setup, patience, sys};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What the operator is promised after a leader dies.
const RESUMED: Duration = Duration::from_secs(3);
/// More than that, on a machine that runs other tests.
const LOADED: Duration = Duration::from_secs(12);
const WORK_LIMIT: Duration = Duration::from_secs(60);
const CLEAN_LIMIT: Duration = Duration::from_secs(60);
/// A soak asks for more rounds with DFS_TEST_ROUNDS.
const ROUNDS: u32 = 4;
/// How long a round works before and after the blow.
const BEFORE: Duration = Duration::from_millis(600);
const AFTER: Duration = Duration::from_millis(600);

const LEASE_TERM: Duration = Duration::from_secs(5);
/// Garbage is due after that.
const GC_DELAY: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
/// How a datanode refuses the order of one who led before.
const REFUSED: &str = "the sender is no longer the leader";

/// Clients have a few seconds to come back to the next leader before others may take what they held.
fn setup(members: usize) -> Setup {
    let flags = [
        "--lease-term",
        "5s",
        "--gc-delay",
        "5s",
        "--session-timeout",
        "1m",
    ];
    Setup {
        coordinators: 3,
        etcd: members,
        coordinator_flags: flags.map(String::from).to_vec(),
        ..Setup::default()
    }
}

fn scene(setup: &Setup) -> Scene {
    let room = Room::new();
    let cluster = Cluster::with(room.path(), setup);
    let mount = Mount::with(&cluster, room.path(), "mnt", "", "allow_other,nowsync");
    Scene { mount, cluster, room }
}

/// One call as its caller saw it.
struct Call {
    ended: Instant,
    took: Duration,
}

/// Makes, links, renames and removes names in a directory of its own; every call must succeed, and what is there
/// at the end must be exactly what they left.
fn storm(dir: PathBuf, stop: &AtomicBool, calls: &Sender<Call>) {
    std::fs::create_dir(&dir).expect("mkdir of the storm");
    let mut names = BTreeSet::new();
    let timed = |what: &str, call: &dyn Fn() -> std::io::Result<()>| {
        let begun = Instant::now();
        call().unwrap_or_else(|error| panic!("{what} in {}: {error}", dir.display()));
        let call = Call {
            ended: Instant::now(),
            took: begun.elapsed(),
        };
        // Nobody listens any more when a test has failed.
        let _ = calls.send(call);
    };
    let mut number = 0u32;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let (made, linked, moved) = (
            format!("made-{number}"),
            format!("linked-{number}"),
            format!("moved-{number}"),
        );
        timed("create", &|| File::create_new(dir.join(&made)).map(drop));
        timed("link", &|| std::fs::hard_link(dir.join(&made), dir.join(&linked)));
        timed("rename", &|| std::fs::rename(dir.join(&made), dir.join(&moved)));
        timed("mkdir", &|| std::fs::create_dir(dir.join(&made)));
        if number.is_multiple_of(2) {
            timed("unlink", &|| std::fs::remove_file(dir.join(&linked)));
            timed("rmdir", &|| std::fs::remove_dir(dir.join(&made)));
            names.insert(moved);
        } else {
            names.extend([made, linked, moved]);
        }
    }
    let found: BTreeSet<String> = std::fs::read_dir(&dir)
        .expect("ls of the storm")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let (lost, extra): (Vec<_>, Vec<_>) = (
        names.difference(&found).collect(),
        found.difference(&names).collect(),
    );
    assert!(
        lost.is_empty() && extra.is_empty(),
        "lost {lost:?}, too many {extra:?}"
    );
}

/// Ends the work also when what was to be shown fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Storms on both mounts and an oracle's writer on the first, while `blow` strikes. Returns the calls.
fn under_storm(round: u32, mounts: [&Path; 2], oracle: &mut Oracle, blow: impl FnOnce()) -> Vec<Call> {
    let stop = AtomicBool::new(false);
    let (tell, told): (Sender<Call>, Receiver<Call>) = channel();
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for (number, mount) in mounts.into_iter().cycle().take(4).enumerate() {
            let (stop, tell) = (&stop, tell.clone());
            let dir = mount.join(format!("storm-{round}-{number}"));
            workers.push(scope.spawn(move || storm(dir, stop, &tell)));
        }
        let (work, seed) = (mounts[0].join("work"), u64::from(round));
        let flag = &stop;
        let writing = scope.spawn(move || oracle.work(&work, seed, flag));
        {
            let _stop = StopOnDrop(flag);
            std::thread::sleep(BEFORE);
            blow();
            std::thread::sleep(AFTER);
        }
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
        writing.join().unwrap().expect("no call of the writer fails");
    });
    drop(tell);
    told.try_iter().collect()
}

/// Waits until a change that begins now is durable.
fn serves(mount: &Path, name: &str) {
    let path = mount.join(name);
    let make = move || std::fs::create_dir(&path).and_then(|()| File::open(&path)?.sync_all());
    patience::within("a call", WORK_LIMIT, make).expect("a call");
}

/// A second mount, which asks for each change where the first makes it by itself.
fn second(scene: &Scene) -> Mount {
    Mount::with(
        &scene.cluster,
        scene.room.path(),
        "mnt-2",
        "",
        "allow_other,wsync",
    )
}

fn print_times(what: &str, times: &mut [Duration]) -> Duration {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    eprintln!(
        "{what}: {} rounds, min {:?}, median {:?}, p90 {:?}, p99 {:?}, max {:?}",
        times.len(),
        times[0],
        at(50),
        at(90),
        at(99),
        at(100)
    );
    eprintln!("{what}: all {times:?}");
    at(99)
}

fn rounds() -> u32 {
    let asked = std::env::var("DFS_TEST_ROUNDS").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(ROUNDS)
}

// S13, S18, S24, S40
#[test]
fn a_killed_leader_is_replaced_within_seconds() {
    let mut scene = scene(&setup(3));
    let second = second(&scene);
    std::fs::create_dir(scene.join("work")).unwrap();
    let mut oracle = Oracle::default();
    let mut outages = Vec::new();
    for round in 0..rounds() {
        let mounts = [scene.mount.path(), second.path()];
        let cluster = &mut scene.cluster;
        let mut killed = Instant::now();
        let calls = under_storm(round, mounts, &mut oracle, || {
            cluster.leader().kill();
            killed = Instant::now();
            for (number, mount) in mounts.into_iter().enumerate() {
                serves(mount, &format!("after-{round}-{number}"));
            }
            outages.push(killed.elapsed());
        });
        let longest = calls.iter().map(|call| call.took).max().unwrap_or_default();
        let after = calls.iter().filter(|call| call.ended > killed).count();
        eprintln!(
            "round {round}: back after {:?}, longest call {longest:?}, {} calls, {after} after the blow",
            outages.last().unwrap(),
            calls.len()
        );
        oracle.verify(&scene.join("work"));
        for server in scene.cluster.coordinators() {
            if !server.runs() {
                server.start_again();
                server.wait_until_listening();
            }
        }
    }
    let p99 = print_times("leader killed, service back", &mut outages);
    let limit = if rounds() > ROUNDS { RESUMED } else { LOADED };
    assert!(p99 < limit, "{p99:?}");
    assert!(oracle.acknowledged() > u64::from(rounds()));
    clean(&scene);
    oracle.verify(&second.join("work"));
}

fn clean(scene: &Scene) {
    let clean = || scene.cluster.dfs(&["fsck"]).status.success();
    patience::until_true("dfs fsck finds nothing wrong", CLEAN_LIMIT, clean);
}

/// Content that nobody refers to.
fn leave_garbage(scene: &Scene) {
    let path = scene.join("doomed");
    std::fs::write(&path, vec![1; 1 << 20]).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    std::fs::remove_file(path).unwrap();
}

/// Deletions are done by who leads; those that a deposed leader ordered, if any, were refused and counted.
fn the_leader_deletes(cluster: &mut Cluster) {
    let leader = cluster.leader().metrics;
    patience::until_true("the leader deletes what is due", CLEAN_LIMIT, || {
        Figures::of(leader).sum("dfs_coordinator_deleted_chunks_total", "") > 0.0
    });
    let ordered = cluster
        .coordinators()
        .map(|server| server.process().log().matches(REFUSED).count());
    let ordered: usize = ordered.sum();
    let refused = cluster.datanodes.iter().map(|node| {
        Figures::of(node.metrics).sum("dfs_datanode_request_failures_total", "op=\"delete\"") as usize
    });
    let refused: usize = refused.sum();
    eprintln!("deposed leaders were refused {ordered} deletions, datanodes counted {refused}");
    assert!(refused >= ordered.min(1), "a refusal is counted");
}

// S13, S18, S40
#[test]
fn a_frozen_leader_is_replaced_and_what_it_does_late_is_refused() {
    let mut scene = scene(&setup(1));
    let second = second(&scene);
    std::fs::create_dir(scene.join("work")).unwrap();
    let mut oracle = Oracle::default();
    for round in 0..2 {
        leave_garbage(&scene);
        let mounts = [scene.mount.path(), second.path()];
        let cluster = &mut scene.cluster;
        under_storm(round, mounts, &mut oracle, || {
            let frozen = cluster.leader();
            let (name, address) = (frozen.name.clone(), frozen.address.to_string());
            frozen.process().freeze();
            let since = Instant::now();
            for (number, mount) in mounts.into_iter().enumerate() {
                serves(mount, &format!("after-{round}-{number}"));
            }
            let next = cluster.leader().address.to_string();
            assert_ne!(next, address, "somebody else leads now");
            // When it wakes, it has garbage that is due.
            std::thread::sleep((GC_DELAY + SECOND).saturating_sub(since.elapsed()));
            let frozen = cluster.coordinators().find(|server| server.name == name);
            let frozen = frozen.expect("it is one of them");
            frozen.process().thaw();
            // Its answers to calls that it took before count for nothing, nor do its records and deletions: the
            // storm's names and the oracle's files are compared with what the next leader has.
            patience::until_true("it knows that it was deposed", WORK_LIMIT, || {
                frozen
                    .process()
                    .log()
                    .contains("another coordinator leads the volume")
            });
            assert_eq!(cluster.leader().address.to_string(), next, "and it stays so");
        });
        oracle.verify(&scene.join("work"));
        the_leader_deletes(&mut scene.cluster);
    }
    clean(&scene);
    oracle.verify(&second.join("work"));
}

// S18, S40
#[test]
fn a_stopped_leader_hands_over_at_once() {
    let mut scene = scene(&setup(1));
    std::fs::create_dir(scene.join("before")).unwrap();
    let mut outages = Vec::new();
    for round in 0..3 {
        let leader = scene.cluster.leader();
        let stopped = Instant::now();
        let status = leader.process().terminate();
        assert!(status.success(), "{status}");
        leader.kill();
        serves(scene.mount.path(), &format!("after-{round}"));
        outages.push(stopped.elapsed());
        for server in scene.cluster.coordinators() {
            if !server.runs() {
                server.start_again();
                server.wait_until_listening();
            }
        }
    }
    print_times("leader stopped, service back", &mut outages);
    clean(&scene);
}

// S18, S24, S40
#[test]
fn one_member_of_etcd_lost_is_no_event() {
    let mut scene = scene(&setup(3));
    let second = second(&scene);
    std::fs::create_dir(scene.join("work")).unwrap();
    let mut oracle = Oracle::default();
    let leader = scene.cluster.leader().address;
    for round in 0..3 {
        let mounts = [scene.mount.path(), second.path()];
        let cluster = &mut scene.cluster;
        let etcd = cluster.etcd.as_mut().unwrap();
        let leading = patience::until("etcd has a leader", WORK_LIMIT, || etcd.leading_member());
        // One that follows, killed and frozen, and the one that leads.
        let victim = if round < 2 { (leading + 1) % 3 } else { leading };
        let calls = under_storm(round, mounts, &mut oracle, || {
            if round == 1 {
                etcd.members[victim].process().freeze();
            } else {
                etcd.members[victim].kill();
            }
            for (number, mount) in mounts.into_iter().enumerate() {
                serves(mount, &format!("after-{round}-{number}"));
            }
            std::thread::sleep(Duration::from_secs(1));
        });
        let longest = calls.iter().map(|call| call.took).max().unwrap_or_default();
        eprintln!("round {round}: {} calls, the longest {longest:?}", calls.len());
        assert!(longest < LOADED, "{longest:?}");
        let etcd = scene.cluster.etcd.as_mut().unwrap();
        if round == 1 {
            etcd.members[victim].process().thaw();
        } else {
            etcd.members[victim].start();
        }
        etcd.wait_until_writable();
        oracle.verify(&scene.join("work"));
        if round < 2 {
            assert_eq!(scene.cluster.leader().address, leader, "it leads all the time");
        }
    }
    clean(&scene);
}

// S18, S23, S24, S40
#[test]
fn without_a_majority_of_etcd_writes_end_with_an_error_and_go_on_when_it_returns() {
    let mut scene = scene(&setup(3));
    let options = "allow_other,timeout=4";
    let mount = Mount::with(&scene.cluster, scene.room.path(), "impatient", "", options);
    std::fs::write(mount.join("file"), "content").unwrap();
    File::open(mount.join("file")).unwrap().sync_all().unwrap();
    assert_eq!(std::fs::read(mount.join("file")).unwrap(), b"content");
    let etcd = scene.cluster.etcd.as_mut().unwrap();
    let lost = Instant::now();
    etcd.members[0].kill();
    etcd.members[1].kill();
    // What was read is vouched for until the lease's term ends, counted from the last heartbeat that was answered.
    while lost.elapsed() < LEASE_TERM / 2 {
        let path = mount.join("file");
        let read = patience::within("a read without etcd", LEASE_TERM, move || {
            std::fs::metadata(&path).and_then(|_| std::fs::read(&path))
        });
        assert_eq!(read.unwrap(), b"content");
    }
    let path = mount.join("new");
    let made = patience::within("mkdir and its fsync without etcd", WORK_LIMIT, move || {
        std::fs::create_dir(&path)?;
        File::open(path)?.sync_all()
    });
    assert_eq!(
        sys::errno(made),
        libc::ETIMEDOUT,
        "nobody could have made it durable"
    );
    let etcd = scene.cluster.etcd.as_mut().unwrap();
    etcd.members[0].start();
    etcd.members[1].start();
    etcd.wait_until_writable();
    let back = || std::fs::read(mount.join("file")).is_ok_and(|bytes| bytes == b"content");
    patience::until_true("the same mount reads again", WORK_LIMIT, back);
    let mut number = 0;
    patience::until_true("the same mount writes again", WORK_LIMIT, || {
        number += 1;
        std::fs::create_dir(mount.join(&format!("after-{number}"))).is_ok()
    });
    serves(scene.mount.path(), "patient");
    drop(mount);
    clean(&scene);
}
