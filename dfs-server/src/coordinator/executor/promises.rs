//! What quotas promise to sessions and is not used: when a call is refused for a quota, all are asked to give it
//! back, and the call is tried again for a moment before the refusal stands. Removed files that are about to leave
//! their quota are waited for in the same way.

use super::parked::Pending;
use super::session::Outgoing;
use super::{Executor, Fault};
use crate::coordinator::limits::{ORPHANS, PROMISES, PROMISES_WAIT};
use dfs_core::error::FsError;
use dfs_core::ids::{Index, Ino, SessionId};
use dfs_core::keys::{self, Key, prefix};
use dfs_core::op::Op;
use dfs_core::rows::InodeRow;
use dfs_core::view::{Execution, View};
use dfs_proto::v1::{self, server_message::Message};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

impl Executor {
    /// Whether the refusal may be because of promises that nobody uses, and the call is to be tried again.
    pub(super) fn asks_for_promises(
        &mut self,
        pending: &mut Pending,
        execution: &Execution,
    ) -> Result<bool, Fault> {
        if !matches!(execution.result, Err(FsError::QuotaExceeded)) {
            return Ok(false);
        }
        let now = self.now.monotonic;
        if let Some(since) = pending.refused_since {
            return Ok(now.saturating_duration_since(since) < PROMISES_WAIT);
        }
        let mut sessions = self.promised();
        if let Op::ReserveQuota { .. } = pending.op {
            // It knows what it does not use.
            sessions.remove(&pending.caller.session());
        }
        pending.refused_since = Some(now);
        for session in &sessions {
            let message = v1::ServerMessage {
                message: Some(Message::ReturnPromises(v1::ReturnPromises {})),
            };
            self.send(*session, Index(0), Outgoing::Message(message));
        }
        Ok(!sessions.is_empty() || self.some_leave()?)
    }

    /// Whether a file without a name still counts in a quota: its last holder usually lets go of it in a moment.
    fn some_leave(&self) -> Result<bool, Fault> {
        let (start, end) = prefix::orphans();
        let mut orphans = Vec::new();
        self.view.scan(&start, &end, &mut |key, _| {
            if let Some(Key::Orphan(ino)) = keys::parse(key) {
                orphans.push(ino);
            }
            match orphans.len() < ORPHANS {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        for ino in orphans {
            let key = keys::inode(ino);
            if let Some(value) = self.view.get(&key)?
                && InodeRow::decode(&key, &value)?.quota != Ino(0)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The sessions that were promised something of any quota.
    fn promised(&self) -> BTreeSet<SessionId> {
        let mut sessions = BTreeSet::new();
        let mut seen = 0;
        let (start, end) = prefix::reserved();
        let scanned = self.view.scan(&start, &end, &mut |key, _| {
            if let Some(Key::Reserved { session, .. }) = keys::parse(key) {
                sessions.insert(session);
            }
            seen += 1;
            if seen < PROMISES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if let Err(error) = scanned {
            tracing::error!(%error, "promises of quotas cannot be read");
        }
        sessions
    }
}
