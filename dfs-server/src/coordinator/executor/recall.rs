//! Recalls under way: who was asked for which lease, since when. One per session and inode.

use super::Executor;
use super::session::Outgoing;
use crate::coordinator::limits::CONTENTION;
use dfs_core::ids::{Index, Ino, SessionId};
use dfs_core::keys::{self, Key};
use dfs_core::op::Op;
use dfs_core::rows::OrphanRow;
use dfs_core::types::LeaseMode;
use dfs_core::view::{Effects, View, ViewError};
use dfs_proto::v1::{self, server_message::Message};
use std::collections::BTreeMap;
use std::time::Instant;

/// The number of a message that asks for nothing: an inode has lost its last name.
const NO_RECALL: u64 = 0;

#[derive(Clone, Copy)]
pub struct Recall {
    pub number: u64,
    pub keep: LeaseMode,
    pub since: Instant,
    /// Somebody waits for it; a mere confirmation of what the client gave back is not pressed.
    pub pressed: bool,
    /// It says what is lost already.
    pub taken: bool,
}

#[derive(Default)]
pub struct Recalls {
    next: u64,
    open: BTreeMap<(SessionId, Ino), Recall>,
}

impl Recalls {
    pub fn get(&self, session: SessionId, ino: Ino) -> Option<&Recall> {
        self.open.get(&(session, ino))
    }

    /// The number of the newest recall of all.
    pub fn newest(&self) -> u64 {
        self.next
    }

    pub fn remove(&mut self, session: SessionId, ino: Ino) {
        self.open.remove(&(session, ino));
    }

    /// Forgets what the session was asked for: the inodes, on which somebody may wait for its answers.
    pub fn drop_session(&mut self, session: SessionId) -> Vec<Ino> {
        let asked: Vec<Ino> = self
            .open
            .range((session, Ino(0))..=(session, Ino(u64::MAX)))
            .map(|((_, ino), _)| *ino)
            .collect();
        for ino in &asked {
            self.open.remove(&(session, *ino));
        }
        asked
    }

    /// Whether the session has not confirmed yet all that it has lost.
    pub fn has_taken(&self, session: SessionId) -> bool {
        self.open
            .range((session, Ino(0))..=(session, Ino(u64::MAX)))
            .any(|(_, recall)| recall.taken)
    }

    /// What the session was asked for and has not answered.
    pub fn count(&self, session: SessionId) -> usize {
        self.open
            .range((session, Ino(0))..=(session, Ino(u64::MAX)))
            .count()
    }

    pub fn iter(&self) -> impl Iterator<Item = (SessionId, Ino, &Recall)> {
        self.open
            .iter()
            .map(|((session, ino), recall)| (*session, *ino, recall))
    }
}

impl Executor {
    /// Asks a session to keep at most `keep`, unless it was already asked for that.
    pub(super) fn recall(&mut self, session: SessionId, ino: Ino, keep: LeaseMode, pressed: bool) {
        if let Some(open) = self.recalls.open.get_mut(&(session, ino))
            && open.keep <= keep
        {
            open.pressed |= pressed;
            return;
        }
        if pressed && self.leases.mode(session, ino) == LeaseMode::Exclusive {
            self.contended.insert(ino, self.now.monotonic + CONTENTION);
        }
        self.figures.recalls.inc();
        if let Some(holder) = self.sessions.get_mut(&session) {
            holder.counts.recalls += 1;
        }
        self.recalls.next += 1;
        let number = self.recalls.next;
        let before = self.recalls.get(session, ino);
        let since = before.map_or(self.now.monotonic, |recall| recall.since);
        // The answer to the newer one comes after what the older one said is known.
        let taken = before.is_some_and(|recall| recall.taken);
        self.recalls.open.insert(
            (session, ino),
            Recall {
                number,
                keep,
                since,
                pressed,
                taken,
            },
        );
        self.send_recall(session, ino, keep, number, false);
    }

    /// Tells a session that it has lost all beyond `keep`. Until it has answered it gets nothing new of the inode.
    pub(super) fn tell_taken(&mut self, session: SessionId, ino: Ino, keep: LeaseMode) {
        self.recalls.next += 1;
        let (number, since) = (self.recalls.next, self.now.monotonic);
        let pressed = false;
        self.recalls.open.insert(
            (session, ino),
            Recall {
                number,
                keep,
                since,
                pressed,
                taken: true,
            },
        );
        self.send_recall(session, ino, keep, number, true);
    }

    /// Tells a session again of the inodes among these that have no name: what it was told is lost with a stream.
    pub(super) fn tell_nameless(&mut self, session: SessionId, inos: &[Ino]) -> Result<(), ViewError> {
        for ino in inos {
            if self.view.get(&keys::orphan(*ino))?.is_some() {
                self.send_recall(session, *ino, LeaseMode::None, NO_RECALL, false);
            }
        }
        Ok(())
    }

    /// Tells other sessions that an inode which they hold has lost its last name: their kernels may know it by a
    /// name that nobody looks up again, and would hold it for ever.
    pub(super) fn tell_holders(&mut self, me: SessionId, op: &Op, effects: &Effects) {
        if !matches!(op, Op::Unlink(_) | Op::Rmdir { .. } | Op::Rename(_) | Op::Ship(_)) {
            return;
        }
        for (key, value) in &effects.rows {
            let (Some(Key::Orphan(ino)), Some(value)) = (keys::parse(key), value) else {
                continue;
            };
            match OrphanRow::decode(key, value) {
                Ok(orphan) => {
                    for holder in orphan.holders.into_iter().filter(|holder| *holder != me) {
                        self.send_recall(holder, ino, LeaseMode::None, NO_RECALL, false);
                    }
                }
                Err(error) => tracing::error!(%error, "an effect does not decode"),
            }
        }
    }

    fn send_recall(&mut self, session: SessionId, ino: Ino, keep: LeaseMode, number: u64, taken: bool) {
        let recall = v1::Recall {
            ino: ino.0,
            keep: v1::LeaseMode::from(keep).into(),
            number,
            taken,
        };
        let message = v1::ServerMessage {
            message: Some(Message::Recall(recall)),
        };
        self.send(session, Index(0), Outgoing::Message(message));
    }
}
