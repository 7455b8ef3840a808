//! A store that heals itself: nodes that die for good are replaced, nodes that join are filled, nodes that are drained
//! are emptied, all under load and without an error; a coordinator that dies in the middle goes on.
use integration::{Cluster, Mount, Network, Room, Setup, patience};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// What a loaded machine may take for a step.
const HEALED: Duration = Duration::from_secs(120);

fn setup(datanodes: usize) -> Setup {
    let mut setup = Setup {
        datanodes,
        datanode_flags: ["--capacity", "512MiB"].map(String::from).to_vec(),
        ..Setup::default()
    };
    let quick = ["--suspect-after", "2s", "--dead-after", "4s"];
    setup.coordinator_flags.extend(quick.map(String::from));
    setup
}

fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let mut asked: Vec<&str> = args.to_vec();
    asked.push("--json");
    let output = cluster.dfs(&asked);
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// What `dfs node list` says of the node at this place of the harness.
fn node(cluster: &Cluster, which: usize) -> Value {
    let address = cluster.datanodes[which].address.to_string();
    let nodes = json(cluster, &["node", "list"]);
    let mut nodes = nodes["nodes"].as_array().cloned().unwrap_or_default().into_iter();
    nodes
        .find(|node| node["address"] == address.as_str())
        .unwrap_or(Value::Null)
}

fn state(cluster: &Cluster, which: usize) -> String {
    node(cluster, which)["state"]
        .as_str()
        .unwrap_or("unknown")
        .to_owned()
}

/// The newest plan of a kind.
fn plan(cluster: &Cluster, kind: &str) -> Value {
    let plans = json(cluster, &["node", "plan"]);
    let plans = plans["plans"].as_array().cloned().unwrap_or_default();
    let found = plans.into_iter().rev().find(|plan| plan["kind"] == kind);
    found.unwrap_or(Value::Null)
}

fn wait_for_plan(cluster: &Cluster, kind: &str, after: u64) -> Value {
    let done = || {
        let plan = plan(cluster, kind);
        (plan["number"].as_u64()? > after && plan["state"] == "done").then_some(plan)
    };
    let what = format!("a plan to {kind} is done: {}", json(cluster, &["node", "plan"]));
    patience::until(&what, HEALED, done)
}

/// Every chunk has all its copies, and all of them verify.
fn wait_until_whole(cluster: &Cluster) {
    let clean = || cluster.dfs(&["fsck"]).status.success();
    patience::until_true("every copy is there", HEALED, clean);
}

fn content(seed: u8) -> Vec<u8> {
    (0..8 * MIB).map(|at| (at ^ (at >> 9)) as u8 ^ seed).collect()
}

/// Files of 8 MiB, each written by a mount of its own, so that they spread over the sets.
fn fill(cluster: &Cluster, dir: &Path, count: u8) {
    let mut mount = Mount::new(cluster, dir, "filler");
    for seed in 0..count {
        let mut file = File::create(mount.join(&format!("old-{seed}"))).unwrap();
        file.write_all(&content(seed)).unwrap();
        file.sync_all().unwrap();
        drop(file);
        mount.remount();
    }
    mount.unmount();
}

fn assert_readable(dir: &Path, count: u8) {
    for seed in 0..count {
        let read = std::fs::read(dir.join(format!("old-{seed}"))).unwrap();
        assert!(read == content(seed), "old-{seed} is not what was written");
    }
}

/// An application that writes, syncs and reads back until it is told to end, and must meet no error.
struct Load {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<(u64, Duration)>>>,
}

impl Load {
    fn start(dir: &Path) -> Load {
        let ended = Arc::new(AtomicBool::new(false));
        let (dir, stop) = (dir.to_owned(), ended.clone());
        let work = move || {
            let (mut rounds, mut longest) = (0u64, Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let path = dir.join(format!("live-{}", rounds % 16));
                let mut file = File::create(&path)?;
                let bytes = vec![rounds as u8; 300_000];
                file.write_all(&bytes)?;
                file.sync_all()?;
                drop(file);
                if std::fs::read(&path)? != bytes {
                    return Err(std::io::Error::other(format!(
                        "{} was read wrong",
                        path.display()
                    )));
                }
                longest = longest.max(begun.elapsed());
                rounds += 1;
                std::thread::sleep(Duration::from_millis(30));
            }
            Ok((rounds, longest))
        };
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(work);
        let thread = Some(thread.unwrap());
        Load { ended, thread }
    }

    fn end(mut self, what: &str) {
        self.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take().unwrap();
        let done = patience::within("the load ends", HEALED, move || thread.join().unwrap());
        let (rounds, longest) = done.unwrap_or_else(|error| panic!("{what}: the application met {error}"));
        assert!(rounds > 0, "{what}: nothing was done");
        eprintln!("{what}: {rounds} rounds of write, fsync and read; the longest took {longest:.1?}");
    }
}

/// Kills a node for good and waits until its copies are made anew: the plan's figures are printed.
fn lose(cluster: &mut Cluster, which: usize) {
    let lost = node(cluster, which)["used_bytes"].as_u64().unwrap();
    let before = plan(cluster, "replace")["number"].as_u64().unwrap_or(0);
    let begun = Instant::now();
    cluster.datanodes[which].kill();
    let plan = wait_for_plan(cluster, "replace", before);
    wait_until_whole(cluster);
    assert_eq!(state(cluster, which), "dead");
    assert_eq!(node(cluster, which)["sets"], 0, "nothing counts on it any more");
    eprintln!(
        "node {} died with {} MiB; all copies again after {:.1?}, {} MiB copied in {} ms",
        which + 1,
        lost >> 20,
        begun.elapsed(),
        plan["bytes"].as_u64().unwrap() >> 20,
        plan["elapsed_ms"],
    );
    assert!(plan["bytes"].as_u64().unwrap() > 0, "{plan}");
}

// S45
#[test]
fn nodes_that_die_are_replaced_and_nodes_that_join_are_filled() {
    const FILES: u8 = 12;
    let room = Room::new();
    let setup = setup(5);
    let mut cluster = Cluster::with(room.path(), &setup);
    fill(&cluster, room.path(), FILES);
    let mut mount = Mount::new(&cluster, room.path(), "mnt");
    let load = Load::start(mount.path());
    lose(&mut cluster, 1);
    lose(&mut cluster, 3);
    load.end("two of five nodes died");
    mount.remount();
    assert_readable(mount.path(), FILES);

    let load = Load::start(mount.path());
    // One that is under way would be continued with the nodes that join.
    patience::until_true("no rebalance is under way", HEALED, || {
        plan(&cluster, "rebalance")["state"] != "running"
    });
    let earlier = plan(&cluster, "rebalance")["number"].as_u64().unwrap_or(0);
    cluster.add_datanode(room.path(), &setup);
    cluster.add_datanode(room.path(), &setup);
    for which in [5, 6] {
        let name = cluster.datanodes[which].address.to_string();
        let added = cluster.dfs(&["node", "add", &name, "--zone", "default"]);
        assert!(
            added.status.success(),
            "{}",
            String::from_utf8_lossy(&added.stderr)
        );
    }
    let spread = |cluster: &Cluster| json(cluster, &["node", "plan"])["spread"].as_f64().unwrap_or(1.0);
    let before = spread(&cluster);
    let plan = wait_for_plan(&cluster, "rebalance", earlier);
    let after = spread(&cluster);
    eprintln!("two nodes joined: the used parts differed by {before:.3}, now by {after:.3}: {plan}");
    assert!(after <= before && after < 0.08, "{before} {after}");
    for which in [5, 6] {
        assert!(
            node(&cluster, which)["used_bytes"].as_u64().unwrap() > 0,
            "it was filled"
        );
    }
    load.end("two nodes joined");
    wait_until_whole(&cluster);
    mount.remount();
    assert_readable(mount.path(), FILES);
}

// S46
#[test]
fn a_node_is_drained_and_removed_while_in_use_and_the_coordinator_dies() {
    const FILES: u8 = 10;
    let room = Room::new();
    let mut setup = setup(4);
    // Slow enough to be met in the middle.
    setup
        .datanode_flags
        .extend(["--repair-bandwidth", "6MiB"].map(String::from));
    let mut cluster = Cluster::with(room.path(), &setup);
    fill(&cluster, room.path(), FILES);
    let mut mount = Mount::new(&cluster, room.path(), "mnt");
    let load = Load::start(mount.path());
    let name = cluster.datanodes[0].address.to_string();
    let refused = cluster.dfs(&["node", "remove", &name]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("drain it first"),
        "{said}"
    );
    let drained = cluster.dfs(&["node", "drain", &name]);
    assert!(
        drained.status.success(),
        "{}",
        String::from_utf8_lossy(&drained.stderr)
    );
    let refused = cluster.dfs(&["node", "remove", &name]);
    assert!(!refused.status.success(), "it still has copies");
    let begun = || plan(&cluster, "drain")["chunks"].as_u64().unwrap_or(0) > 0;
    patience::until_true("the first copies are moved", HEALED, begun);
    let early = plan(&cluster, "drain");
    assert_eq!(early["state"], "running", "killed too late: {early}");
    cluster.coordinator.restart();
    let plan = wait_for_plan(&cluster, "drain", 0);
    assert!(
        plan["number"] == early["number"],
        "the plan outlived the coordinator: {early} {plan}"
    );
    assert_eq!(state(&cluster, 0), "drained");
    eprintln!("drained, with the coordinator killed in the middle: {plan}");
    let removed = cluster.dfs(&["node", "remove", &name]);
    assert!(
        removed.status.success(),
        "{}",
        String::from_utf8_lossy(&removed.stderr)
    );
    cluster.datanodes[0].kill();
    load.end("a node was drained");
    wait_until_whole(&cluster);
    mount.remount();
    assert_readable(mount.path(), FILES);
    cluster.datanodes[0].start_again();
    let turned_away = || {
        cluster.datanodes[0]
            .process()
            .log()
            .contains("was removed from the cluster")
    };
    patience::until_true("a removed node is not let in", HEALED, turned_away);
}

// S45
#[test]
fn a_dead_node_that_comes_back_is_taken_back() {
    const FILES: u8 = 6;
    let room = Room::new();
    // Four nodes and one that cannot be replaced in every set: its data returns with it.
    let mut setup = setup(4);
    setup
        .datanode_flags
        .extend(["--repair-bandwidth", "2MiB"].map(String::from));
    let mut cluster = Cluster::with(room.path(), &setup);
    fill(&cluster, room.path(), FILES);
    let mut mount = Mount::new(&cluster, room.path(), "mnt");
    cluster.datanodes[2].kill();
    let dead = || state(&cluster, 2) == "dead";
    patience::until_true("the node counts as dead", HEALED, dead);
    std::fs::write(mount.join("meanwhile"), content(99)).unwrap();
    File::open(mount.join("meanwhile")).unwrap().sync_all().unwrap();
    cluster.datanodes[2].restart();
    let back = || state(&cluster, 2) == "active";
    patience::until_true("the node takes part again", HEALED, back);
    wait_until_whole(&cluster);
    mount.remount();
    assert_readable(mount.path(), FILES);
    assert!(std::fs::read(mount.join("meanwhile")).unwrap() == content(99));
    // A wish of the operator, and its end.
    let name = cluster.datanodes[1].address.to_string();
    assert!(cluster.dfs(&["node", "drain", &name]).status.success());
    assert!(cluster.dfs(&["node", "uncordon", &name]).status.success());
    assert_eq!(state(&cluster, 1), "active");
    wait_until_whole(&cluster);
}

// S25, S41
#[test]
fn a_node_cut_off_from_the_coordinator_or_from_a_client_is_no_error() {
    const FILES: u8 = 3;
    let room = Room::new();
    let mut setup = setup(4);
    setup.network = Some(Network::new());
    let cluster = Cluster::with(room.path(), &setup);
    let network = cluster.network.clone().unwrap();
    fill(&cluster, room.path(), FILES);
    let mut mount = Mount::new(&cluster, room.path(), "mnt");
    let load = Load::start(mount.path());
    // Clients reach it, the coordinator does not: it is replaced, and its copies are not counted on.
    network.cut("coordinator", "datanode-1");
    let dead = || state(&cluster, 0) == "dead" && node(&cluster, 0)["sets"] == 0;
    patience::until_true("a node that only clients reach is replaced", HEALED, dead);
    wait_until_whole(&cluster);
    network.heal_all();
    let back = || state(&cluster, 0) == "active";
    patience::until_true("it takes part again", HEALED, back);
    // The coordinator reaches it, the client does not: others serve.
    network.cut("mnt", "datanode-2");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(state(&cluster, 1), "active");
    network.heal_all();
    load.end("datanodes cut off from one side");
    wait_until_whole(&cluster);
    mount.remount();
    assert_readable(mount.path(), FILES);
}
