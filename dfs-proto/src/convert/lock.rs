//! Locks of `fcntl` and `flock`: requests, what is in their way, and what a resuming client holds.

use super::error::{WireError, in_range, unknown};
use crate::v1;
use dfs_core::ids::Ino;
use dfs_core::lock::{Lock, LockKind, LockType};

/// What a lock request wants; the checked form of `LockRequest.action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockAction {
    /// Only say what is in the way (`F_GETLK`).
    Test,
    /// Take it or say what is in the way (`F_SETLK`, `LOCK_NB`).
    Try,
    /// Take it when it becomes free (`F_SETLKW`).
    Wait,
}

impl From<LockAction> for v1::lock_request::Action {
    fn from(action: LockAction) -> Self {
        match action {
            LockAction::Test => v1::lock_request::Action::Test,
            LockAction::Try => v1::lock_request::Action::Try,
            LockAction::Wait => v1::lock_request::Action::Wait,
        }
    }
}

impl From<Lock> for v1::Lock {
    fn from(lock: Lock) -> Self {
        let kind = match lock.kind {
            LockKind::Posix => v1::LockKind::Posix,
            LockKind::Flock => v1::LockKind::Flock,
        };
        let typ = match lock.typ {
            LockType::Unlock => v1::LockType::Unlock,
            LockType::Read => v1::LockType::Read,
            LockType::Write => v1::LockType::Write,
        };
        v1::Lock {
            ino: lock.ino.0,
            owner: lock.owner,
            kind: kind.into(),
            r#type: typ.into(),
            start: lock.start,
            end: lock.end,
            pid: lock.pid,
        }
    }
}

impl TryFrom<v1::Lock> for Lock {
    type Error = WireError;

    fn try_from(lock: v1::Lock) -> Result<Self, WireError> {
        let kind = match v1::LockKind::try_from(lock.kind).map_err(|_| unknown(lock.kind, "Lock.kind"))? {
            v1::LockKind::Posix => LockKind::Posix,
            v1::LockKind::Flock => LockKind::Flock,
        };
        let typ = match v1::LockType::try_from(lock.r#type).map_err(|_| unknown(lock.r#type, "Lock.type"))? {
            v1::LockType::Unlock => LockType::Unlock,
            v1::LockType::Read => LockType::Read,
            v1::LockType::Write => LockType::Write,
        };
        in_range(lock.start <= lock.end, lock.end, "Lock.end", "start or greater")?;
        Ok(Lock {
            ino: Ino(lock.ino),
            owner: lock.owner,
            kind,
            typ,
            start: lock.start,
            end: lock.end,
            pid: lock.pid,
        })
    }
}

/// The message for a lock request.
pub fn lock_request_to_wire(lock: Lock, action: LockAction) -> v1::LockRequest {
    v1::LockRequest {
        lock: Some(lock.into()),
        action: v1::lock_request::Action::from(action).into(),
    }
}

/// The lock that is asked for and how.
pub fn lock_request(request: v1::LockRequest) -> Result<(Lock, LockAction), WireError> {
    let lock = request
        .lock
        .ok_or(WireError::Absent {
            field: "LockRequest.lock",
        })?
        .try_into()?;
    let number = request.action;
    let field = "LockRequest.action";
    let action = match v1::lock_request::Action::try_from(number).map_err(|_| unknown(number, field))? {
        v1::lock_request::Action::Test => LockAction::Test,
        v1::lock_request::Action::Try => LockAction::Try,
        v1::lock_request::Action::Wait => LockAction::Wait,
    };
    Ok((lock, action))
}

/// The lock in the way, when there is one.
pub fn lock_reply(reply: v1::LockReply) -> Result<Option<Lock>, WireError> {
    reply.conflict.map(Lock::try_from).transpose()
}
