//! When a silent datanode counts as gone, and when it is rather the coordinator.

use crate::coordinator::executor::cluster::{Cluster, Node};
use dfs_core::ids::{NodeId, Term};
use dfs_core::rows::{NodeRow, NodeState};
use dfs_core::types::Timestamp;
use std::time::{Duration, Instant};

const SUSPECT: Duration = Duration::from_secs(3);
const DEAD: Duration = Duration::from_secs(600);

fn cluster(now: Instant) -> Cluster {
    let mut cluster = Cluster::new(Term(1), 2);
    for number in 1..=5 {
        let row = NodeRow {
            uuid: [number as u8; 16],
            address: format!("h:{number}"),
            zone: String::new(),
            state: NodeState::Active,
            since: Timestamp::default(),
        };
        let node = Node {
            row,
            heard: now,
            alive: true,
            beat: None,
        };
        cluster.nodes.insert(NodeId(number), node);
    }
    cluster
}

fn hear(cluster: &mut Cluster, numbers: &[u32], now: Instant) {
    for number in numbers {
        let node = cluster.nodes.get_mut(&NodeId(*number)).unwrap();
        (node.heard, node.alive) = (now, true);
    }
}

#[test]
fn a_node_is_suspected_soon_and_dead_late() {
    let begun = Instant::now();
    let mut cluster = cluster(begun);
    let later = begun + Duration::from_secs(4);
    hear(&mut cluster, &[1, 2, 3, 4], later);
    assert!(cluster.tick(later, Duration::ZERO, SUSPECT));
    assert!(!cluster.nodes[&NodeId(5)].alive && cluster.nodes[&NodeId(1)].alive);
    assert_eq!(cluster.newly_dead(later, DEAD), vec![]);
    let late = begun + Duration::from_secs(601);
    hear(&mut cluster, &[1, 2, 3, 4], late);
    assert_eq!(cluster.newly_dead(late, DEAD), vec![NodeId(5)]);
}

#[test]
fn nobody_dies_while_most_are_silent() {
    let begun = Instant::now();
    let mut cluster = cluster(begun);
    let late = begun + Duration::from_secs(700);
    hear(&mut cluster, &[1, 2], late);
    cluster.tick(late, Duration::ZERO, SUSPECT);
    assert_eq!(
        cluster.newly_dead(late, DEAD),
        vec![],
        "the coordinator is rather cut off"
    );
    hear(&mut cluster, &[3], late);
    assert_eq!(cluster.newly_dead(late, DEAD), vec![NodeId(4), NodeId(5)]);
}

#[test]
fn time_in_which_the_coordinator_stood_still_is_nobodys_silence() {
    let begun = Instant::now();
    let mut cluster = cluster(begun);
    let woken = begun + Duration::from_secs(3600);
    assert!(!cluster.tick(woken, Duration::from_secs(3599), SUSPECT));
    assert_eq!(cluster.newly_dead(woken, DEAD), vec![]);
}
