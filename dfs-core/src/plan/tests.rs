//! Decisions about moves on small pictures, and that carrying them out converges.

use super::*;
use crate::placement::{Candidate, form_sets};
use crate::types::Timestamp;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

fn node(zone: &str, used: u64) -> NodeView {
    NodeView {
        zone: zone.into(),
        state: NodeState::Active,
        alive: true,
        healthy: true,
        capacity: 100 * GIB,
        used,
        free: 100 * GIB - used,
    }
}

/// `count` nodes in zones of their own, the usual sets over the first `old` of them, `bytes` in each set.
fn picture(count: u32, old: u32, bytes: u64) -> Picture {
    let mut picture = Picture::default();
    for number in 1..=count {
        picture
            .nodes
            .insert(NodeId(number), node(&format!("z{number}"), 0));
    }
    let candidates = |most: u32| -> Vec<Candidate> {
        let candidate = |number| Candidate {
            node: NodeId(number),
            zone: format!("z{number}"),
            capacity: 100 * GIB,
        };
        (1..=most).map(candidate).collect()
    };
    let mut formed = form_sets(&candidates(old), &[], 3);
    let fresh = form_sets(&candidates(count), &formed, 3);
    let filled = formed.len();
    formed.extend(fresh);
    for (at, members) in formed.into_iter().enumerate() {
        let id = SetId(at as u32 + 1);
        let bytes = if at < filled { bytes } else { 0 };
        for member in &members {
            let node = picture.nodes.get_mut(member).unwrap();
            node.used += bytes;
            node.free -= bytes;
        }
        picture.figures.insert(
            id,
            SetFigures {
                chunks: bytes >> 23,
                bytes,
            },
        );
        picture.sets.insert(id, SetRow::new(members));
    }
    picture
}

/// Carries a move out as if it were done at once.
fn carry_out(picture: &mut Picture, done: &Move) {
    let set = picture.sets.get_mut(&done.set).unwrap();
    set.begin_move(done.leaves, done.joins, 100, 1).unwrap();
    set.finish(done.joins, Timestamp::default()).unwrap();
    assert!(set.forget(done.leaves));
    for (node, more) in [(done.joins, true), (done.leaves, false)] {
        let node = picture.nodes.get_mut(&node).unwrap();
        let change = |value: u64, more| {
            if more {
                value + done.bytes
            } else {
                value - done.bytes
            }
        };
        node.used = change(node.used, more);
        node.free = change(node.free, !more);
    }
}

fn moves(steps: &[Step]) -> Vec<Move> {
    let moves = steps.iter().filter_map(|step| match step {
        Step::Move(found) => Some(*found),
        Step::Abandon { .. } => None,
    });
    moves.collect()
}

#[test]
fn a_dead_nodes_places_go_to_all_others() {
    let mut picture = picture(8, 8, GIB);
    picture.nodes.get_mut(&NodeId(3)).unwrap().state = NodeState::Dead;
    picture.nodes.get_mut(&NodeId(3)).unwrap().alive = false;
    let (steps, stuck) = evacuate(&picture);
    assert_eq!(stuck, vec![]);
    let moves = moves(&steps);
    let places = picture
        .sets
        .values()
        .filter(|set| set.members.contains(&NodeId(3)))
        .count();
    assert!(places >= 5 && moves.len() == places, "{moves:?}");
    assert!(
        moves
            .iter()
            .all(|found| found.leaves == NodeId(3) && found.kind == PlanKind::Replace)
    );
    let targets: std::collections::BTreeSet<NodeId> = moves.iter().map(|found| found.joins).collect();
    assert!(targets.len() >= 4, "spread over many: {targets:?}");
}

#[test]
fn a_zone_is_not_doubled_while_another_has_room() {
    let mut picture = picture(5, 3, GIB);
    picture.nodes.get_mut(&NodeId(4)).unwrap().zone = "z1".into();
    picture.nodes.get_mut(&NodeId(1)).unwrap().state = NodeState::Active;
    picture.nodes.get_mut(&NodeId(2)).unwrap().state = NodeState::Draining;
    picture.sets.retain(|id, _| *id == SetId(1));
    let (steps, _) = evacuate(&picture);
    assert_eq!(moves(&steps)[0].joins, NodeId(5), "node 4 is in node 1's zone");
    picture.nodes.get_mut(&NodeId(5)).unwrap().free = 0;
    assert_eq!(
        moves(&evacuate(&picture).0)[0].joins,
        NodeId(4),
        "better than nothing"
    );
    picture.nodes.get_mut(&NodeId(4)).unwrap().alive = false;
    let (steps, stuck) = evacuate(&picture);
    assert_eq!((steps.len(), stuck.len()), (0, 1), "nobody is left");
}

#[test]
fn a_target_that_dies_gives_its_place_back() {
    let mut picture = picture(5, 3, GIB);
    let set = picture.sets.get_mut(&SetId(1)).unwrap();
    set.begin_move(NodeId(1), NodeId(4), 9, 1).unwrap();
    picture.nodes.get_mut(&NodeId(1)).unwrap().state = NodeState::Draining;
    picture.nodes.get_mut(&NodeId(4)).unwrap().state = NodeState::Dead;
    let (steps, _) = evacuate(&picture);
    let abandon = Step::Abandon {
        set: SetId(1),
        node: NodeId(4),
    };
    assert!(steps.contains(&abandon), "{steps:?}");
    let set = picture.sets.get_mut(&SetId(1)).unwrap();
    set.abandon(NodeId(4), Timestamp::default()).unwrap();
    let again = moves(&evacuate(&picture).0);
    let again = again.iter().find(|found| found.set == SetId(1)).unwrap();
    assert_eq!((again.leaves, again.joins), (NodeId(1), NodeId(5)));
}

#[test]
fn changes_of_members_fit_or_are_refused() {
    let mut set = SetRow::new(vec![NodeId(1), NodeId(2), NodeId(3)]);
    let now = Timestamp::default();
    assert_eq!(set.begin_move(NodeId(4), NodeId(5), 9, 1), Err(Refusal::NotFull));
    assert_eq!(
        set.begin_move(NodeId(1), NodeId(2), 9, 1),
        Err(Refusal::AlreadyMember)
    );
    set.begin_move(NodeId(1), NodeId(4), 9, 1).unwrap();
    assert_eq!(
        set.begin_move(NodeId(1), NodeId(5), 9, 1),
        Err(Refusal::NotFull),
        "it leaves already"
    );
    assert_eq!(set.writers().collect::<Vec<_>>(), [2, 3, 4].map(NodeId));
    assert_eq!(set.holders().collect::<Vec<_>>(), [1, 2, 3].map(NodeId));
    assert_eq!(set.full().collect::<Vec<_>>(), [2, 3].map(NodeId));
    set.advance(NodeId(4), 7).unwrap();
    set.advance(NodeId(4), 5).unwrap();
    assert_eq!(set.joining[0].next, 7, "a cursor never moves back");
    let mut given_up = set.clone();
    given_up.abandon(NodeId(4), now).unwrap();
    assert_eq!(given_up.members, [1, 2, 3].map(NodeId));
    assert_eq!(
        given_up.begin_move(NodeId(1), NodeId(4), 9, 1),
        Err(Refusal::StillFormer)
    );
    set.finish(NodeId(4), now).unwrap();
    assert_eq!((set.epoch, &set.members[..]), (3, &[2, 3, 4].map(NodeId)[..]));
    assert_eq!(
        set.finish(NodeId(4), now),
        Err(Refusal::NotJoining),
        "a repeat is seen"
    );
    assert!(set.forget(NodeId(1)) && !set.forget(NodeId(1)));
}

proptest! {
    #[test]
    fn levelling_converges_and_moves_little(old in 4..9u32, new in 1..4u32, bytes in 1..5u64) {
        let mut picture = picture(old + new, old, bytes * GIB);
        let before = spread(&picture);
        let all: u64 = picture.nodes.values().map(|node| node.used).sum();
        let mut moved = 0;
        for _ in 0..200 {
            let Some(next) = level(&picture, 1).first().copied() else { break };
            moved += next.bytes;
            carry_out(&mut picture, &next);
        }
        prop_assert!(level(&picture, 1).is_empty(), "it comes to rest");
        let after = spread(&picture);
        // A place in a set is the smallest thing that moves.
        let grain = bytes * GIB * 1_000_000 / (100 * GIB);
        prop_assert!(after <= LEVEL_START.max(2 * grain), "{} to {}", before, after);
        prop_assert!(moved <= all / u64::from(old + new) * u64::from(new) + all / 10, "{} of {}", moved, all);
    }

    #[test]
    fn emptied_nodes_end_up_in_no_set(count in 5..12u32, which in 1..12u32) {
        let mut picture = picture(count, count, GIB);
        let gone = NodeId(which.min(count));
        picture.nodes.get_mut(&gone).unwrap().state = NodeState::Draining;
        for _ in 0..100 {
            let (steps, _) = evacuate(&picture);
            let Some(next) = moves(&steps).first().copied() else { break };
            carry_out(&mut picture, &next);
        }
        prop_assert!(picture.sets.values().all(|set| !set.members.contains(&gone)));
        prop_assert!(picture.sets.values().all(|set| set.members.len() == 3));
    }
}
