//! Which session may keep how much of an inode to itself, and which hold it open. The coordinator owns one
//! table per volume. Soft state: it is in no record, and clients reclaim what they hold after a failover. Knows
//! no clock: whoever waits for a recall counts the time.

use crate::ids::{Ino, SessionId};
use crate::types::LeaseMode;
use crate::view::Opens;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// A lease in the way: `session` must give up what it holds beyond `keep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conflict {
    pub session: SessionId,
    pub ino: Ino,
    pub keep: LeaseMode,
}

/// A session's place in the table: there are millions of holders, and its UUID is four times as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u32);

#[derive(Clone, Copy, Debug)]
struct Holder {
    place: Place,
    mode: LeaseMode,
    open: bool,
}

/// The holders of an inode: mostly one, which then needs no memory of its own.
#[derive(Clone, Debug)]
enum Holders {
    One(Holder),
    #[expect(
        clippy::box_collection,
        reason = "the one holder of most inodes takes half the memory"
    )]
    Many(Box<Vec<Holder>>),
}

impl Holders {
    fn as_slice(&self) -> &[Holder] {
        match self {
            Holders::One(holder) => std::slice::from_ref(holder),
            Holders::Many(holders) => holders,
        }
    }

    fn find_mut(&mut self, place: Place) -> Option<&mut Holder> {
        let holders = match self {
            Holders::One(holder) => std::slice::from_mut(holder),
            Holders::Many(holders) => holders.as_mut_slice(),
        };
        holders.iter_mut().find(|holder| holder.place == place)
    }

    fn push(&mut self, holder: Holder) {
        match self {
            Holders::One(first) => *self = Holders::Many(Box::new(vec![*first, holder])),
            Holders::Many(holders) => holders.push(holder),
        }
    }

    /// Without the session's; whether nobody is left.
    fn remove(&mut self, place: Place) -> bool {
        match self {
            Holders::One(holder) => holder.place == place,
            Holders::Many(holders) => {
                holders.retain(|holder| holder.place != place);
                if let [last] = holders.as_slice() {
                    *self = Holders::One(*last);
                    return false;
                }
                holders.is_empty()
            }
        }
    }
}

/// Who holds something, by place. A place is free again when its session holds nothing.
#[derive(Clone, Debug, Default)]
struct Places {
    of: BTreeMap<SessionId, Place>,
    sessions: Vec<SessionId>,
    inodes: Vec<BTreeSet<Ino>>,
    free: Vec<Place>,
    /// Inodes of all sessions together.
    total: usize,
}

impl Places {
    fn find(&self, session: SessionId) -> Option<Place> {
        self.of.get(&session).copied()
    }

    fn session(&self, place: Place) -> SessionId {
        self.sessions[place.0 as usize]
    }

    fn inodes(&self, session: SessionId) -> Option<&BTreeSet<Ino>> {
        self.find(session).map(|place| &self.inodes[place.0 as usize])
    }

    /// The session's place, which it is given when it has none.
    fn take(&mut self, session: SessionId) -> Place {
        if let Some(place) = self.find(session) {
            return place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(session);
            self.inodes.push(BTreeSet::new());
            Place(self.sessions.len() as u32 - 1)
        });
        self.sessions[place.0 as usize] = session;
        self.of.insert(session, place);
        place
    }

    fn add(&mut self, place: Place, ino: Ino) {
        self.total += usize::from(self.inodes[place.0 as usize].insert(ino));
    }

    fn remove(&mut self, place: Place, ino: Ino) {
        let inodes = &mut self.inodes[place.0 as usize];
        self.total -= usize::from(inodes.remove(&ino));
        if inodes.is_empty() {
            self.leave(place);
        }
    }

    /// What the session held.
    fn leave(&mut self, place: Place) -> BTreeSet<Ino> {
        let inodes = std::mem::take(&mut self.inodes[place.0 as usize]);
        self.total -= inodes.len();
        self.of.remove(&self.session(place));
        self.free.push(place);
        inodes
    }
}

/// The leases of a volume. At most one session holds an inode exclusively, and then no other holds it shared.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    inodes: HashMap<Ino, Holders>,
    places: Places,
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
                    session: self.places.session(holder.place),
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
                    session: self.places.session(holder.place),
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
        let Some(place) = self.places.find(session) else {
            return Vec::new();
        };
        let inos: Vec<Ino> = self.places.leave(place).into_iter().collect();
        for ino in &inos {
            self.remove_holder(place, *ino);
        }
        inos
    }

    /// The sessions that hold the inode open, in order.
    pub fn holders_open(&self, ino: Ino) -> Vec<SessionId> {
        let mut sessions: Vec<SessionId> = self
            .holders(ino)
            .iter()
            .filter(|holder| holder.open)
            .map(|holder| self.places.session(holder.place))
            .collect();
        sessions.sort();
        sessions
    }

    /// Number of inodes that the session holds something of.
    pub fn count(&self, session: SessionId) -> usize {
        self.places.inodes(session).map_or(0, BTreeSet::len)
    }

    /// The sum of [`LeaseTable::count`] over all sessions.
    pub fn total(&self) -> usize {
        self.places.total
    }

    /// At most `limit` leases of the session on inodes behind `after`, in their order, that it does not hold open.
    pub fn idle(&self, session: SessionId, after: Ino, limit: usize) -> Vec<Ino> {
        let Some(inodes) = self.places.inodes(session) else {
            return Vec::new();
        };
        let behind = inodes.range((Bound::Excluded(after), Bound::Unbounded)).copied();
        let idle = |ino: &Ino| {
            let holder = self.holder(session, *ino);
            holder.is_some_and(|holder| holder.mode > LeaseMode::None && !holder.open)
        };
        behind.filter(idle).take(limit).collect()
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
        let place = self.places.find(session)?;
        self.holders(ino).iter().find(|holder| holder.place == place)
    }

    fn others(&self, me: SessionId, ino: Ino) -> impl Iterator<Item = &Holder> {
        let me = self.places.find(me);
        self.holders(ino)
            .iter()
            .filter(move |holder| Some(holder.place) != me)
    }

    fn put(&mut self, session: SessionId, ino: Ino, mode: LeaseMode, open: bool) {
        if mode == LeaseMode::None && !open {
            if let Some(place) = self.places.find(session) {
                self.remove_holder(place, ino);
                self.places.remove(place, ino);
            }
            return;
        }
        let place = self.places.take(session);
        let holder = Holder { place, mode, open };
        match self.inodes.entry(ino) {
            Entry::Occupied(mut holders) => {
                if let Some(own) = holders.get_mut().find_mut(place) {
                    *own = holder;
                    return;
                }
                holders.get_mut().push(holder);
            }
            Entry::Vacant(none) => {
                none.insert(Holders::One(holder));
            }
        }
        self.places.add(place, ino);
    }

    fn remove_holder(&mut self, place: Place, ino: Ino) {
        if let Some(holders) = self.inodes.get_mut(&ino)
            && holders.remove(place)
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
