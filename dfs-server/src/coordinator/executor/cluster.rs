//! The executor's picture of the datanodes: the durable part (who they are, which sets they form) and what their
//! beats say. Owned by the executor; it decides nothing about chunks.

use super::event::Beat;
use dfs_core::ids::{NodeId, SetId, Term};
use dfs_core::placement;
use dfs_core::rows::{NodeRow, NodeState, PlanRow, SetRow};
use dfs_proto::v1;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Free space assumed of a node that is known but has not said anything since the start.
const UNKNOWN_FREE: u64 = 1 << 30;

pub struct Node {
    pub row: NodeRow,
    pub heard: Instant,
    pub alive: bool,
    pub beat: Option<Beat>,
}

pub struct Cluster {
    pub nodes: BTreeMap<NodeId, Node>,
    pub sets: BTreeMap<SetId, SetRow>,
    /// The newest plans, by number.
    pub plans: BTreeMap<u64, PlanRow>,
    /// What is removed is kept for a while: clients then save what was written to it.
    pub trash: bool,
    /// Members changed since clients were told.
    pub untold: bool,
    /// Rises with each change; its upper half is the term, so that it rises over restarts too.
    version: u64,
    min_replicas: usize,
}

impl Cluster {
    pub fn new(term: Term, min_replicas: usize) -> Cluster {
        Cluster {
            nodes: BTreeMap::new(),
            sets: BTreeMap::new(),
            plans: BTreeMap::new(),
            trash: false,
            untold: false,
            version: term.0 << 32,
            min_replicas,
        }
    }

    /// The picture changed.
    pub fn changed(&mut self) {
        self.version += 1;
    }

    /// Notes nodes that fell silent: whether the picture changed. Time in which the coordinator itself did not
    /// run (`own_absence`) is nobody's silence.
    pub fn tick(&mut self, now: Instant, own_absence: Duration, suspect_after: Duration) -> bool {
        let mut changed = false;
        for (id, node) in &mut self.nodes {
            node.heard = (node.heard + own_absence).min(now);
            if node.alive && now.saturating_duration_since(node.heard) > suspect_after {
                tracing::warn!(node = %id, address = node.row.address, "a datanode is silent");
                node.alive = false;
                changed = true;
            }
        }
        if changed {
            self.changed();
        }
        changed
    }

    /// Nodes that were silent for so long that they count as dead. Nobody does while most are silent: then it is
    /// rather the coordinator that is cut off.
    pub fn newly_dead(&self, now: Instant, dead_after: Duration) -> Vec<NodeId> {
        let living = self.present().filter(|(_, node)| node.alive).count();
        if living * 2 < self.present().count() {
            return Vec::new();
        }
        let active = self
            .nodes
            .iter()
            .filter(|(_, node)| node.row.state == NodeState::Active);
        active
            .filter(|(_, node)| !node.alive && now.saturating_duration_since(node.heard) > dead_after)
            .map(|(id, _)| *id)
            .collect()
    }

    /// The nodes that were not removed.
    pub fn present(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.row.state != NodeState::Removed)
    }

    pub fn removed(&self) -> impl Iterator<Item = NodeId> + '_ {
        let removed = self
            .nodes
            .iter()
            .filter(|(_, node)| node.row.state == NodeState::Removed);
        removed.map(|(id, _)| *id)
    }

    /// Nodes that new sets may be made of.
    pub fn candidates(&self) -> Vec<placement::Candidate> {
        let able = self.nodes.iter().filter(|(id, _)| self.able(**id));
        able.map(|(id, node)| placement::Candidate {
            node: *id,
            zone: node.row.zone.clone(),
            capacity: node.beat.as_ref().map_or(0, |beat| beat.capacity),
        })
        .collect()
    }

    fn alive(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| {
            node.alive
                && node.row.state == NodeState::Active
                && node.beat.as_ref().is_none_or(|beat| beat.problem.is_empty())
        })
    }

    fn free(&self, id: NodeId) -> u64 {
        self.nodes.get(&id).map_or(0, |node| {
            node.beat.as_ref().map_or(UNKNOWN_FREE, |beat| beat.free)
        })
    }

    fn able(&self, id: NodeId) -> bool {
        self.alive(id) && self.free(id) > 0
    }

    /// A set for new chunks in which enough members have room. When all are to be avoided, that wish is dropped:
    /// a member may have recovered, and there is no other choice.
    pub fn choose(&self, avoid: &mut Vec<SetId>, salt: u64) -> Option<SetId> {
        let chosen = self.choose_among(avoid, salt);
        if chosen.is_none() && !avoid.is_empty() {
            avoid.clear();
            return self.choose_among(avoid, salt);
        }
        chosen
    }

    fn choose_among(&self, avoid: &[SetId], salt: u64) -> Option<SetId> {
        let chosen =
            placement::choose_set(&self.sets, &|id| self.alive(id), &|id| self.free(id), avoid, salt)?;
        let able = self
            .sets
            .get(&chosen)?
            .writers()
            .filter(|id| self.able(*id))
            .count();
        (able >= self.min_replicas).then_some(chosen)
    }

    /// Whether enough nodes live and it is room that is missing.
    pub fn is_full(&self) -> bool {
        let living = self.nodes.keys().filter(|id| self.alive(**id)).count();
        let able = self.nodes.keys().filter(|id| self.able(**id)).count();
        !self.sets.is_empty() && living >= self.min_replicas && able < self.min_replicas
    }

    /// Sums of what the nodes say: capacity, used, free.
    pub fn space(&self) -> (u64, u64, u64) {
        let counted = self
            .present()
            .filter(|(_, node)| node.row.state != NodeState::Dead);
        counted.fold((0, 0, 0), |sum, (id, node)| {
            let (capacity, used) = node
                .beat
                .as_ref()
                .map_or((UNKNOWN_FREE, 0), |beat| (beat.capacity, beat.used));
            (sum.0 + capacity, sum.1 + used, sum.2 + self.free(*id))
        })
    }

    /// What clients are told.
    pub fn map(&self) -> v1::ClusterMap {
        let nodes = self.present().map(|(id, node)| v1::Node {
            id: id.0,
            address: node.row.address.clone(),
            alive: node.alive,
            zone: node.row.zone.clone(),
        });
        let sets = self.sets.iter().map(|(id, set)| set_to_wire(*id, set));
        v1::ClusterMap {
            version: self.version,
            nodes: nodes.collect(),
            sets: sets.collect(),
            min_replicas: self.min_replicas as u32,
            trash: self.trash,
        }
    }
}

/// A replica set as clients and operators are told of it.
pub fn set_to_wire(id: SetId, set: &SetRow) -> v1::ReplicaSet {
    v1::ReplicaSet {
        id: id.0,
        epoch: set.epoch,
        members: set.members.iter().map(|node| node.0).collect(),
        joining: set.joining.iter().map(|joining| joining.node.0).collect(),
        leaving: set
            .joining
            .iter()
            .filter_map(|joining| joining.replaces)
            .map(|node| node.0)
            .collect(),
    }
}
