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
    pub replication: usize,
}

impl Cluster {
    pub fn new(term: Term) -> Cluster {
        Cluster {
            nodes: BTreeMap::new(),
            sets: BTreeMap::new(),
            version: term.0 << 32,
            replication: 1,
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

    /// A set for new chunks. Sets in which nobody has room are none.
    pub fn choose(&self, avoid: &[SetId], salt: u64) -> Option<SetId> {
        placement::choose_set(&self.sets, &|id| self.alive(id), &|id| self.free(id), avoid, salt).or_else(
            || {
                // All sets were avoided: a member may have recovered, and there is no other choice.
                placement::choose_set(&self.sets, &|id| self.alive(id), &|id| self.free(id), &[], salt)
            },
        )
    }

    /// Whether living nodes exist and none of them has room.
    pub fn is_full(&self) -> bool {
        let mut living = self.nodes.keys().filter(|id| self.alive(**id)).peekable();
        !self.sets.is_empty() && living.peek().is_some() && living.all(|id| self.free(*id) == 0)
    }

    /// Sums of what the nodes say: capacity, used, free.
    pub fn space(&self) -> (u64, u64, u64) {
        let beats = self.nodes.values().filter_map(|node| node.beat.as_ref());
        beats.fold((0, 0, 0), |sum, beat| {
            (sum.0 + beat.capacity, sum.1 + beat.used, sum.2 + beat.free)
        })
    }

    /// What clients are told.
    pub fn map(&self, min_replicas: usize) -> v1::ClusterMap {
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
            min_replicas: min_replicas as u32,
        }
    }
}
