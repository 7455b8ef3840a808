//! The end of a stream and of a session: a lost stream only starts the clock, a goodbye or a long silence ends
//! the session with its leases, locks and open files.

use super::{Executor, Fault};
use dfs_core::ids::SessionId;
use dfs_core::keys;
use dfs_core::op::Op;
use std::time::Instant;
use tokio::sync::oneshot;

impl Executor {
    /// Whether the message is of the session's present stream; notes that the client lives.
    pub(super) fn heard(&mut self, session: SessionId, stream: u64) -> bool {
        let now = self.now.monotonic;
        match self.sessions.get_mut(&session) {
            Some(own) if own.is_current(stream) => {
                own.heard = now;
                true
            }
            _ => false,
        }
    }

    pub(super) fn stream_closed(&mut self, session: SessionId, stream: u64) {
        if let Some(own) = self.sessions.get_mut(&session)
            && own.is_current(stream)
        {
            own.stream = None;
            own.outbox.clear();
        }
    }

    pub(super) fn goodbye(&mut self, session: SessionId, stream: u64) -> Result<(), Fault> {
        if !self.heard(session, stream) {
            return Ok(());
        }
        self.end_session(session)
    }

    /// Ends sessions that were silent for the session timeout.
    pub(super) fn end_silent(&mut self, now: Instant) -> Result<(), Fault> {
        let timeout = self.settings.session_timeout;
        let silent: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| now.saturating_duration_since(session.heard) > timeout)
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            tracing::warn!(session = %id, "a session was silent for its timeout and ends");
            self.end_session(id)?;
        }
        Ok(())
    }

    /// From here on the session's calls are refused; its leases and locks are free.
    pub(super) fn end_session(&mut self, id: SessionId) -> Result<(), Fault> {
        let Some(session) = self.sessions.remove(&id) else {
            return Ok(());
        };
        self.batch.replies.remove(&id);
        for under in session.reply_rows.into_values() {
            self.put_row(keys::reply(id, under), None);
        }
        self.parked.drop_session(id);
        self.unheard.drop_session(id);
        let mut freed = self.recalls.drop_session(id);
        self.locks.drop_session(id);
        freed.extend(self.leases.drop_session(id));
        let (answer, ended) = oneshot::channel();
        self.own(Op::EndSession { session: id.0 }, answer)?;
        drop(ended);
        self.hold_back();
        if let Some(grace) = &mut self.grace {
            grace.parked.retain(|pending| pending.caller.session() != id);
            grace.locks.retain(|(whose, ..)| *whose != id);
        }
        self.no_longer_absent(id);
        for ino in freed {
            self.retry(ino)?;
        }
        self.answer_granted();
        self.end_grace(self.now.monotonic)
    }
}
