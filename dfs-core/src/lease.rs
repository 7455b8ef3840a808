//! Which session may keep how much of an inode to itself, and which hold it open. The coordinator owns one
//! table per volume. Soft state: it is in no record, and clients reclaim what they hold after a failover. Knows
//! no clock: whoever waits for a recall counts the time.

use crate::ids::{Ino, SessionId};
use crate::types::LeaseMode;
use crate::view::Opens;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A lease in the way: `session` must give up what it holds beyond `keep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conflict {
    pub session: SessionId,
    pub ino: Ino,
    pub keep: LeaseMode,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    session: SessionId,
    mode: LeaseMode,
    open: bool,
}

/// The holders of an inode: mostly one, which then needs no memory of its own.
#[derive(Clone, Debug)]
enum Holders {
    One(Holder),
    Many(Vec<Holder>),
}

impl Holders {
    fn as_slice(&self) -> &[Holder] {
        match self {
            Holders::One(holder) => std::slice::from_ref(holder),
            Holders::Many(holders) => holders,
        }
    }

    fn find_mut(&mut self, session: SessionId) -> Option<&mut Holder> {
        let holders = match self {
            Holders::One(holder) => std::slice::from_mut(holder),
            Holders::Many(holders) => holders.as_mut_slice(),
        };
        holders.iter_mut().find(|holder| holder.session == session)
    }

    fn push(&mut self, holder: Holder) {
        match self {
            Holders::One(first) => *self = Holders::Many(vec![*first, holder]),
            Holders::Many(holders) => holders.push(holder),
        }
    }

    /// Without the session's; whether nobody is left.
    fn remove(&mut self, session: SessionId) -> bool {
        match self {
            Holders::One(holder) => holder.session == session,
            Holders::Many(holders) => {
                holders.retain(|holder| holder.session != session);
                if let [last] = holders.as_slice() {
                    *self = Holders::One(*last);
                    return false;
                }
                holders.is_empty()
            }
        }
    }
}

/// The leases of a volume. At most one session holds an inode exclusively, and then no other holds it shared.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    inodes: HashMap<Ino, Holders>,
    /// The inodes of a session.
    sessions: BTreeMap<SessionId, BTreeSet<Ino>>,
}

impl LeaseTable {
    pub fn new() -> LeaseTable {
        LeaseTable::default()
    }

    /// The leases of others that an operation of `me` must wait for: on what it writes, all; on what it reads,
    /// the exclusive ones.
    pub fn conflicts(&self, me: SessionId, reads: &BTreeSet<Ino>, writes: &BTreeSet<Ino>) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for ino in writes {
            for holder in self
                .others(me, *ino)
                .filter(|holder| holder.mode > LeaseMode::None)
            {
                conflicts.push(Conflict {
                    session: holder.session,
                    ino: *ino,
                    keep: LeaseMode::None,
                });
            }
        }
        for ino in reads.difference(writes) {
            for holder in self
                .others(me, *ino)
                .filter(|holder| holder.mode == LeaseMode::Exclusive)
            {
                conflicts.push(Conflict {
                    session: holder.session,
                    ino: *ino,
                    keep: LeaseMode::Shared,
                });
            }
        }
        conflicts
    }

    /// Gives as much of `wanted` as conflicts with nobody and never takes anything away: what the session now
    /// holds.
    pub fn grant(&mut self, session: SessionId, ino: Ino, wanted: LeaseMode) -> LeaseMode {
        let mode = wanted.min(self.most(session, ino)).max(self.mode(session, ino));
        self.put(session, ino, mode, self.is_open(session, ino));
        mode
    }

    /// What the session holds.
    pub fn mode(&self, session: SessionId, ino: Ino) -> LeaseMode {
        self.holder(session, ino)
            .map_or(LeaseMode::None, |holder| holder.mode)
    }

    /// Whether the session holds the inode open.
    pub fn is_open(&self, session: SessionId, ino: Ino) -> bool {
        self.holder(session, ino).is_some_and(|holder| holder.open)
    }

    /// What the session says it holds (an acknowledged recall, an open or close, a reclaim). A claim that would
    /// conflict is lowered: the mode that holds is returned.
    pub fn set(&mut self, session: SessionId, ino: Ino, mode: LeaseMode, open: bool) -> LeaseMode {
        let mode = mode.min(self.most(session, ino));
        self.put(session, ino, mode, open);
        mode
    }

    /// Forgets the session: the inodes it held something of.
    pub fn drop_session(&mut self, session: SessionId) -> Vec<Ino> {
        let inos: Vec<Ino> = self
            .sessions
            .remove(&session)
            .unwrap_or_default()
            .into_iter()
            .collect();
        for ino in &inos {
            self.remove_holder(session, *ino);
        }
        inos
    }

    /// The sessions that hold the inode open, in order.
    pub fn holders_open(&self, ino: Ino) -> Vec<SessionId> {
        let mut sessions: Vec<SessionId> = self
            .holders(ino)
            .iter()
            .filter(|holder| holder.open)
            .map(|holder| holder.session)
            .collect();
        sessions.sort();
        sessions
    }

    /// Number of inodes that the session holds something of.
    pub fn count(&self, session: SessionId) -> usize {
        self.sessions.get(&session).map_or(0, BTreeSet::len)
    }

    /// The most that the session could hold beside the others.
    fn most(&self, session: SessionId, ino: Ino) -> LeaseMode {
        let others = self
            .others(session, ino)
            .map(|holder| holder.mode)
            .max()
            .unwrap_or_default();
        match others {
            LeaseMode::None => LeaseMode::Exclusive,
            LeaseMode::Shared => LeaseMode::Shared,
            LeaseMode::Exclusive => LeaseMode::None,
        }
    }

    fn holders(&self, ino: Ino) -> &[Holder] {
        self.inodes.get(&ino).map_or(&[], Holders::as_slice)
    }

    fn holder(&self, session: SessionId, ino: Ino) -> Option<&Holder> {
        self.holders(ino).iter().find(|holder| holder.session == session)
    }

    fn others(&self, me: SessionId, ino: Ino) -> impl Iterator<Item = &Holder> {
        self.holders(ino)
            .iter()
            .filter(move |holder| holder.session != me)
    }

    fn put(&mut self, session: SessionId, ino: Ino, mode: LeaseMode, open: bool) {
        if mode == LeaseMode::None && !open {
            self.remove_holder(session, ino);
            if let Some(inos) = self.sessions.get_mut(&session) {
                inos.remove(&ino);
                if inos.is_empty() {
                    self.sessions.remove(&session);
                }
            }
            return;
        }
        let holder = Holder { session, mode, open };
        match self.inodes.entry(ino) {
            Entry::Occupied(mut holders) => {
                if let Some(own) = holders.get_mut().find_mut(session) {
                    *own = holder;
                    return;
                }
                holders.get_mut().push(holder);
            }
            Entry::Vacant(none) => {
                none.insert(Holders::One(holder));
            }
        }
        self.sessions.entry(session).or_default().insert(ino);
    }

    fn remove_holder(&mut self, session: SessionId, ino: Ino) {
        if let Some(holders) = self.inodes.get_mut(&ino)
            && holders.remove(session)
        {
            self.inodes.remove(&ino);
        }
    }
}

impl Opens for LeaseTable {
    fn holders_open(&self, ino: Ino) -> Vec<SessionId> {
        LeaseTable::holders_open(self, ino)
    }
}
