//! The `fcntl` and `flock` locks that this client holds: claimed again after a reconnect, and looked up when a
//! file is closed. The coordinator decides; this only remembers.

use dfs_core::ids::Ino;
use dfs_core::lock::{Lock, LockKind, LockType};
use parking_lot::Mutex;
use std::collections::HashMap;

#[derive(Default)]
pub(crate) struct Locks {
    by_inode: Mutex<HashMap<Ino, Vec<Lock>>>,
}

impl Locks {
    /// Remembers what the coordinator granted.
    pub fn granted(&self, lock: Lock) {
        let mut by_inode = self.by_inode.lock();
        let held = by_inode.entry(lock.ino).or_default();
        let mut kept = Vec::with_capacity(held.len() + 2);
        for old in held.drain(..) {
            if old.owner != lock.owner || old.kind != lock.kind {
                kept.push(old);
                continue;
            }
            if old.start < lock.start {
                kept.push(Lock {
                    end: old.end.min(lock.start - 1),
                    ..old
                });
            }
            if old.end > lock.end {
                kept.push(Lock {
                    start: old.start.max(lock.end + 1),
                    ..old
                });
            }
        }
        if lock.typ != LockType::Unlock {
            kept.push(lock);
        }
        if kept.is_empty() {
            by_inode.remove(&lock.ino);
        } else {
            *held = kept;
        }
    }

    /// Whether the owner has a lock of this kind on the inode.
    pub fn holds(&self, ino: Ino, kind: LockKind, owner: u64) -> bool {
        let by_inode = self.by_inode.lock();
        by_inode
            .get(&ino)
            .is_some_and(|held| held.iter().any(|lock| lock.kind == kind && lock.owner == owner))
    }

    pub fn held(&self) -> Vec<Lock> {
        self.by_inode.lock().values().flatten().copied().collect()
    }

    pub fn clear(&self) {
        self.by_inode.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(typ: LockType, start: u64, end: u64) -> Lock {
        Lock {
            ino: Ino(20),
            owner: 1,
            kind: LockKind::Posix,
            typ,
            start,
            end,
            pid: 1,
        }
    }

    #[test]
    fn ranges_are_split_and_replaced() {
        let locks = Locks::default();
        locks.granted(lock(LockType::Write, 0, 99));
        locks.granted(lock(LockType::Unlock, 10, 19));
        locks.granted(lock(LockType::Read, 90, 200));
        let mut held: Vec<_> = locks
            .held()
            .iter()
            .map(|lock| (lock.start, lock.end, lock.typ))
            .collect();
        held.sort_by_key(|(start, ..)| *start);
        assert_eq!(
            held,
            [
                (0, 9, LockType::Write),
                (20, 89, LockType::Write),
                (90, 200, LockType::Read)
            ]
        );
        assert!(locks.holds(Ino(20), LockKind::Posix, 1));
        assert!(!locks.holds(Ino(20), LockKind::Flock, 1));
        locks.granted(lock(LockType::Unlock, 0, u64::MAX));
        assert!(locks.held().is_empty());
    }
}
