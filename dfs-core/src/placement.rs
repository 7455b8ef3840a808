//! Which datanodes form replica sets, which set takes new chunks, and in which order members are asked. The
//! coordinator forms and chooses sets; clients order members. Knows no load and no clock: salts come in.

use crate::ids::{NodeId, SetId};
use crate::rows::SetRow;
use std::collections::BTreeMap;

/// Sets that each node is in: enough that a dead node's load spreads over many others, few enough that the
/// table stays small.
const SETS_PER_NODE: usize = 6;

/// Forms sets of `replication` members that overlap evenly, members in distinct zones where there are enough
/// zones. Deterministic in the nodes, whatever their order. No set when there are fewer nodes than replicas.
pub fn form_sets(nodes: &[(NodeId, String)], replication: usize) -> Vec<Vec<NodeId>> {
    let mut zones: BTreeMap<NodeId, &str> = BTreeMap::new();
    for (node, zone) in nodes {
        zones.insert(*node, zone);
    }
    if replication == 0 || zones.len() < replication {
        return Vec::new();
    }
    let mut load: BTreeMap<NodeId, usize> = zones.keys().map(|node| (*node, 0)).collect();
    let mut together: BTreeMap<(NodeId, NodeId), usize> = BTreeMap::new();
    let mut sets: Vec<Vec<NodeId>> = Vec::new();
    let wanted = (zones.len() * SETS_PER_NODE).div_ceil(replication);
    for _ in 0..wanted {
        let members = next_set(&zones, &load, &together, replication);
        if sets.contains(&members) {
            break;
        }
        for (position, member) in members.iter().enumerate() {
            *load.entry(*member).or_default() += 1;
            for other in &members[position + 1..] {
                *together.entry((*member, *other)).or_default() += 1;
            }
        }
        sets.push(members);
    }
    sets
}

/// The least loaded node, then those that add new zones, were least together with the chosen ones and are
/// least loaded, in this order of importance. Sorted.
fn next_set(
    zones: &BTreeMap<NodeId, &str>,
    load: &BTreeMap<NodeId, usize>,
    together: &BTreeMap<(NodeId, NodeId), usize>,
    replication: usize,
) -> Vec<NodeId> {
    let mut members: Vec<NodeId> = Vec::with_capacity(replication);
    while members.len() < replication {
        let cost = |node: NodeId| {
            let same_zone = members
                .iter()
                .filter(|member| zones[member] == zones[&node])
                .count();
            let met: usize = members
                .iter()
                .map(|member| {
                    together
                        .get(&((*member).min(node), (*member).max(node)))
                        .copied()
                        .unwrap_or(0)
                })
                .sum();
            (same_zone, met + load[&node], load[&node], node)
        };
        let Some(node) = zones
            .keys()
            .copied()
            .filter(|node| !members.contains(node))
            .min_by_key(|n| cost(*n))
        else {
            break;
        };
        members.push(node);
    }
    members.sort();
    members
}

/// A set for new chunks: none of `avoid`, all members alive with free space if such a set exists, else one
/// with the fewest members that are not (but at least one that is). Among the best, sets with more free space (that of their fullest
/// member) are chosen more often; `salt` decides.
pub fn choose_set(
    sets: &BTreeMap<SetId, SetRow>,
    alive: &dyn Fn(NodeId) -> bool,
    free: &dyn Fn(NodeId) -> u64,
    avoid: &[SetId],
    salt: u64,
) -> Option<SetId> {
    let able = |node: NodeId| alive(node) && free(node) > 0;
    let mut best: Vec<(SetId, u64)> = Vec::new();
    let mut fewest_missing = usize::MAX;
    for (id, set) in sets.iter().filter(|(id, _)| !avoid.contains(id)) {
        let members: Vec<NodeId> = set.members.iter().copied().filter(|node| able(*node)).collect();
        let missing = set.members.len() - members.len();
        let Some(room) = members.iter().map(|node| free(*node)).min() else {
            continue;
        };
        if missing < fewest_missing {
            fewest_missing = missing;
            best.clear();
        }
        if missing == fewest_missing {
            best.push((*id, room));
        }
    }
    let total: u128 = best.iter().map(|(_, room)| u128::from(*room)).sum();
    let mut place = (u128::from(mix(salt)) * total.min(u128::from(u64::MAX))) >> 64;
    for (id, room) in &best {
        match place.checked_sub(u128::from(*room)) {
            Some(rest) => place = rest,
            None => return Some(*id),
        }
    }
    None
}

/// All members in the order to ask them: the living first, each part in an order that `salt` decides.
pub fn member_order(set: &SetRow, alive: &dyn Fn(NodeId) -> bool, salt: u64) -> Vec<NodeId> {
    let mut order = set.members.clone();
    order.sort_by_key(|node| (!alive(*node), mix(salt ^ mix(u64::from(node.0)))));
    order
}

/// Spreads a number over all 64 bits (the finaliser of SplitMix64).
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
