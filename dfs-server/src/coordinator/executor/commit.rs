//! Group commit: effects gather in a batch, the batch becomes a record when the writer has room, and what waited
//! for the record leaves when it is durable.

use super::{Executor, Fault};
use crate::coordinator::limits::{INO_BLOCK, RECORD_BYTES, RECORDS_IN_FLIGHT};
use crate::coordinator::writer::Job;
use dfs_core::ids::{Index, Ino};
use dfs_core::keys;
use dfs_core::record::Record;
use dfs_core::rows::CounterRow;
use dfs_core::view::{Effects, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rows of the record that will have `index`; a row that changes twice is kept once.
pub struct Batch {
    pub index: Index,
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Batch {
    pub fn new(index: Index) -> Batch {
        Batch {
            index,
            rows: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// About what the record will take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + 8;
        self.rows.insert(key, value);
    }
}

/// The volume's sums and the inode numbers, with what the log knows of them.
#[derive(Default)]
pub struct Counters {
    pub inodes: i64,
    pub bytes: i64,
    pub next_ino: u64,
    /// Numbers below this are taken in the log.
    pub ino_limit: u64,
    changed: bool,
}

impl Executor {
    /// A row becomes part of the batch and of the view.
    pub(super) fn put_row(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.view.put(self.batch.index, key.clone(), value.clone());
        self.batch.put(key, value);
    }

    pub(super) fn add_effects(&mut self, effects: &Effects) {
        for (key, value) in &effects.rows {
            self.put_row(key.clone(), value.clone());
        }
        self.counters.inodes += effects.inodes;
        self.counters.bytes += effects.bytes;
        self.counters.changed |= effects.inodes != 0 || effects.bytes != 0;
    }

    /// The fresh inode number was used.
    pub(super) fn take_ino(&mut self) {
        self.counters.next_ino += 1;
        if self.counters.next_ino > self.counters.ino_limit {
            self.counters.ino_limit = self.counters.next_ino + INO_BLOCK;
            let value = self.counters.ino_limit;
            self.put_row(keys::counter(b"next_ino"), Some(CounterRow { value }.encode()));
        }
    }

    /// Reads the counters. Numbers of a block that was begun are not used again.
    pub(super) fn load_counters(&mut self) -> Result<(), Fault> {
        let next_ino = self.counter(b"next_ino")?.max(Ino::FIRST.0);
        self.counters = Counters {
            inodes: self.counter(b"inodes")? as i64,
            bytes: self.counter(b"bytes")? as i64,
            next_ino,
            ino_limit: next_ino,
            changed: false,
        };
        Ok(())
    }

    pub(super) fn counter(&self, name: &[u8]) -> Result<u64, Fault> {
        let key = keys::counter(name);
        let row = self
            .view
            .get(&key)?
            .map(|value| CounterRow::decode(&key, &value))
            .transpose()?;
        Ok(row.map_or(0, |row| row.value))
    }

    /// Gives the batch to the writer when it has room: at once when nothing is under way, else when the batch
    /// is full, so that it grows while the disk works.
    pub(super) fn submit(&mut self) {
        let room = self.in_flight.is_empty()
            || (self.batch.bytes >= RECORD_BYTES && self.in_flight.len() < RECORDS_IN_FLIGHT);
        if self.batch.is_empty() || !room {
            return;
        }
        if self.counters.changed {
            self.counters.changed = false;
            for (name, value) in [
                (&b"inodes"[..], self.counters.inodes),
                (b"bytes", self.counters.bytes),
            ] {
                let value = value.max(0) as u64;
                self.put_row(keys::counter(name), Some(CounterRow { value }.encode()));
            }
        }
        let index = self.batch.index;
        let batch = std::mem::replace(&mut self.batch, Batch::new(index.next()));
        let rows = batch.rows.into_iter().collect();
        let record = Arc::new(Record {
            index,
            term: self.term,
            time: self.now.wall,
            rows,
        });
        self.figures
            .submitted(index, record.rows.len(), batch.bytes, self.now.monotonic);
        self.in_flight.push_back(record.clone());
        self.writer.give(Job::Append(record));
    }

    pub(super) fn on_durable(&mut self, index: Index) {
        self.durable = self.durable.max(index);
        self.figures.durable(index, self.now.monotonic);
        let waiting = std::mem::take(&mut self.waiting);
        let (ready, later): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(needs, _)| *needs <= self.durable);
        self.waiting = later;
        for (_, answer) in ready {
            answer();
        }
    }

    pub(super) fn on_applied(&mut self, index: Index) {
        while self.in_flight.front().is_some_and(|record| record.index <= index) {
            if let Some(record) = self.in_flight.pop_front() {
                self.view.applied(&record);
            }
        }
    }

    /// Calls `answer` when the index is durable.
    pub(super) fn when_durable(&mut self, index: Index, answer: impl FnOnce() + Send + 'static) {
        let index = index.max(self.floor);
        if index <= self.durable {
            answer();
        } else {
            self.waiting.push((index, Box::new(answer)));
        }
    }
}
