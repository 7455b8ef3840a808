//! Which datanodes form replica sets, which set takes new chunks, and in which order members are asked. The
//! coordinator forms and chooses sets; clients order members. Knows no load and no clock: salts come in.

use crate::ids::{NodeId, SetId};
use crate::rows::SetRow;
use std::collections::{BTreeMap, BTreeSet};

/// Sets that a node of mean capacity is in: enough that a dead node's load spreads over many others, few enough
/// that the table stays small.
const SETS_PER_NODE: usize = 6;
/// A node with much more capacity than others is in at most this many times as many sets.
const WEIGHT_MAX: usize = 4;

/// A datanode that may be in new sets.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub node: NodeId,
    pub zone: String,
    /// Bytes; 0 when it is not known.
    pub capacity: u64,
}

/// The state of one call of [`form_sets`].
struct Forming<'a> {
    zones: BTreeMap<NodeId, &'a str>,
    /// Sets that each node is in, and is to be in.
    load: BTreeMap<NodeId, usize>,
    wanted: BTreeMap<NodeId, usize>,
    together: BTreeMap<(NodeId, NodeId), usize>,
}

/// The sets of `replication` members that are missing beside the `existing` ones, so that all overlap evenly and
/// each node is in as many as its capacity deserves; members in distinct zones where there are enough zones.
/// Deterministic in the nodes, whatever their order. None when there are fewer nodes than replicas.
pub fn form_sets(nodes: &[Candidate], existing: &[Vec<NodeId>], replication: usize) -> Vec<Vec<NodeId>> {
    let mut forming = Forming::new(nodes);
    if replication == 0 || forming.zones.len() < replication {
        return Vec::new();
    }
    let mut known: BTreeSet<Vec<NodeId>> = BTreeSet::new();
    for members in existing {
        forming.count(members);
        known.insert(members.clone());
    }
    let mut formed: Vec<Vec<NodeId>> = Vec::new();
    let mut satisfied: BTreeSet<NodeId> = BTreeSet::new();
    while let Some(seed) = forming.neediest(&satisfied) {
        let members = forming.around(seed, replication);
        if known.insert(members.clone()) {
            forming.count(&members);
            formed.push(members);
            satisfied.clear();
        } else {
            // Its best company is a set already.
            satisfied.insert(seed);
        }
    }
    formed
}

impl<'a> Forming<'a> {
    fn new(nodes: &'a [Candidate]) -> Forming<'a> {
        let known = nodes.iter().filter(|node| node.capacity > 0);
        let mean = known.clone().map(|node| u128::from(node.capacity)).sum::<u128>()
            / (known.count().max(1) as u128);
        let wanted = |node: &Candidate| match u128::from(node.capacity) {
            0 => SETS_PER_NODE,
            capacity => ((capacity * SETS_PER_NODE as u128).div_ceil(mean.max(1)) as usize)
                .clamp(1, SETS_PER_NODE * WEIGHT_MAX),
        };
        Forming {
            zones: nodes.iter().map(|node| (node.node, node.zone.as_str())).collect(),
            load: nodes.iter().map(|node| (node.node, 0)).collect(),
            wanted: nodes.iter().map(|node| (node.node, wanted(node))).collect(),
            together: BTreeMap::new(),
        }
    }

    fn count(&mut self, members: &[NodeId]) {
        for (position, member) in members.iter().enumerate() {
            if let Some(load) = self.load.get_mut(member) {
                *load += 1;
            }
            for other in &members[position + 1..] {
                *self.together.entry((*member, *other)).or_default() += 1;
            }
        }
    }

    /// The node that is in the smallest part of the sets that it is to be in.
    fn neediest(&self, satisfied: &BTreeSet<NodeId>) -> Option<NodeId> {
        let needy = self
            .load
            .iter()
            .filter(|(node, load)| **load < self.wanted[node] && !satisfied.contains(node));
        needy
            .min_by_key(|(node, load)| (**load * 1000 / self.wanted[node], **node))
            .map(|(node, _)| *node)
    }

    /// The seed, then those that add new zones, were least together with the chosen ones and are least loaded,
    /// in this order of importance. Sorted.
    fn around(&self, seed: NodeId, replication: usize) -> Vec<NodeId> {
        let mut members: Vec<NodeId> = vec![seed];
        while members.len() < replication {
            let cost = |node: NodeId| {
                let same_zone = |member: &&NodeId| self.zones[*member] == self.zones[&node];
                let met = |member: &NodeId| {
                    let pair = ((*member).min(node), (*member).max(node));
                    self.together.get(&pair).copied().unwrap_or(0)
                };
                let met: usize = members.iter().map(met).sum();
                let load = self.load[&node] * SETS_PER_NODE / self.wanted[&node];
                (members.iter().filter(same_zone).count(), met + load, load, node)
            };
            let others = self.zones.keys().copied().filter(|node| !members.contains(node));
            let Some(node) = others.min_by_key(|node| cost(*node)) else {
                break;
            };
            members.push(node);
        }
        members.sort();
        members
    }
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
        let members: Vec<NodeId> = set.writers().filter(|node| able(*node)).collect();
        let missing = set.writers().count() - members.len();
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

/// All members in the order to ask them: the living first, those that are being filled last, each part in an
/// order that `salt` decides.
pub fn member_order(set: &SetRow, alive: &dyn Fn(NodeId) -> bool, salt: u64) -> Vec<NodeId> {
    let mut order = set.members.clone();
    order.sort_by_key(|node| {
        (
            set.is_joining(*node),
            !alive(*node),
            mix(salt ^ mix(u64::from(node.0))),
        )
    });
    order
}

/// Spreads a number over all 64 bits (the finaliser of SplitMix64).
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
