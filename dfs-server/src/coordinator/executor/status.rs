//! Figures for operators and workers: a picture of sessions, nodes and the log at one moment.

use super::Executor;
use super::event::Process;
use super::session::Counts;
use dfs_core::ids::{Index, NodeId, SessionId, SetId, Term};
use dfs_core::rows::{NodeRow, PlanRow, SetRow};
use dfs_core::types::VolumeUsage;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

pub struct NodeFigures {
    pub row: NodeRow,
    pub alive: bool,
    pub silent: Duration,
    pub capacity: u64,
    pub used: u64,
    pub free: u64,
    pub chunks: u64,
    pub problem: String,
    pub process: Process,
}

pub struct SessionFigures {
    pub id: SessionId,
    pub client: String,
    pub silent: Duration,
    pub leases: u64,
    pub locks: u64,
    pub connected: bool,
    pub counts: Counts,
    pub pending: u64,
    /// Of the calls that do not wait for a lock.
    pub oldest_pending: Duration,
}

/// The coordinator at one moment.
pub struct Status {
    pub term: Term,
    pub durable: Index,
    /// The record with the newest change that this tells of, durable or not.
    pub latest: Index,
    pub syncs: u64,
    /// Operations that wait for leases.
    pub parked: usize,
    pub disk_low: bool,
    pub grace: bool,
    pub usage: VolumeUsage,
    pub nodes: BTreeMap<NodeId, NodeFigures>,
    pub sets: BTreeMap<SetId, SetRow>,
    pub plans: BTreeMap<u64, PlanRow>,
    pub sessions: Vec<SessionFigures>,
}

impl Executor {
    /// True figures of the volume: what its nodes can take and hold, each byte counted once.
    pub(super) fn usage(&self) -> VolumeUsage {
        let (capacity, used, free) = self.cluster.space();
        let copies = self.settings.replication.max(1) as u64;
        VolumeUsage {
            total_bytes: capacity / copies,
            used_bytes: used / copies,
            available_bytes: free / copies,
            inodes: self.counters.inodes.max(0) as u64,
        }
    }

    pub(super) fn answer_status(&self, answer: oneshot::Sender<Status>) {
        let now = self.now.monotonic;
        let nodes = self.cluster.nodes.iter().map(|(id, node)| {
            let beat = node.beat.as_ref();
            let figures = NodeFigures {
                row: node.row.clone(),
                alive: node.alive,
                silent: now.saturating_duration_since(node.heard),
                capacity: beat.map_or(0, |beat| beat.capacity),
                used: beat.map_or(0, |beat| beat.used),
                free: beat.map_or(0, |beat| beat.free),
                chunks: beat.map_or(0, |beat| beat.chunks),
                process: beat.map_or_else(Process::default, |beat| beat.process.clone()),
                problem: beat.map_or_else(String::new, |beat| beat.problem.clone()),
            };
            (*id, figures)
        });
        let sessions = self.sessions.iter().map(|(id, own)| SessionFigures {
            id: *id,
            client: own.client.clone(),
            silent: now.saturating_duration_since(own.heard),
            leases: self.leases.count(*id) as u64,
            locks: self.locks.count(*id) as u64,
            connected: own.stream.is_some(),
            counts: own.counts,
            pending: own.executing.len() as u64,
            oldest_pending: own.oldest_pending(now),
        });
        let status = Status {
            term: self.term,
            durable: self.durable,
            latest: self.batch_or_durable().max(self.durable),
            syncs: self.writer.syncs(),
            parked: self.parked.len(),
            disk_low: self.disk_low.load(Ordering::Relaxed),
            grace: self.grace.is_some(),
            usage: self.usage(),
            nodes: nodes.collect(),
            sets: self.cluster.sets.clone(),
            plans: self.cluster.plans.clone(),
            sessions: sessions.collect(),
        };
        // Who asked may have left.
        let _ = answer.send(status);
    }
}
