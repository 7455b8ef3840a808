//! Where chunks are: the coordinator's cluster map in the form that transfers use. The session replaces it
//! whenever the coordinator sends a new one.

use dfs_core::ids::{NodeId, SetId, Term};
use dfs_proto::v1;
use std::collections::HashMap;

/// Nodes and replica sets at one moment.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// UUID of the cluster; a datanode of another one refuses us.
    pub cluster: Vec<u8>,
    pub term: Term,
    pub min_replicas: usize,
    /// What is removed is kept for a while.
    pub trash: bool,
    pub nodes: HashMap<NodeId, v1::Node>,
    pub sets: HashMap<SetId, Members>,
}

/// The members of a replica set.
#[derive(Clone, Debug, Default)]
pub struct Members {
    pub all: Vec<NodeId>,
    /// Being filled: asked last, written to.
    pub joining: Vec<NodeId>,
    /// Being replaced: asked, not written to.
    pub leaving: Vec<NodeId>,
}

impl Map {
    /// The same cluster with the nodes and sets of `map`.
    pub fn updated(&self, map: v1::ClusterMap) -> Map {
        Map {
            cluster: self.cluster.clone(),
            term: self.term,
            min_replicas: map.min_replicas as usize,
            trash: map.trash,
            nodes: map
                .nodes
                .into_iter()
                .map(|node| (NodeId(node.id), node))
                .collect(),
            sets: map
                .sets
                .into_iter()
                .map(|set| (SetId(set.id), Members::of(set)))
                .collect(),
        }
    }

    /// The members of a set that may have its chunks: those that live first, those that are being filled last,
    /// otherwise in the set's order.
    pub fn members(&self, set: SetId) -> Vec<v1::Node> {
        let Some(members) = self.sets.get(&set) else {
            return Vec::new();
        };
        let mut nodes = self.nodes_of(&members.all);
        nodes.sort_by_key(|node| (members.joining.contains(&NodeId(node.id)), !node.alive));
        nodes
    }

    /// The members of a set that new chunks are written to, those that live first.
    pub fn writers(&self, set: SetId) -> Vec<v1::Node> {
        let mut nodes = self.members(set);
        if let Some(members) = self.sets.get(&set) {
            nodes.retain(|node| !members.leaving.contains(&NodeId(node.id)));
        }
        nodes.sort_by_key(|node| !node.alive);
        nodes
    }

    /// Whether the member is to have every chunk of the set: one that joins or leaves may lack some.
    pub fn is_full_member(&self, set: SetId, node: NodeId) -> bool {
        let members = self.sets.get(&set);
        members.is_some_and(|members| !members.joining.contains(&node) && !members.leaving.contains(&node))
    }

    /// Whether the member is being filled: asked last, since it may lack what is asked for.
    pub fn is_joining(&self, set: SetId, node: NodeId) -> bool {
        let members = self.sets.get(&set);
        members.is_some_and(|members| members.joining.contains(&node))
    }

    fn nodes_of(&self, ids: &[NodeId]) -> Vec<v1::Node> {
        ids.iter().filter_map(|id| self.nodes.get(id).cloned()).collect()
    }
}

impl Members {
    fn of(set: v1::ReplicaSet) -> Members {
        let ids = |ids: Vec<u32>| ids.into_iter().map(NodeId).collect();
        Members {
            all: ids(set.members),
            joining: ids(set.joining),
            leaving: ids(set.leaving),
        }
    }
}
