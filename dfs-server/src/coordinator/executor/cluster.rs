//! The executor's picture of the datanodes: the durable part (who they are, which sets they form) and what their
//! beats say. Owned by the executor; it decides nothing about chunks.

use super::event::Beat;
use crate::coordinator::limits::NODE_SILENCE;
use dfs_core::ids::{NodeId, SetId, Term};
use dfs_core::placement;
use dfs_core::rows::{NodeRow, NodeState, SetRow};
use dfs_proto::v1;
use std::collections::BTreeMap;
use std::time::Instant;

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
    /// Rises with each change; its upper half is the term, so that it rises over restarts too.
    version: u64,
    min_replicas: usize,
}

impl Cluster {
    pub fn new(term: Term, min_replicas: usize) -> Cluster {
        Cluster {
            nodes: BTreeMap::new(),
            sets: BTreeMap::new(),
            version: term.0 << 32,
            min_replicas,
        }
    }

    /// The picture changed.
    pub fn changed(&mut self) {
        self.version += 1;
    }

    /// Notes nodes that fell silent: whether the picture changed.
    pub fn tick(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for (id, node) in &mut self.nodes {
            if node.alive && now.saturating_duration_since(node.heard) > NODE_SILENCE {
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
            .members
            .iter()
            .filter(|id| self.able(**id))
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
        self.nodes.iter().fold((0, 0, 0), |sum, (id, node)| {
            let (capacity, used) = node
                .beat
                .as_ref()
                .map_or((UNKNOWN_FREE, 0), |beat| (beat.capacity, beat.used));
            (sum.0 + capacity, sum.1 + used, sum.2 + self.free(*id))
        })
    }

    /// What clients are told.
    pub fn map(&self) -> v1::ClusterMap {
        let nodes = self.nodes.iter().map(|(id, node)| v1::Node {
            id: id.0,
            address: node.row.address.clone(),
            alive: node.alive,
            zone: node.row.zone.clone(),
        });
        let sets = self.sets.iter().map(|(id, set)| v1::ReplicaSet {
            id: id.0,
            epoch: set.epoch,
            members: set.members.iter().map(|node| node.0).collect(),
        });
        v1::ClusterMap {
            version: self.version,
            nodes: nodes.collect(),
            sets: sets.collect(),
            min_replicas: self.min_replicas as u32,
        }
    }
}
