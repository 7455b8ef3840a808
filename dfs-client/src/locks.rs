//! The `fcntl` and `flock` locks that this client holds: claimed again after a reconnect, and looked up when a
//! file is closed. The coordinator decides; this only remembers.

use dfs_core::ids::Ino;
use dfs_core::lock::{Lock, LockKind, LockType};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A lock or a request for one, and the open file that it was asked for through.
#[derive(Clone, Copy)]
struct Through {
    handle: u64,
    lock: Lock,
}

#[derive(Default)]
struct Tables {
    held: HashMap<Ino, Vec<Through>>,
    /// Requests for `fcntl` locks that are not answered.
    asked: HashMap<u64, Through>,
}

#[derive(Default)]
pub(crate) struct Locks {
    tables: Mutex<Tables>,
    order: Mutex<()>,
    requests: AtomicU64,
}

/// The parts of a lock inside and outside of another's range.
fn split(lock: Lock, by: &Lock) -> (Option<Lock>, Vec<Lock>) {
    let (start, end) = (lock.start.max(by.start), lock.end.min(by.end));
    if start > end {
        return (None, vec![lock]);
    }
    let mut outside = Vec::new();
    if lock.start < start {
        outside.push(Lock {
            end: start - 1,
            ..lock
        });
    }
    if lock.end > end {
        outside.push(Lock {
            start: end + 1,
            ..lock
        });
    }
    (Some(Lock { start, end, ..lock }), outside)
}

fn same_owner(one: &Lock, other: &Lock) -> bool {
    (one.ino, one.kind, one.owner) == (other.ino, other.kind, other.owner)
}

impl Locks {
    /// Held while requests and what ends with an open file are sent: their order here is the one on the stream.
    pub fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock()
    }

    /// Notes a request that is about to be sent, to be `answered`.
    pub fn asked(&self, handle: u64, lock: Lock) -> u64 {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        self.tables.lock().asked.insert(request, Through { handle, lock });
        request
    }

    /// The request was answered, or nobody waits for that any more.
    pub fn answered(&self, request: u64) {
        self.tables.lock().asked.remove(&request);
    }

    /// Remembers what the coordinator granted.
    pub fn granted(&self, handle: u64, lock: Lock) {
        let mut tables = self.tables.lock();
        let held = tables.held.entry(lock.ino).or_default();
        let mut kept = Vec::with_capacity(held.len() + 2);
        for old in held.drain(..) {
            if same_owner(&old.lock, &lock) {
                let (_, outside) = split(old.lock, &lock);
                kept.extend(outside.into_iter().map(|lock| Through { lock, ..old }));
            } else {
                kept.push(old);
            }
        }
        if lock.typ != LockType::Unlock {
            kept.push(Through { handle, lock });
        }
        if kept.is_empty() {
            tables.held.remove(&lock.ino);
        } else {
            *held = kept;
        }
    }

    /// Forgets what is about to be unlocked: after a reconnect it must not be claimed again.
    pub fn given_up(&self, lock: Lock) {
        let typ = LockType::Unlock;
        self.granted(0, Lock { typ, ..lock });
    }

    /// The `fcntl` locks that end with an open file: processes have lost theirs by their own close, so these belong to
    /// the open file itself (`F_OFD_SETLK`). The kernel may have given its number, which is their owner, to the next
    /// open file before this one's end was heard of: what that one has locked meanwhile stays, and what it has asked for
    /// becomes its own.
    pub fn end_with(&self, ino: Ino, handle: u64) -> Vec<Lock> {
        let mut tables = self.tables.lock();
        let Tables { held, asked } = &mut *tables;
        let Some(held) = held.get_mut(&ino) else {
            return Vec::new();
        };
        let of_it = |held: &Through| held.handle == handle && held.lock.kind == LockKind::Posix;
        let mut ending: Vec<Lock> = held
            .iter()
            .filter(|held| of_it(held))
            .map(|held| held.lock)
            .collect();
        if ending.is_empty() {
            return ending;
        }
        held.retain(|held| !of_it(held));
        for request in asked.values().filter(|request| request.handle != handle) {
            let mut outside = Vec::new();
            for lock in ending {
                if !same_owner(&lock, &request.lock) {
                    outside.push(lock);
                    continue;
                }
                let (inside, rest) = split(lock, &request.lock);
                held.extend(inside.map(|lock| Through { lock, ..*request }));
                outside.extend(rest);
            }
            ending = outside;
        }
        if held.is_empty() {
            tables.held.remove(&ino);
        }
        ending
    }

    /// Whether the owner has a lock of this kind on the inode.
    pub fn holds(&self, ino: Ino, kind: LockKind, owner: u64) -> bool {
        let tables = self.tables.lock();
        let of_owner = |held: &Through| held.lock.kind == kind && held.lock.owner == owner;
        tables
            .held
            .get(&ino)
            .is_some_and(|held| held.iter().any(of_owner))
    }

    pub fn held(&self) -> Vec<Lock> {
        let tables = self.tables.lock();
        tables.held.values().flatten().map(|held| held.lock).collect()
    }

    pub fn clear(&self) {
        self.tables.lock().held.clear();
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
        locks.granted(1, lock(LockType::Write, 0, 99));
        locks.granted(1, lock(LockType::Unlock, 10, 19));
        locks.granted(1, lock(LockType::Read, 90, 200));
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
        locks.granted(1, lock(LockType::Unlock, 0, u64::MAX));
        assert!(locks.held().is_empty());
    }
    #[test]
    fn the_next_open_file_of_the_same_number_keeps_what_it_has_locked_or_asked_for() {
        let locks = Locks::default();
        let ends = |handle| -> Vec<(u64, u64)> {
            let ending = locks.end_with(Ino(20), handle);
            ending.iter().map(|lock| (lock.start, lock.end)).collect()
        };
        locks.granted(1, lock(LockType::Write, 0, 99));
        locks.granted(2, lock(LockType::Write, 10, 19));
        let request = locks.asked(2, lock(LockType::Write, 90, 200));
        assert_eq!(ends(1), [(0, 9), (20, 89)]);
        assert_eq!(ends(1), []);
        locks.answered(request);
        assert_eq!(ends(2), [(10, 19), (90, 99)]);
        assert!(locks.held().is_empty());
    }

    #[test]
    fn what_belongs_to_other_owners_or_is_a_flock_does_not_end() {
        let locks = Locks::default();
        let flock = Lock {
            kind: LockKind::Flock,
            owner: 7,
            ..lock(LockType::Write, 0, u64::MAX)
        };
        locks.granted(7, flock);
        locks.granted(7, lock(LockType::Write, 0, 9));
        let other = Lock {
            owner: 2,
            ..lock(LockType::Write, 0, 9)
        };
        locks.asked(8, other);
        assert_eq!(locks.end_with(Ino(20), 8), []);
        assert_eq!(locks.end_with(Ino(20), 7), [lock(LockType::Write, 0, 9)]);
        assert_eq!(locks.held(), [flock]);
    }
}
