//! What the workers that care for copies have found out and services show: figures of the sets, and places that nobody
//! can take. Lost at a restart and found anew.

use super::executor::Status;
use dfs_core::ids::{NodeId, SetId};
use dfs_core::plan::{NodeView, Picture, SetFigures, Stuck};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The sums over all chunks at one moment.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    pub sets: BTreeMap<SetId, SetFigures>,
    /// Chunks with fewer good copies than members, by the members that lack one.
    pub lacking: BTreeMap<NodeId, u64>,
    pub degraded: u64,
    pub lost: u64,
}

/// Shared by workers and services.
#[derive(Debug, Default)]
pub struct Care {
    survey: Mutex<Survey>,
    stuck: Mutex<Vec<Stuck>>,
}

impl Care {
    pub fn survey(&self) -> Survey {
        self.survey.lock().clone()
    }

    pub fn set_survey(&self, survey: Survey) {
        *self.survey.lock() = survey;
    }

    pub fn set_stuck(&self, stuck: Vec<Stuck>) {
        *self.stuck.lock() = stuck;
    }

    pub fn stuck(&self) -> Vec<Stuck> {
        self.stuck.lock().clone()
    }
}

/// Nodes, sets and figures as the decisions take them.
pub fn picture(status: &Status, survey: &Survey) -> Picture {
    let view = |node: &super::executor::NodeFigures| NodeView {
        zone: node.row.zone.clone(),
        state: node.row.state,
        alive: node.alive,
        healthy: node.problem.is_empty(),
        capacity: node.capacity,
        used: node.used,
        free: node.free,
    };
    Picture {
        nodes: status.nodes.iter().map(|(id, node)| (*id, view(node))).collect(),
        sets: status.sets.clone(),
        figures: survey.sets.clone(),
    }
}
