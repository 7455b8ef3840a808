//! Changes whose answer may not have arrived: a session that changes an inode keeps what it holds of it, and shows its
//! processes the inode of before until it hears the answer. Meanwhile nobody else is shown the inode of after: who asks for
//! it waits until the session has answered a recall that was sent behind that answer. Lost with the reign.

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

#[derive(Default)]
pub struct Unheard {
    newest: BTreeMap<Ino, Change>,
    /// What each change wrote, to forget it when its answer is acknowledged.
    wrote: BTreeMap<(SessionId, u64), Vec<Ino>>,
}

impl Unheard {
    /// The session has the answers to all its changes below `op_id`.
    pub fn acknowledged(&mut self, session: SessionId, op_id: u64) {
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

    /// Who has to confirm first that it knows of its own change.
    pub(super) fn unheard(&self, me: SessionId, reads: &BTreeSet<Ino>) -> Vec<Conflict> {
        let changed = reads.iter().filter_map(|ino| {
            let change = self.unheard.newest.get(ino)?;
            let shows = change.session != me && self.leases.mode(change.session, *ino) > LeaseMode::None;
            shows.then_some(Conflict {
                session: change.session,
                ino: *ino,
                keep: LeaseMode::Shared,
            })
        });
        changed.collect()
    }
}
