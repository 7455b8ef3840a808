//! Callbacks on fcntl and flock locks. A lock that must be waited for is answered later, by the client's thread.

use dfs_client::vfs::{Caller, Vfs};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::lock::{Lock, LockKind, LockType};

use crate::kernel::Request;
use crate::kernel::answer::Done;
use crate::kernel::reply::Reply;
use crate::kernel::request::{FileLock, LockRequest};

/// The kernel refuses a lock whose end is larger (OFFSET_MAX).
const LAST_BYTE: u64 = i64::MAX as u64;

fn lock(ino: Ino, request: &LockRequest) -> FsResult<Lock> {
    let typ = match request.lock.kind as i32 {
        libc::F_RDLCK => LockType::Read,
        libc::F_WRLCK => LockType::Write,
        libc::F_UNLCK => LockType::Unlock,
        _ => return Err(FsError::Invalid),
    };
    let kind = if request.flock {
        LockKind::Flock
    } else {
        LockKind::Posix
    };
    let FileLock { start, end, pid, .. } = request.lock;
    Ok(Lock {
        ino,
        owner: request.owner,
        kind,
        typ,
        start,
        end,
        pid,
    })
}

fn file_lock(lock: &Lock) -> FileLock {
    let kind = match lock.typ {
        LockType::Read => libc::F_RDLCK,
        LockType::Write => libc::F_WRLCK,
        LockType::Unlock => libc::F_UNLCK,
    };
    FileLock {
        start: lock.start,
        end: lock.end.min(LAST_BYTE),
        kind: kind as u32,
        pid: lock.pid,
    }
}

pub fn getlk(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, request: &LockRequest) -> FsResult<FileLock> {
    let wanted = lock(ino, request)?;
    let free = FileLock {
        kind: libc::F_UNLCK as u32,
        ..request.lock
    };
    Ok(vfs
        .getlk(caller, ino, wanted)?
        .map_or(free, |held| file_lock(&held)))
}

/// Takes, changes or gives back a lock; with `wait` the reply may outlive this call.
pub fn set(vfs: &Vfs, req: &Request<'_>, request: &LockRequest, wait: bool, reply: Reply<Done>) {
    let wanted = match lock(Ino(req.node), request) {
        Ok(wanted) => wanted,
        Err(error) => return reply.error(super::errno(error)),
    };
    let cancel = super::cancel(req);
    let done = Box::new(move |result: FsResult<()>| reply.send(result.map(|()| Done).map_err(super::errno)));
    vfs.setlk(Ino(req.node), request.handle, wanted, wait, Some(cancel), done);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_convert_both_ways_and_ends_stay_within_the_kernels_bound() {
        let asked = FileLock {
            start: 5,
            end: LAST_BYTE,
            kind: libc::F_WRLCK as u32,
            pid: 7,
        };
        let request = LockRequest {
            handle: 1,
            owner: 2,
            lock: asked,
            flock: false,
        };
        let wanted = lock(Ino(3), &request).unwrap();
        assert_eq!(
            (wanted.typ, wanted.kind, wanted.owner),
            (LockType::Write, LockKind::Posix, 2)
        );
        assert_eq!(file_lock(&wanted), asked);
        assert_eq!(
            file_lock(&Lock {
                end: u64::MAX,
                ..wanted
            }),
            asked
        );
        assert_eq!(
            lock(
                Ino(3),
                &LockRequest {
                    flock: true,
                    ..request
                }
            )
            .unwrap()
            .kind,
            LockKind::Flock
        );
        let odd = LockRequest {
            lock: FileLock { kind: 9, ..asked },
            ..request
        };
        assert_eq!(lock(Ino(3), &odd), Err(FsError::Invalid));
    }
}
