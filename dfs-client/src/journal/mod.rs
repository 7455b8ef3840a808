//! What this mount has done to names and attributes under exclusive leases and has not told the coordinator yet: in
//! order, told in shipments, each of them one change. `here` executes, `shipping` tells, `brief` leaves out what need not be
//! told, `view` is what is known.
//! Locks: the session's, then the journal's, then an inode's.

mod brief;
mod here;
mod shipping;
mod view;

pub(crate) use shipping::run;

use crate::inode::Inode;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{INO_RANGE_MAX, Op, Rename, SHIP_STEPS_MAX, Ship, Step, Unlink};
use dfs_core::types::Timestamp;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Most changes that are not confirmed; then the coordinator is asked for each, which waits for it.
const ENTRIES_MAX: u64 = 16_384;
/// Changes are told at the latest after this, or when there are many.
const AGE_MAX: Duration = Duration::from_secs(1);
const MANY: usize = SHIP_STEPS_MAX;
/// The clock goes on without a step back within this; beyond it, it was set.
const CLOCK_SLACK: Duration = Duration::from_secs(2);
/// A reading is believed for so long although a later one is lower: then the two clocks run apart.
const CLOCK_KEPT: Duration = Duration::from_secs(60);
/// Inode numbers asked for at a time.
const INOS: u32 = 8192;
const _: () = assert!(INOS <= INO_RANGE_MAX);

/// A change that was made here.
struct Entry {
    /// Its place in the journal, from 1.
    place: u64,
    since: Instant,
    step: Step,
    /// The inodes that it changes.
    inos: Vec<Ino>,
    /// A file that got a new name with it: whoever finds it there after a crash must find its content.
    named: Option<Ino>,
    /// What lost its last name with it and was held here then.
    removed: Option<Ino>,
}

#[derive(Default)]
struct Entries {
    waiting: VecDeque<Entry>,
    /// Place of the newest entry.
    last: u64,
    /// Newest place in each shipment under way.
    shipped: VecDeque<(u64, Vec<Ino>)>,
    /// Inode numbers that only this session may use, and those that come after them.
    inos: Range<u64>,
    spare: Range<u64>,
}

/// The coordinator's clock, as far as its heartbeats tell: behind it by what a message takes.
#[derive(Default)]
struct Clock {
    heard: Option<(Instant, Timestamp)>,
    last: Timestamp,
}

impl Clock {
    fn reading(&self) -> Option<Timestamp> {
        let (since, time) = self.heard?;
        Some(later(time, since.elapsed()))
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    let nanos = u64::from(time.nanos) + u64::from(by.subsec_nanos());
    Timestamp {
        secs: time.secs + by.as_secs() as i64 + (nanos / 1_000_000_000) as i64,
        nanos: (nanos % 1_000_000_000) as u32,
    }
}

/// Inodes that the coordinator changes at present.
pub(crate) struct Changing(Vec<Arc<Inode>>);

impl Drop for Changing {
    fn drop(&mut self) {
        for inode in &self.0 {
            inode.state.lock().changing_there -= 1;
        }
    }
}

#[derive(Default)]
pub(crate) struct Journal {
    entries: Mutex<Entries>,
    /// Every change up to this place is durable at the coordinator.
    confirmed: AtomicU64,
    /// Something was confirmed, or lost.
    told: Condvar,
    /// There is something to tell, or numbers run out.
    wanted: tokio::sync::Notify,
    clock: Mutex<Clock>,
    /// Counts journals that were lost.
    losses: AtomicU64,
    /// So many of them were reported to whoever synced the whole mount.
    reported: AtomicU64,
    /// The coordinator did not take a shipment: the session is of no use any more.
    refused: AtomicBool,
    /// The coordinator's disk is full: it takes what was made here, and callers who would make more are to hear it at once.
    full: AtomicBool,
}

impl Journal {
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// How often changes were lost with a lease or a session.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Whoever syncs the whole mount is told once of what was lost.
    pub fn report_losses(&self) -> FsResult<()> {
        let losses = self.losses();
        match self.reported.swap(losses, Ordering::Relaxed) == losses {
            true => Ok(()),
            false => Err(FsError::Io),
        }
    }

    /// Place of the newest change.
    pub fn last(&self) -> u64 {
        self.entries.lock().last
    }

    /// The coordinator said what time it is. Of two readings the one that was longer under way is the lower; only a
    /// clock that was set goes back by more.
    fn heard_time(&self, time: Timestamp) {
        let mut clock = self.clock.lock();
        let delayed = clock.heard.is_some_and(|(since, known)| {
            let known = later(known, since.elapsed());
            since.elapsed() < CLOCK_KEPT && known > time && known <= later(time, CLOCK_SLACK)
        });
        if !delayed {
            clock.heard = Some((Instant::now(), time));
        }
    }

    /// The coordinator changed something at this time: what is changed here now is no earlier.
    pub fn seen_time(&self, time: Timestamp) {
        let mut clock = self.clock.lock();
        if time > clock.last && clock.reading().is_some_and(|now| time <= later(now, CLOCK_SLACK)) {
            clock.last = time;
        }
    }

    /// The time of a change that is made now; `None` before the coordinator was heard.
    pub fn time(&self) -> Option<Timestamp> {
        let mut clock = self.clock.lock();
        let now = clock.reading()?;
        // A correction never puts what comes later before.
        if clock.last < now || clock.last > later(now, CLOCK_SLACK) {
            clock.last = now;
        }
        Some(clock.last)
    }

    /// What the coordinator's heartbeat said.
    pub fn heard(&self, time: Option<Timestamp>, full: bool) {
        if let Some(time) = time {
            self.heard_time(time);
        }
        if self.full.swap(full, Ordering::Relaxed) != full {
            tracing::info!(full, "the coordinator says whether it has space for new names");
        }
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether the coordinator did not take what was done here.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// While this is held nobody is in the middle of a change: whoever makes one holds the journal from its first look at
    /// leases to its last note.
    pub fn still(&self) -> impl Drop + '_ {
        self.entries.lock()
    }

    /// The coordinator changes these: until the answer is dropped nothing about them is changed here.
    pub fn leave_to_others(&self, inodes: &[&Arc<Inode>]) -> Changing {
        let _still = self.still();
        let inodes: Vec<Arc<Inode>> = inodes.iter().map(|inode| (*inode).clone()).collect();
        for inode in &inodes {
            inode.state.lock().changing_there += 1;
        }
        Changing(inodes)
    }

    fn give_inos(&self, first: Ino, count: u32) {
        self.entries.lock().spare = first.0..first.0 + u64::from(count);
    }

    fn lacks_inos(&self) -> bool {
        self.entries.lock().spare.is_empty()
    }

    /// Whether it is time to tell what waits.
    fn is_due(&self) -> bool {
        let entries = self.entries.lock();
        let old = |entry: &Entry| entry.since.elapsed() >= AGE_MAX;
        entries.waiting.len() >= MANY || entries.waiting.front().is_some_and(old)
    }

    /// Files whose content goes before or with what waits up to `place`.
    fn named_up_to(&self, place: u64) -> Vec<Ino> {
        let entries = self.entries.lock();
        let within = entries.waiting.iter().take_while(|entry| entry.place <= place);
        within.filter_map(|entry| entry.named).collect()
    }

    /// Place before the first name that waits for content that is not saved.
    fn before_named(&self, is_unsaved: impl Fn(Ino) -> bool) -> u64 {
        let entries = self.entries.lock();
        let mut waiting = entries.waiting.iter();
        let first = waiting.find(|entry| entry.named.is_some_and(&is_unsaved));
        first.map_or(u64::MAX, |entry| entry.place - 1)
    }

    /// The files among what waits that were made or got a name, in order.
    fn files_waiting(&self) -> Vec<Ino> {
        let entries = self.entries.lock();
        let made = |entry: &Entry| {
            entry
                .named
                .or((entry.step.ino != Ino(0)).then_some(entry.step.ino))
        };
        entries.waiting.iter().filter_map(made).collect()
    }

    /// The next shipment of what waits up to `place`. Called at its place in the session's order. What was removed and
    /// `let_go` since, with its removal as the last change of it, need not be kept for us any more.
    fn next(&self, place: u64, let_go: impl Fn(Ino, u64) -> bool) -> Option<Ship> {
        let mut entries = self.entries.lock();
        let within = |entry: &&Entry| entry.place <= place;
        let count = entries
            .waiting
            .iter()
            .take_while(within)
            .take(SHIP_STEPS_MAX)
            .count();
        if count == 0 {
            return None;
        }
        let mut taken: Vec<Entry> = entries.waiting.drain(..count).collect();
        let newest = taken.last().map_or(0, |entry| entry.place);
        let mut gone = BTreeSet::new();
        for entry in &mut taken {
            if let Some(ino) = entry.removed
                && let_go(ino, entry.place)
            {
                forgo(&mut entry.step.op);
                gone.insert(ino);
            }
        }
        let taken = brief::drop_brief(taken, &gone);
        let mut inos: Vec<Ino> = taken
            .iter()
            .flat_map(|entry| entry.inos.iter().copied())
            .collect();
        inos.sort_unstable();
        inos.dedup();
        entries.shipped.push_back((newest, inos));
        Some(Ship {
            steps: taken.into_iter().map(|entry| entry.step).collect(),
            commit: None,
        })
    }

    /// The oldest shipment under way was answered.
    fn confirm(&self) {
        let mut entries = self.entries.lock();
        if let Some((place, _)) = entries.shipped.pop_front() {
            self.confirmed.store(place, Ordering::Release);
        }
        self.told.notify_all();
    }

    /// Everything that is not confirmed is lost: the inodes that it concerned.
    fn lose(&self) -> Vec<Ino> {
        let mut entries = self.entries.lock();
        let mut inos: Vec<Ino> = entries.shipped.drain(..).flat_map(|(_, inos)| inos).collect();
        inos.extend(entries.waiting.drain(..).flat_map(|entry| entry.inos));
        inos.sort_unstable();
        inos.dedup();
        if !inos.is_empty() {
            self.losses.fetch_add(1, Ordering::Relaxed);
        }
        self.confirmed.store(entries.last, Ordering::Release);
        self.told.notify_all();
        inos
    }
}

/// The removed inode is not held any more.
fn forgo(op: &mut Op) {
    match op {
        Op::Unlink(Unlink { expect, .. }) | Op::Rename(Rename { expect, .. }) => {
            if let Some((_, held)) = expect {
                *held = false;
            }
        }
        Op::Rmdir { held, .. } => *held = false,
        _ => {}
    }
}
