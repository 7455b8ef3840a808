//! `fcntl` and `flock` locks. The coordinator decides; a request that waits holds no thread here.

use super::{Caller, Vfs};
use crate::inode::apply::Caches;
use crate::session::Session;
use crate::wait::{Cancel, CancelGuard, Patience, Slot};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::lock::{Lock, LockKind, LockType};
use dfs_proto::convert::LockAction;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// How long the coordinator has to say whether a cancelled request was granted first.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

type Done = Box<dyn FnOnce(FsResult<()>) + Send>;

/// The answer of a request, given once, by whoever comes first.
struct Request {
    /// Among the requests that `caches.locks` knows of.
    number: u64,
    caches: Arc<Caches>,
    done: Mutex<Option<Done>>,
    guard: Mutex<Option<CancelGuard>>,
}

impl Request {
    fn finish(&self, result: FsResult<()>) -> bool {
        let done = self.done.lock().take();
        let first = done.is_some();
        self.caches.locks.answered(self.number);
        if let Some(done) = done {
            done(result);
        }
        first
    }

    fn is_finished(&self) -> bool {
        self.done.lock().is_none()
    }
}

impl Vfs {
    /// The lock that the given one would conflict with.
    pub fn getlk(&self, caller: &Caller<'_>, ino: Ino, lock: Lock) -> FsResult<Option<Lock>> {
        let lock = Lock {
            ino: self.inward(ino),
            ..lock
        };
        let conflict = self.lock_and_wait(lock, LockAction::Test, self.patience(caller))?;
        Ok(conflict.map(|lock| Lock {
            ino: self.outward(lock.ino),
            ..lock
        }))
    }

    /// Locks or unlocks; `done` is called when that is decided, later when `wait` says so. `cancel` ends a wait
    /// with `Interrupted`. A `flock` belongs to the open file `fh`, whatever owner is named: the kernel gives the number of
    /// an open file that is gone to the next one, which may be heard of first.
    pub fn setlk(&self, ino: Ino, fh: u64, lock: Lock, wait: bool, cancel: Option<Cancel>, done: Done) {
        let owner = if lock.kind == LockKind::Flock {
            fh
        } else {
            lock.owner
        };
        let ino = self.inward(ino);
        let lock = Lock { ino, owner, ..lock };
        if lock.typ == LockType::Unlock && !self.caches.locks.holds(lock.ino, lock.kind, lock.owner) {
            return done(Ok(()));
        }
        let _order = self.caches.locks.order();
        let request = Arc::new(Request {
            number: self.caches.locks.asked(fh, lock),
            caches: self.caches.clone(),
            done: Mutex::new(Some(done)),
            guard: Mutex::new(None),
        });
        let waits = wait && lock.typ != LockType::Unlock;
        let action = if waits { LockAction::Wait } else { LockAction::Try };
        let (answered, caches) = (request.clone(), self.caches.clone());
        let session = self.session.clone();
        let number = self.session.lock(
            lock,
            action,
            Box::new(move |answer| {
                let granted = matches!(answer, Ok(None));
                if granted {
                    caches.locks.granted(fh, lock);
                }
                let result = match answer {
                    Ok(None) => Ok(()),
                    Ok(Some(_)) => Err(FsError::WouldBlock),
                    Err(error) => Err(error),
                };
                if !answered.finish(result) && granted && lock.typ != LockType::Unlock {
                    give_back(&session, &caches, lock);
                }
                answered.guard.lock().take();
            }),
        );
        if !waits {
            self.give_up_after(self.config.timeout, FsError::TimedOut, &request, number);
        } else if let Some(cancel) = cancel {
            self.end_with(&cancel, &request, number);
        }
    }

    /// The caller's cancellation ends the wait: at once if the coordinator answers, else soon.
    fn end_with(&self, cancel: &Cancel, request: &Arc<Request>, number: u64) {
        let (session, tasks, asked) = (self.session.clone(), self.tasks.clone(), request.clone());
        let guard = cancel.on_cancel(Box::new(move || {
            session.cancel_lock(number);
            tasks.spawn(async move {
                tokio::time::sleep(CANCEL_TIMEOUT).await;
                if asked.finish(Err(FsError::Interrupted)) {
                    session.abandon(number);
                }
            });
        }));
        *request.guard.lock() = Some(guard);
        if request.is_finished() {
            request.guard.lock().take();
        }
    }

    fn give_up_after(&self, timeout: Duration, error: FsError, request: &Arc<Request>, number: u64) {
        if request.is_finished() {
            return;
        }
        let (session, request) = (self.session.clone(), request.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(timeout).await;
            if request.finish(Err(error)) {
                session.abandon(number);
            }
        });
    }

    pub(super) fn unlock(&self, lock: Lock, patience: Patience<'_>) -> FsResult<()> {
        self.caches.locks.given_up(lock);
        self.lock_and_wait(lock, LockAction::Try, patience).map(|_| ())
    }

    /// The last close of an open file, of which nobody waits for the end.
    pub(super) fn locks_end(&self, ino: Ino, fh: u64) {
        let _order = self.caches.locks.order();
        for lock in self.caches.locks.end_with(ino, fh) {
            give_back(&self.session, &self.caches, lock);
        }
    }

    fn lock_and_wait(
        &self,
        lock: Lock,
        action: LockAction,
        patience: Patience<'_>,
    ) -> FsResult<Option<Lock>> {
        let slot = Slot::default();
        let filler = slot.clone();
        let number = self
            .session
            .lock(lock, action, Box::new(move |answer| filler.fill(answer)));
        slot.wait(patience).unwrap_or_else(|error| {
            self.session.abandon(number);
            Err(error)
        })
    }
}

/// A lock of a caller who has gone: nobody waits for the answer, so no signal to the caller can lose it.
pub(super) fn give_back(session: &Session, caches: &Caches, lock: Lock) {
    let unlock = Lock {
        typ: LockType::Unlock,
        ..lock
    };
    caches.locks.given_up(unlock);
    session.lock(unlock, LockAction::Try, Box::new(|_| {}));
}
