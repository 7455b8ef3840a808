//! The time after a start in which clients of before reclaim what they hold: until all have, or one lease term
//! has passed, nothing is done that could conflict with a lease that is not known yet.

use super::parked::Pending;
use super::{Executor, Fault};
use dfs_core::ids::SessionId;
use dfs_core::lock::Lock;
use dfs_proto::convert::lock::LockAction;
use std::collections::BTreeSet;
use std::time::Instant;

pub struct Grace {
    pub until: Instant,
    /// Sessions that have not come back.
    pub absent: BTreeSet<SessionId>,
    /// Those among them that came back and may have lost a lock: they were told that they have ended, and may not have heard
    /// it. What they believe to have stays theirs as long as they may trust it.
    pub refused: BTreeSet<SessionId>,
    pub parked: Vec<Pending>,
    pub locks: Vec<(SessionId, u64, Lock, LockAction)>,
}

impl Grace {
    /// Whether nobody else is waited for.
    pub fn only(&self, session: SessionId) -> bool {
        self.absent.iter().all(|absent| *absent == session)
    }
}

impl Executor {
    pub(super) fn park_for_grace(&mut self, pending: Pending) {
        if let Some(grace) = &mut self.grace {
            grace.parked.push(pending);
        }
    }

    /// The session is back (or ended): it is not waited for any more.
    pub(super) fn no_longer_absent(&mut self, session: SessionId) {
        if let Some(grace) = &mut self.grace {
            grace.absent.remove(&session);
        }
    }

    /// Ends a session that believes to have a lock which another was given.
    pub(super) fn end_refused(&mut self, session: SessionId) -> Result<(), Fault> {
        match &mut self.grace {
            Some(grace) if grace.absent.contains(&session) => {
                grace.refused.insert(session);
                Ok(())
            }
            _ => self.end_session(session),
        }
    }

    /// Ends the grace period when its time has passed or nobody is absent, and does what waited.
    pub(super) fn end_grace(&mut self, now: Instant) -> Result<(), Fault> {
        let over = self
            .grace
            .as_ref()
            .is_some_and(|grace| grace.absent.is_empty() || now >= grace.until);
        if !over {
            return Ok(());
        }
        let Some(grace) = self.grace.take() else {
            return Ok(());
        };
        tracing::info!(
            absent = grace.absent.len(),
            waited = grace.parked.len(),
            "the grace period is over"
        );
        for session in grace.refused {
            self.end_session(session)?;
        }
        for session in grace.absent {
            self.lapse(session)?;
        }
        for pending in grace.parked {
            self.attempt(pending)?;
        }
        for (session, op_id, lock, action) in grace.locks {
            self.on_lock(session, op_id, lock, action);
        }
        Ok(())
    }
}
