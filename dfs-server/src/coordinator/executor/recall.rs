//! Recalls under way: who was asked for which lease, since when. One per session and inode.

use super::Executor;
use super::session::Outgoing;
use dfs_core::ids::{Index, Ino, SessionId};
use dfs_core::types::LeaseMode;
use dfs_proto::v1::{self, server_message::Message};
use std::collections::HashMap;
use std::time::Instant;

#[derive(Clone, Copy)]
pub struct Recall {
    pub number: u64,
    pub keep: LeaseMode,
    pub since: Instant,
    /// Somebody waits for it; a mere confirmation of what the client gave back is not pressed.
    pub pressed: bool,
}

#[derive(Default)]
pub struct Recalls {
    next: u64,
    open: HashMap<(SessionId, Ino), Recall>,
}

impl Recalls {
    pub fn get(&self, session: SessionId, ino: Ino) -> Option<&Recall> {
        self.open.get(&(session, ino))
    }

    pub fn remove(&mut self, session: SessionId, ino: Ino) {
        self.open.remove(&(session, ino));
    }

    pub fn drop_session(&mut self, session: SessionId) {
        self.open.retain(|(whose, _), _| *whose != session);
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
        self.recalls.next += 1;
        let number = self.recalls.next;
        let since = self
            .recalls
            .get(session, ino)
            .map_or_else(Instant::now, |recall| recall.since);
        self.recalls.open.insert(
            (session, ino),
            Recall {
                number,
                keep,
                since,
                pressed,
            },
        );
        let recall = v1::Recall {
            ino: ino.0,
            keep: v1::LeaseMode::from(keep).into(),
            number,
        };
        let message = v1::ServerMessage {
            message: Some(Message::Recall(recall)),
        };
        self.send(session, Index(0), Outgoing::Message(message));
    }
}
