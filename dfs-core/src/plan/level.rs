//! Filling nodes evenly: whole places in sets move from the fullest nodes to the emptiest, as few as it takes. The
//! planner asks.

use super::{Move, Picture, shift};
use crate::ids::{NodeId, SetId};
use crate::rows::{NodeState, PlanKind};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes whose used parts differ by more than this many millionths of their capacity are levelled.
pub const LEVEL_START: u64 = 50_000;
/// A move that betters the difference of its two nodes by less is not worth its bytes.
const GAIN_LEAST: u64 = 5_000;

/// The difference between the fullest and the emptiest active node, in millionths of their capacity.
pub fn spread(picture: &Picture) -> u64 {
    spread_of(picture, &picture.expected())
}

fn spread_of(picture: &Picture, used: &BTreeMap<NodeId, u64>) -> u64 {
    let parts = || active(picture).map(|node| picture.part(node, used));
    parts().max().unwrap_or(0) - parts().min().unwrap_or(0)
}

fn active(picture: &Picture) -> impl Iterator<Item = NodeId> + '_ {
    let able = |node: &super::NodeView| node.state == NodeState::Active && node.alive && node.capacity > 0;
    let nodes = picture.nodes.iter().filter(move |(_, node)| able(node));
    nodes.map(|(id, _)| *id)
}

/// At most `limit` moves, the best first. None while a set is in another move, or when the nodes are level.
pub fn level(picture: &Picture, limit: usize) -> Vec<Move> {
    let mut used = picture.expected();
    let mut moved: BTreeSet<SetId> = BTreeSet::new();
    let mut moves = Vec::new();
    if spread_of(picture, &used) < LEVEL_START {
        return moves;
    }
    while moves.len() < limit {
        let Some(best) = best_move(picture, &used, &moved) else {
            break;
        };
        shift(&mut used, Some(best.leaves), best.joins, best.bytes);
        moved.insert(best.set);
        moves.push(best);
    }
    moves
}

/// From the fullest node that has something to give, the set whose move leaves the pair most even.
fn best_move(picture: &Picture, used: &BTreeMap<NodeId, u64>, moved: &BTreeSet<SetId>) -> Option<Move> {
    let mut nodes: Vec<NodeId> = active(picture).collect();
    nodes.sort_by_key(|node| (picture.part(*node, used), *node));
    for from in nodes.iter().rev() {
        for to in nodes.iter().filter(|to| *to != from) {
            let gap = picture.part(*from, used).saturating_sub(picture.part(*to, used));
            if gap < LEVEL_START / 2 {
                break;
            }
            let candidates = picture.sets.iter().filter(|(id, set)| {
                set.joining.is_empty() && !moved.contains(id) && set.full().any(|member| member == *from)
            });
            let left = |id: SetId| {
                let mut after = used.clone();
                shift(&mut after, Some(*from), *to, picture.bytes(id));
                picture.part(*from, &after).abs_diff(picture.part(*to, &after))
            };
            let allowed = candidates.filter(|(id, set)| {
                picture.can_join(**id, *to, used)
                    && picture.shared_zone(set, *from, *to) <= picture.shared_zone(set, *from, *from)
            });
            let best = allowed.map(|(id, _)| (left(*id), *id)).min();
            if let Some((left, set)) = best
                && left + GAIN_LEAST <= gap
            {
                return Some(Move {
                    kind: PlanKind::Rebalance,
                    set,
                    leaves: *from,
                    joins: *to,
                    bytes: picture.bytes(set),
                });
            }
        }
    }
    None
}
