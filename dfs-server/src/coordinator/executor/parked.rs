//! Operations that wait for leases of others. Each remembers every inode that it ever waited for, so that no new
//! lease slips in on one of them while another is still being recalled.

use super::event::Outcome;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::op::Op;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use tokio::sync::oneshot;

/// Who gets the answer.
pub enum Caller {
    Session { id: SessionId, op_id: u64 },
    Own(oneshot::Sender<Outcome>),
}

impl Caller {
    /// Whose leases do not conflict.
    pub fn session(&self) -> SessionId {
        match self {
            Caller::Session { id, .. } => *id,
            Caller::Own(_) => SessionId::COORDINATOR,
        }
    }

    /// The call's number when it is one of this session.
    pub fn call_of(&self, session: SessionId) -> Option<u64> {
        match self {
            Caller::Session { id, op_id } if *id == session => Some(*op_id),
            _ => None,
        }
    }
}

/// An operation that was taken and not yet executed.
pub struct Pending {
    pub caller: Caller,
    pub op: Op,
    pub since: Instant,
    /// Inodes that it had to wait for.
    pub wanted: BTreeSet<Ino>,
    /// Those of them that it waits for now: it is tried again when the last one is freed, since a listing may wait for
    /// thousands.
    pub outstanding: BTreeSet<Ino>,
    /// Since when it waits for promises of a quota to come back.
    pub refused_since: Option<Instant>,
}

impl Pending {
    pub fn new(caller: Caller, op: Op, since: Instant) -> Pending {
        Pending {
            caller,
            op,
            since,
            wanted: BTreeSet::new(),
            outstanding: BTreeSet::new(),
            refused_since: None,
        }
    }
}

#[derive(Default)]
pub struct Parked {
    next: u64,
    /// In the order of arrival.
    pending: BTreeMap<u64, Pending>,
    by_ino: BTreeMap<Ino, BTreeSet<u64>>,
    /// Chunk requests that wait for a datanode, apart from leases.
    pub for_nodes: Vec<Pending>,
    /// What a quota has no room for, as long as promises may come back.
    pub for_quota: Vec<Pending>,
}

impl Parked {
    /// Puts an operation away until one of its wanted inodes is freed.
    pub fn park(&mut self, pending: Pending) {
        self.next += 1;
        for ino in &pending.wanted {
            self.by_ino.entry(*ino).or_default().insert(self.next);
        }
        self.pending.insert(self.next, pending);
    }

    /// The inode is freed. Takes out, in order, what waits for nothing else.
    pub fn take(&mut self, ino: Ino) -> Vec<Pending> {
        let tickets = self.by_ino.get(&ino).cloned().unwrap_or_default();
        let mut ready = Vec::new();
        for ticket in tickets {
            let Some(pending) = self.pending.get_mut(&ticket) else {
                continue;
            };
            pending.outstanding.remove(&ino);
            if pending.outstanding.is_empty() {
                ready.extend(self.remove(ticket));
            }
        }
        ready
    }

    /// Takes out what a session asked for: the calls' numbers.
    pub fn drop_session(&mut self, session: SessionId) -> Vec<u64> {
        let theirs = |pending: &Pending| pending.caller.call_of(session).is_some();
        let tickets: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| theirs(pending))
            .map(|(ticket, _)| *ticket)
            .collect();
        let mut dropped: Vec<Pending> = tickets
            .into_iter()
            .filter_map(|ticket| self.remove(ticket))
            .collect();
        for waiting in [&mut self.for_nodes, &mut self.for_quota] {
            dropped.extend(waiting.extract_if(.., |pending| theirs(pending)));
        }
        let number = |pending: Pending| pending.caller.call_of(session);
        dropped.into_iter().filter_map(number).collect()
    }

    /// Whether somebody waits for the inode.
    pub fn wants(&self, ino: Ino) -> bool {
        self.by_ino.contains_key(&ino)
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    fn remove(&mut self, ticket: u64) -> Option<Pending> {
        let pending = self.pending.remove(&ticket)?;
        for ino in &pending.wanted {
            if let Some(tickets) = self.by_ino.get_mut(ino) {
                tickets.remove(&ticket);
                if tickets.is_empty() {
                    self.by_ino.remove(ino);
                }
            }
        }
        Some(pending)
    }
}
