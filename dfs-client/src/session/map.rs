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
    pub nodes: HashMap<NodeId, v1::Node>,
    pub sets: HashMap<SetId, Vec<NodeId>>,
}

impl Map {
    /// The same cluster with the nodes and sets of `map`.
    pub fn updated(&self, map: v1::ClusterMap) -> Map {
        Map {
            cluster: self.cluster.clone(),
            term: self.term,
            min_replicas: map.min_replicas as usize,
            nodes: map
                .nodes
                .into_iter()
                .map(|node| (NodeId(node.id), node))
                .collect(),
            sets: map
                .sets
                .into_iter()
                .map(|set| (SetId(set.id), set.members.into_iter().map(NodeId).collect()))
                .collect(),
        }
    }

    /// The members of a set, those that live first, otherwise in the set's order.
    pub fn members(&self, set: SetId) -> Vec<v1::Node> {
        let members = self.sets.get(&set).map(Vec::as_slice).unwrap_or_default();
        let mut nodes: Vec<v1::Node> = members
            .iter()
            .filter_map(|id| self.nodes.get(id).cloned())
            .collect();
        nodes.sort_by_key(|node| !node.alive);
        nodes
    }
}
