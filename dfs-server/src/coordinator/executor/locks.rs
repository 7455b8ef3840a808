//! `fcntl` and `flock` requests of clients. A waiting one is answered when it is granted, cancelled, or its
//! session ends; no thread is held.

use super::Executor;
use dfs_core::error::FsError;
use dfs_core::ids::{Index, SessionId};
use dfs_core::lock::{Lock, LockType};
use dfs_proto::convert::lock::LockAction;
use dfs_proto::v1::{self, reply::Outcome};

/// Locks and waits of one session.
const LOCKS_MAX: usize = 1 << 17;

impl Executor {
    pub(super) fn on_lock(&mut self, session: SessionId, op_id: u64, lock: Lock, action: LockAction) {
        if self.grace.as_ref().is_some_and(|grace| !grace.only(session)) {
            if let Some(grace) = &mut self.grace {
                grace.locks.push((session, op_id, lock, action));
            }
            return;
        }
        let outcome = match action {
            LockAction::Test => {
                let conflict = self
                    .locks
                    .test(session, &lock)
                    .map(|conflict| conflict.lock.into());
                Some(Outcome::Lock(v1::LockReply { conflict }))
            }
            LockAction::Try | LockAction::Wait if self.locks_full(session, &lock) => {
                Some(error(FsError::NoLocks))
            }
            LockAction::Try => {
                let conflict = self
                    .locks
                    .set(session, &lock)
                    .err()
                    .map(|conflict| conflict.lock.into());
                Some(Outcome::Lock(v1::LockReply { conflict }))
            }
            LockAction::Wait => match self.locks.wait(session, op_id, &lock) {
                Ok(true) => Some(granted()),
                Ok(false) => None,
                Err(refusal) => Some(error(refusal)),
            },
        };
        if let Some(outcome) = outcome {
            self.answer_lock(session, op_id, outcome);
        }
        self.answer_granted();
    }

    /// Whether the session may take no more. Counting walks the table, so it is done only when enough requests
    /// came since the last count.
    fn locks_full(&mut self, session: SessionId, lock: &Lock) -> bool {
        let Some(own) = self
            .sessions
            .get_mut(&session)
            .filter(|_| lock.typ != LockType::Unlock)
        else {
            return false;
        };
        own.locks_at_most += 1;
        if own.locks_at_most > LOCKS_MAX {
            own.locks_at_most = self.locks.count(session);
        }
        own.locks_at_most > LOCKS_MAX
    }

    /// A waiter was interrupted: it is answered with `Interrupted` unless it was granted before.
    pub(super) fn cancel_lock(&mut self, session: SessionId, op_id: u64) {
        if let Some(grace) = &mut self.grace {
            let before = grace.locks.len();
            grace
                .locks
                .retain(|(whose, id, _, _)| (*whose, *id) != (session, op_id));
            if grace.locks.len() < before {
                self.answer_lock(session, op_id, error(FsError::Interrupted));
                return;
            }
        }
        if self.locks.cancel(session, op_id) {
            self.answer_lock(session, op_id, error(FsError::Interrupted));
        }
    }

    /// Tells the waiters whose turn has come.
    pub(super) fn answer_granted(&mut self) {
        for event in self.locks.granted() {
            self.answer_lock(event.session, event.ticket, granted());
        }
    }

    fn answer_lock(&mut self, session: SessionId, op_id: u64, outcome: Outcome) {
        let reply = v1::Reply {
            op_id,
            outcome: Some(outcome),
            grants: Vec::new(),
            touched: Vec::new(),
            repeated: false,
            timing: None,
        };
        self.reply(session, Index(0), reply);
    }
}

fn granted() -> Outcome {
    Outcome::Lock(v1::LockReply { conflict: None })
}

fn error(error: FsError) -> Outcome {
    Outcome::Error(u32::from(error.code()))
}
