//! `fcntl` and `flock` locks of all clients. The coordinator owns one table per volume and answers waiters
//! with the events it yields. Soft state, dropped with its session. Knows no thread: waiting is a queue here.

use crate::error::FsError;
use crate::ids::{Ino, SessionId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Which of the two independent families of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// `fcntl`: byte ranges, per process.
    Posix,
    /// `flock`: the whole file, per open file description.
    Flock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockType {
    Read,
    Write,
    Unlock,
}

/// A lock or the request for one, on bytes `start..=end`. A `flock` covers everything whatever they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lock {
    pub ino: Ino,
    /// The kernel's lock owner, unique within a session.
    pub owner: u64,
    pub kind: LockKind,
    pub typ: LockType,
    pub start: u64,
    /// Last byte; `u64::MAX` (or any value past the largest offset) reaches to the end of all files.
    pub end: u64,
    pub pid: u32,
}

/// Another owner's lock in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub session: SessionId,
    pub lock: Lock,
}

/// A waiting request that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub session: SessionId,
    /// The number that the waiter gave.
    pub ticket: u64,
    pub lock: Lock,
}

/// An owner among all sessions.
type Owner = (SessionId, u64);

#[derive(Clone, Copy, Debug)]
struct Held {
    session: SessionId,
    lock: Lock,
}

impl Held {
    fn owner(&self) -> Owner {
        (self.session, self.lock.owner)
    }

    /// Whether this lock and the request exclude each other.
    fn excludes(&self, session: SessionId, request: &Lock) -> bool {
        self.owner() != (session, request.owner)
            && self.lock.kind == request.kind
            && (self.lock.typ == LockType::Write || request.typ == LockType::Write)
            && self.lock.start <= request.end
            && request.start <= self.lock.end
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    session: SessionId,
    ticket: u64,
    lock: Lock,
}

#[derive(Clone, Debug, Default)]
struct InodeLocks {
    held: Vec<Held>,
    /// In the order of arrival.
    waiting: Vec<Waiter>,
}

/// All locks of a volume and the requests that wait for them.
#[derive(Clone, Debug, Default)]
pub struct LockTable {
    inodes: BTreeMap<Ino, InodeLocks>,
    /// Where each waiter waits.
    waiters: HashMap<(SessionId, u64), Ino>,
    granted: Vec<Granted>,
}

impl LockTable {
    pub fn new() -> LockTable {
        LockTable::default()
    }

    /// A lock that the request would conflict with, the one that begins first (`F_GETLK`).
    pub fn test(&self, session: SessionId, lock: &Lock) -> Option<Conflict> {
        self.conflict(session, &whole(lock))
    }

    /// Locks or unlocks at once or refuses. A `flock` that changes its type gives up the old lock first and has
    /// lost it when refused, as on Linux.
    pub fn set(&mut self, session: SessionId, lock: &Lock) -> Result<(), Conflict> {
        let lock = whole(lock);
        if lock.typ != LockType::Unlock {
            if lock.kind == LockKind::Flock {
                self.give_up_other_type(session, &lock);
            }
            if let Some(conflict) = self.conflict(session, &lock) {
                return Err(conflict);
            }
        }
        self.replace(session, &lock);
        self.wake(lock.ino);
        Ok(())
    }

    /// Like `set`, but queues the request when it must wait: `false`, and a [`Granted`] with the ticket follows
    /// unless it is cancelled. `Deadlock` when a POSIX request would wait for itself in a circle. A ticket
    /// that already waits keeps waiting.
    pub fn wait(&mut self, session: SessionId, ticket: u64, lock: &Lock) -> Result<bool, FsError> {
        let lock = whole(lock);
        if self.waiters.contains_key(&(session, ticket)) {
            return Ok(false);
        }
        if self.set(session, &lock).is_ok() {
            return Ok(true);
        }
        if lock.kind == LockKind::Posix && self.would_deadlock(session, &lock) {
            return Err(FsError::Deadlock);
        }
        self.inodes.entry(lock.ino).or_default().waiting.push(Waiter {
            session,
            ticket,
            lock,
        });
        self.waiters.insert((session, ticket), lock.ino);
        Ok(false)
    }

    /// Ends a wait: `false` when it no longer waits (granted, or never did).
    pub fn cancel(&mut self, session: SessionId, ticket: u64) -> bool {
        let Some(ino) = self.waiters.remove(&(session, ticket)) else {
            return false;
        };
        if let Some(locks) = self.inodes.get_mut(&ino) {
            locks
                .waiting
                .retain(|waiter| (waiter.session, waiter.ticket) != (session, ticket));
        }
        self.forget_if_empty(ino);
        true
    }

    /// The waiters that were granted since the last call, in order.
    pub fn granted(&mut self) -> Vec<Granted> {
        std::mem::take(&mut self.granted)
    }

    /// Drops the owner's locks of this kind on the inode, and its waiting requests.
    pub fn release_owner(&mut self, session: SessionId, ino: Ino, owner: u64, kind: LockKind) {
        self.remove(ino, |whose, lock| {
            whose == session && lock.owner == owner && lock.kind == kind
        });
    }

    /// Drops all locks and waits of a session. What it was granted and has not been told goes too.
    pub fn drop_session(&mut self, session: SessionId) {
        let inos: Vec<Ino> = self.inodes.keys().copied().collect();
        for ino in inos {
            self.remove(ino, |whose, _| whose == session);
        }
        self.granted.retain(|granted| granted.session != session);
    }

    /// Number of locks and waits of a session, for the caller's limit.
    pub fn count(&self, session: SessionId) -> usize {
        let held = self.inodes.values().flat_map(|locks| &locks.held);
        let waiting = self.inodes.values().flat_map(|locks| &locks.waiting);
        held.filter(|held| held.session == session).count()
            + waiting.filter(|waiter| waiter.session == session).count()
    }

    /// Locks and waits of all sessions.
    pub fn len(&self) -> usize {
        self.inodes
            .values()
            .map(|locks| locks.held.len() + locks.waiting.len())
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The locks held on an inode, in no order.
    pub fn held(&self, ino: Ino) -> impl Iterator<Item = (SessionId, Lock)> + '_ {
        self.inodes
            .get(&ino)
            .into_iter()
            .flat_map(|locks| &locks.held)
            .map(|held| (held.session, held.lock))
    }

    fn conflict(&self, session: SessionId, lock: &Lock) -> Option<Conflict> {
        let held = self.inodes.get(&lock.ino)?.held.iter();
        held.filter(|held| held.excludes(session, lock))
            .min_by_key(|held| (held.lock.start, held.session, held.lock.owner))
            .map(|held| Conflict {
                session: held.session,
                lock: held.lock,
            })
    }

    fn give_up_other_type(&mut self, session: SessionId, lock: &Lock) {
        let owner = (session, lock.owner);
        let Some(locks) = self.inodes.get_mut(&lock.ino) else {
            return;
        };
        let before = locks.held.len();
        locks.held.retain(|held| {
            held.owner() != owner || held.lock.kind != LockKind::Flock || held.lock.typ == lock.typ
        });
        if locks.held.len() != before {
            self.wake(lock.ino);
        }
    }

    /// Puts the lock in the place of what its owner has there, splitting at the ends and merging neighbours.
    fn replace(&mut self, session: SessionId, lock: &Lock) {
        let locks = self.inodes.entry(lock.ino).or_default();
        let mut new = *lock;
        let mut kept = Vec::with_capacity(locks.held.len() + 2);
        for held in locks.held.drain(..) {
            let old = held.lock;
            if held.owner() != (session, lock.owner) || old.kind != lock.kind {
                kept.push(held);
            } else if old.typ == new.typ && touches(&old, lock) {
                new.start = new.start.min(old.start);
                new.end = new.end.max(old.end);
            } else if old.start <= lock.end && lock.start <= old.end {
                if old.start < lock.start {
                    kept.push(Held {
                        session,
                        lock: Lock {
                            end: lock.start - 1,
                            ..old
                        },
                    });
                }
                if old.end > lock.end {
                    kept.push(Held {
                        session,
                        lock: Lock {
                            start: lock.end + 1,
                            ..old
                        },
                    });
                }
            } else {
                kept.push(held);
            }
        }
        if lock.typ != LockType::Unlock {
            kept.push(Held { session, lock: new });
        }
        locks.held = kept;
    }

    fn remove(&mut self, ino: Ino, gone: impl Fn(SessionId, &Lock) -> bool) {
        let Some(locks) = self.inodes.get_mut(&ino) else {
            return;
        };
        locks.held.retain(|held| !gone(held.session, &held.lock));
        locks.waiting.retain(|waiter| {
            let goes = gone(waiter.session, &waiter.lock);
            if goes {
                self.waiters.remove(&(waiter.session, waiter.ticket));
            }
            !goes
        });
        self.wake(ino);
    }

    /// Grants, in the order of arrival, what no longer conflicts.
    fn wake(&mut self, ino: Ino) {
        let mut position = 0;
        while let Some(waiter) = self
            .inodes
            .get(&ino)
            .and_then(|locks| locks.waiting.get(position).copied())
        {
            if self.conflict(waiter.session, &waiter.lock).is_some() {
                position += 1;
                continue;
            }
            if let Some(locks) = self.inodes.get_mut(&ino) {
                locks.waiting.remove(position);
            }
            self.waiters.remove(&(waiter.session, waiter.ticket));
            self.replace(waiter.session, &waiter.lock);
            self.granted.push(Granted {
                session: waiter.session,
                ticket: waiter.ticket,
                lock: waiter.lock,
            });
            // A lock that turned weaker by this may free waiters that were passed over.
            position = 0;
        }
        self.forget_if_empty(ino);
    }

    fn forget_if_empty(&mut self, ino: Ino) {
        if self
            .inodes
            .get(&ino)
            .is_some_and(|locks| locks.held.is_empty() && locks.waiting.is_empty())
        {
            self.inodes.remove(&ino);
        }
    }

    /// Whether somebody that the request waits for waits, directly or not, for the request's owner.
    fn would_deadlock(&self, session: SessionId, lock: &Lock) -> bool {
        let me = (session, lock.owner);
        let mut seen = BTreeSet::new();
        let mut next = self.blockers(session, lock);
        while let Some(owner) = next.pop() {
            if owner == me {
                return true;
            }
            if seen.insert(owner) {
                for waiter in self.waits_of(owner) {
                    next.extend(self.blockers(waiter.session, &waiter.lock));
                }
            }
        }
        false
    }

    /// The owners whose locks are in the way of the request.
    fn blockers(&self, session: SessionId, lock: &Lock) -> Vec<Owner> {
        let held = self
            .inodes
            .get(&lock.ino)
            .into_iter()
            .flat_map(|locks| &locks.held);
        held.filter(|held| held.excludes(session, lock))
            .map(Held::owner)
            .collect()
    }

    fn waits_of(&self, owner: Owner) -> impl Iterator<Item = &Waiter> {
        self.inodes
            .values()
            .flat_map(|locks| &locks.waiting)
            .filter(move |waiter| {
                (waiter.session, waiter.lock.owner) == owner && waiter.lock.kind == LockKind::Posix
            })
    }
}

/// A `flock` covers the whole file.
fn whole(lock: &Lock) -> Lock {
    match lock.kind {
        LockKind::Posix => *lock,
        LockKind::Flock => Lock {
            start: 0,
            end: u64::MAX,
            ..*lock
        },
    }
}

/// Whether the ranges overlap or are neighbours.
fn touches(one: &Lock, other: &Lock) -> bool {
    one.start <= other.end.saturating_add(1) && other.start <= one.end.saturating_add(1)
}
