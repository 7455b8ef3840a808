//! Which copies move where: pure decisions from a picture of nodes, sets and figures. The coordinator's workers ask
//! here and carry out; a dry run asks and prints. Knows no clock, no network and no chunk.

mod change;
mod evacuate;
mod level;
#[cfg(test)]
mod tests;

pub use change::Refusal;
pub use evacuate::evacuate;
pub use level::{LEVEL_START, level, spread};

use crate::ids::{NodeId, SetId};
use crate::rows::{NodeState, PlanKind, SetRow};
use std::collections::BTreeMap;

/// What is known of a datanode.
#[derive(Clone, Debug)]
pub struct NodeView {
    pub zone: String,
    pub state: NodeState,
    /// It was heard of lately.
    pub alive: bool,
    /// It complains of nothing.
    pub healthy: bool,
    /// Bytes.
    pub capacity: u64,
    pub used: u64,
    pub free: u64,
}

/// What the chunks of a set sum up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetFigures {
    pub chunks: u64,
    pub bytes: u64,
}

/// Nodes, sets and figures at one moment.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub nodes: BTreeMap<NodeId, NodeView>,
    pub sets: BTreeMap<SetId, SetRow>,
    pub figures: BTreeMap<SetId, SetFigures>,
}

/// A change of a set's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `joins` is filled and then `leaves` leaves.
    Move(Move),
    /// The member that joins cannot go on: it leaves again.
    Abandon { set: SetId, node: NodeId },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub kind: PlanKind,
    pub set: SetId,
    pub leaves: NodeId,
    pub joins: NodeId,
    /// About what is copied.
    pub bytes: u64,
}

/// A member that must leave and that nobody can replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    pub set: SetId,
    pub node: NodeId,
}

impl Picture {
    fn bytes(&self, set: SetId) -> u64 {
        self.figures.get(&set).map_or(0, |figures| figures.bytes)
    }

    /// Whether the node can be filled.
    fn takes(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| {
            node.state == NodeState::Active && node.alive && node.healthy && node.free > 0
        })
    }

    /// What each node will hold when the moves under way are done and what they left behind is deleted.
    fn expected(&self) -> BTreeMap<NodeId, u64> {
        let mut used: BTreeMap<NodeId, u64> = self.nodes.iter().map(|(id, node)| (*id, node.used)).collect();
        for (id, set) in &self.sets {
            let bytes = self.bytes(*id);
            for joining in &set.joining {
                let copied = u128::from(bytes) * u128::from(joining.next.min(joining.until));
                let copied = (copied / u128::from(joining.until.max(1))) as u64;
                shift(&mut used, joining.replaces, joining.node, bytes);
                shift(&mut used, Some(joining.node), NodeId(0), copied);
            }
            for former in &set.former {
                shift(&mut used, Some(former.node), NodeId(0), bytes);
            }
        }
        used
    }

    /// The best node to take the place of `leaves`: in a zone that no other member is in if there is one, with
    /// the smallest part of its capacity used. `None` when nobody can.
    fn replacement(&self, id: SetId, leaves: NodeId, used: &BTreeMap<NodeId, u64>) -> Option<NodeId> {
        let set = self.sets.get(&id)?;
        let able = self
            .nodes
            .keys()
            .copied()
            .filter(|node| self.can_join(id, *node, used));
        able.min_by_key(|node| {
            (
                self.shared_zone(set, leaves, *node),
                self.part(*node, used),
                *node,
            )
        })
    }

    /// Whether the node may become a member and has room for the set.
    fn can_join(&self, id: SetId, node: NodeId, used: &BTreeMap<NodeId, u64>) -> bool {
        let Some(set) = self.sets.get(&id) else {
            return false;
        };
        let has_room = || {
            let Some(view) = self.nodes.get(&node) else {
                return false;
            };
            let coming = used.get(&node).map_or(0, |used| used.saturating_sub(view.used));
            view.free > coming.saturating_add(self.bytes(id))
        };
        self.takes(node)
            && !set.members.contains(&node)
            && !set.former.iter().any(|former| former.node == node)
            && has_room()
    }

    /// Members that stay and are in the zone of `joins`.
    fn shared_zone(&self, set: &SetRow, leaves: NodeId, joins: NodeId) -> usize {
        let zone = |node: NodeId| self.nodes.get(&node).map(|node| node.zone.as_str());
        set.writers()
            .filter(|member| *member != leaves && zone(*member) == zone(joins))
            .count()
    }

    /// The used part of the node's capacity in millionths.
    fn part(&self, node: NodeId, used: &BTreeMap<NodeId, u64>) -> u64 {
        let capacity = self.nodes.get(&node).map_or(0, |node| node.capacity).max(1);
        let used = used.get(&node).copied().unwrap_or(0);
        (u128::from(used) * 1_000_000 / u128::from(capacity)).min(u128::from(u64::MAX)) as u64
    }
}

fn shift(used: &mut BTreeMap<NodeId, u64>, leaves: Option<NodeId>, joins: NodeId, bytes: u64) {
    if let Some(used) = leaves.and_then(|leaves| used.get_mut(&leaves)) {
        *used = used.saturating_sub(bytes);
    }
    *used.entry(joins).or_default() += bytes;
}
