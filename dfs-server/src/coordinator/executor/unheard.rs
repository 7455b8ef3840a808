//! Changes whose answer may not have arrived: a session that changes an inode keeps what it holds of it, and shows its
//! processes the inode of before until it hears the answer. Meanwhile nobody else is shown the inode of after: who asks for
//! it waits until the session has answered a recall that was sent behind that answer. Which inodes were changed is lost with the
//! reign: of a session that comes back with answers outstanding it is assumed of all that it holds.

use super::Executor;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::lease::Conflict;
use dfs_core::op::Op;
use dfs_core::types::LeaseMode;
use std::collections::{BTreeMap, BTreeSet};

struct Change {
    session: SessionId,
    op_id: u64,
    /// The newest recall before it: one with a higher number goes behind the answer.
    recall: u64,
}

/// A session that has come back after a failover and may not have heard answers of the reign before.
struct Returned {
    /// The newest of its changes that was answered.
    op_id: u64,
    /// The newest recall when what it repeats was answered; it repeats before it answers a recall.
    recall: Option<u64>,
}

#[derive(Default)]
pub struct Unheard {
    newest: BTreeMap<Ino, Change>,
    /// What each change wrote, to forget it when its answer is acknowledged.
    wrote: BTreeMap<(SessionId, u64), Vec<Ino>>,
    returned: BTreeMap<SessionId, Returned>,
}

impl Unheard {
    /// The session has the answers to all its changes below `op_id`.
    pub fn acknowledged(&mut self, session: SessionId, op_id: u64) {
        if self.returned.get(&session).is_some_and(|own| own.op_id < op_id) {
            self.returned.remove(&session);
        }
        let known = (session, 0)..(session, op_id);
        while let Some((change, inos)) = self.wrote.range(known.clone()).next() {
            let change = *change;
            for ino in inos {
                let newest = self.newest.get(ino);
                if newest.is_some_and(|newest| (newest.session, newest.op_id) == change) {
                    self.newest.remove(ino);
                }
            }
            self.wrote.remove(&change);
        }
    }

    /// The session has answered a recall of the inode.
    pub fn answered(&mut self, session: SessionId, ino: Ino, number: u64) {
        let heard = |change: &Change| change.session == session && number > change.recall;
        if self.newest.get(&ino).is_some_and(heard) {
            self.newest.remove(&ino);
        }
        let all_heard = |own: &Returned| own.recall.is_none_or(|recall| number > recall);
        if self.returned.get(&session).is_some_and(all_heard) {
            self.returned.remove(&session);
        }
    }

    /// The session is back in this reign; `op_id` is the newest of its changes that was answered and not acknowledged.
    pub fn returned(&mut self, session: SessionId, op_id: u64) {
        let recall = None;
        self.returned.insert(session, Returned { op_id, recall });
    }

    /// Calls of the session were taken, with all that it repeats; `recall` is the newest of all.
    pub fn repeated(&mut self, session: SessionId, recall: u64) {
        if let Some(own) = self.returned.get_mut(&session) {
            own.recall = Some(recall);
        }
    }

    pub fn drop_session(&mut self, session: SessionId) {
        self.acknowledged(session, u64::MAX);
    }
}

impl Executor {
    /// A change of a session was executed and is about to be answered. What a shipment or a commit changed the session knows
    /// from its own making, and it answers no recall before these are answered.
    pub(super) fn note_unheard(&mut self, session: SessionId, op_id: u64, op: &Op, writes: &BTreeSet<Ino>) {
        if matches!(op, Op::Ship(_) | Op::Commit(_)) {
            return;
        }
        let kept = writes
            .iter()
            .copied()
            .filter(|ino| self.leases.mode(session, *ino) > LeaseMode::None);
        let kept: Vec<Ino> = kept.collect();
        for ino in &kept {
            let recall = self.recalls.newest();
            let change = Change {
                session,
                op_id,
                recall,
            };
            self.unheard.newest.insert(*ino, change);
        }
        if !kept.is_empty() {
            self.unheard.wrote.insert((session, op_id), kept);
        }
    }

    /// A session presents itself: what was answered and is not acknowledged it may not have heard.
    pub(super) fn note_returned(&mut self, session: SessionId) {
        let own = self.sessions.get(&session);
        if let Some((op_id, _)) = own.and_then(|own| own.answered.last_key_value()) {
            self.unheard.returned(session, *op_id);
        }
    }

    /// Who has to confirm first that it knows of its own change.
    pub(super) fn unheard(&self, me: SessionId, reads: &BTreeSet<Ino>) -> Vec<Conflict> {
        let changed = reads
            .iter()
            .filter_map(|ino| Some((self.unheard.newest.get(ino)?.session, *ino)));
        let returned = self.unheard.returned.keys();
        let returned = returned.flat_map(|session| reads.iter().map(|ino| (*session, *ino)));
        let shows =
            |session: SessionId, ino: Ino| session != me && self.leases.mode(session, ino) > LeaseMode::None;
        let keep = LeaseMode::Shared;
        let showing: BTreeSet<Conflict> = changed
            .chain(returned)
            .filter(|(session, ino)| shows(*session, *ino))
            .map(|(session, ino)| Conflict { session, ino, keep })
            .collect();
        showing.into_iter().collect()
    }
}
