//! A file's written content that is not committed: the dirty layer and the flights under it, and what went wrong
//! with them. Part of the inode's state, behind its lock.

use crate::data::dirty::Dirty;
use crate::data::flight::Flight;
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
use dfs_core::types::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(crate) struct Content {
    pub dirty: Dirty,
    /// When the oldest dirty byte was written.
    pub since: Option<Instant>,
    /// In order of commit.
    pub flights: VecDeque<Arc<Flight>>,
    sealed: u64,
    /// Modification time of the newest write, while anything is not committed.
    pub mtime: Timestamp,
    /// A write asked to clear set-id bits and is not committed.
    pub kill_suidgid: bool,
    /// While above 0 nothing new is sealed: a change of size is under way.
    pub hold: u32,
    /// Why flushing fails at present; the data is kept and tried again.
    pub error: Option<FsError>,
    /// Counts failed attempts to flush.
    pub failures: u64,
    /// The quota that the bytes below were taken from, while anything is not committed.
    pub quota: Ino,
    /// Bytes of the quota that were taken for what is not committed.
    pub taken: u64,
    /// Counts losses of written data and of changes made here; each handle reports each once.
    pub losses: u64,
    /// So many of them were reported to anybody.
    pub reported: u64,
    /// The newest change of its attributes made here that the newest write came after, by its place in the journal.
    pub after: u64,
}

impl Default for Content {
    fn default() -> Content {
        Content {
            dirty: Dirty::default(),
            since: None,
            flights: VecDeque::new(),
            sealed: 0,
            mtime: Timestamp::default(),
            kill_suidgid: false,
            hold: 0,
            error: None,
            failures: 0,
            quota: Ino(0),
            taken: 0,
            losses: 0,
            reported: 0,
            after: 0,
        }
    }
}

impl Content {
    /// Everything written is committed.
    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.flights.is_empty()
    }

    /// Bytes of the quota that are not needed any more: what is not committed can grow the file by its own length
    /// at most. They count as given back.
    pub fn unneeded(&mut self) -> (Ino, u64) {
        let unneeded = self.taken.saturating_sub(self.bytes());
        self.taken -= unneeded;
        (self.quota, unneeded)
    }

    /// Bytes that are not committed.
    pub fn bytes(&self) -> u64 {
        self.dirty.bytes() + self.flights.iter().map(|flight| flight.bytes).sum::<u64>()
    }

    /// First byte after the last one that is not committed.
    pub fn end(&self) -> u64 {
        self.flights
            .iter()
            .map(|flight| flight.end())
            .max()
            .unwrap_or(0)
            .max(self.dirty.end())
    }

    /// Number of the last flight.
    pub fn sealed(&self) -> u64 {
        self.sealed
    }

    /// Whether every flight up to `number` has been committed (or lost).
    pub fn landed(&self, number: u64) -> bool {
        self.flights.front().is_none_or(|flight| flight.number > number)
    }

    /// Makes a flight of at most `limit` bytes.
    pub fn seal(&mut self, limit: u64) -> Option<Arc<Flight>> {
        if self.hold > 0 {
            return None;
        }
        let segments = self.dirty.take(limit);
        if segments.is_empty() {
            return None;
        }
        if self.dirty.is_empty() {
            self.since = None;
        }
        self.sealed += 1;
        let bytes = segments.iter().map(|(_, data)| data.len() as u64).sum();
        let kill_suidgid = std::mem::take(&mut self.kill_suidgid);
        let flight = Arc::new(Flight {
            number: self.sealed,
            segments,
            bytes,
            kill_suidgid,
        });
        self.flights.push_back(flight.clone());
        Some(flight)
    }

    /// Removes a flight: whether it was there.
    pub fn land(&mut self, number: u64) -> bool {
        let before = self.flights.len();
        self.flights.retain(|flight| flight.number != number);
        before != self.flights.len()
    }

    /// Forgets what nobody can read any more. Returns how many bytes.
    pub fn discard(&mut self) -> u64 {
        let bytes = self.bytes();
        self.dirty.clear();
        self.flights.clear();
        self.since = None;
        self.error = None;
        bytes
    }

    /// Forgets flights that cannot land at present and lie wholly beyond a size that is about to be set. Returns
    /// how many bytes.
    pub fn discard_stuck(&mut self, size: u64) -> u64 {
        if self.error.is_none() {
            return 0;
        }
        let before = self.bytes();
        let beyond = |flight: &Flight| flight.segments.first().is_some_and(|(offset, _)| *offset >= size);
        self.flights.retain(|flight| !beyond(flight));
        if self.flights.is_empty() {
            self.error = None;
        }
        before - self.bytes()
    }

    /// Something is lost of which nobody who syncs may hear success before somebody was told.
    pub fn is_loss_untold(&self) -> bool {
        self.reported < self.losses
    }

    /// Something is lost that concerns those only who have it open now.
    pub fn lose_for_openers(&mut self) {
        let told = !self.is_loss_untold();
        self.losses += 1;
        if told {
            self.reported = self.losses;
        }
    }

    /// Everything not committed is lost, and its writers are to be told. Returns how many bytes.
    pub fn lose(&mut self) -> u64 {
        let bytes = self.discard();
        if bytes > 0 {
            self.losses += 1;
        }
        bytes
    }
}
