//! Group commit: effects gather in a batch, the batch becomes a record when the writer has room, and what waited
//! for the record leaves when it is durable.

use super::{Executor, Fault};
use crate::coordinator::limits::{INO_BLOCK, RECORD_BYTES, RECORDS_IN_FLIGHT};
use crate::coordinator::writer::Job;
use dfs_core::error::FsResult;
use dfs_core::ids::{Index, Ino, OpId, SessionId};
use dfs_core::keys;
use dfs_core::namespace::NEXT_INO;
use dfs_core::op::Reply;
use dfs_core::rows::{CounterRow, RepliesRow};
use dfs_core::view::{Effects, View};
use std::collections::BTreeMap;

/// The record that will have `index`. Its rows are the view's top layer, where one that changes twice is kept once; the
/// answers that go with it become rows when it is closed, one for each session.
pub struct Batch {
    pub index: Index,
    rows: usize,
    bytes: usize,
    pub replies: BTreeMap<SessionId, Vec<(OpId, FsResult<Reply>)>>,
}

impl Batch {
    pub fn new(index: Index) -> Batch {
        Batch {
            index,
            rows: 0,
            bytes: 0,
            replies: BTreeMap::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// About what the record will take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer to a change in this record.
    pub fn answer(&mut self, session: SessionId, op: OpId, result: FsResult<Reply>) {
        self.bytes += REPLY_BYTES;
        self.replies.entry(session).or_default().push((op, result));
    }
}

/// About what an answer takes in its row.
const REPLY_BYTES: usize = 80;

fn len(value: Option<&Vec<u8>>) -> usize {
    value.map_or(0, Vec::len)
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

impl Counters {
    /// These numbers are a session's now; the log will know with the present batch.
    pub fn give_out(&mut self, first: Ino, count: u32) {
        self.next_ino = first.0 + u64::from(count);
        self.ino_limit = self.ino_limit.max(self.next_ino);
    }
}

impl Executor {
    /// A row becomes part of the batch and of the view.
    pub(super) fn put_row(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let (key_len, value_len) = (key.len() + 8, len(value.as_ref()));
        match self.view.put(key, value) {
            Some(before) => self.batch.bytes -= self.batch.bytes.min(len(before.as_ref())),
            None => {
                self.batch.rows += 1;
                self.batch.bytes += key_len;
            }
        }
        self.batch.bytes += value_len;
    }

    pub(super) fn add_effects(&mut self, effects: Effects) {
        for (key, value) in effects.rows {
            self.put_row(key, value);
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
            self.put_row(keys::counter(NEXT_INO), Some(CounterRow { value }.encode()));
        }
    }

    /// Reads the counters. Numbers of a block that was begun are not used again.
    pub(super) fn load_counters(&mut self) -> Result<(), Fault> {
        let next_ino = self.counter(NEXT_INO)?.max(Ino::FIRST.0);
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
        self.put_replies();
        let index = self.batch.index;
        let batch = std::mem::replace(&mut self.batch, Batch::new(index.next()));
        let record = self.view.close(self.term, self.now.wall);
        self.figures
            .submitted(index, record.rows.len(), batch.bytes, self.now.monotonic);
        self.in_flight.push_back(record.clone());
        self.writer.give(Job::Append(record));
    }

    /// The answers of this record, one row for each session: they become durable together.
    fn put_replies(&mut self) {
        for (session, replies) in std::mem::take(&mut self.batch.replies) {
            let (Some(own), Some(first)) = (self.sessions.get_mut(&session), replies.first()) else {
                continue;
            };
            let first = first.0;
            let last = replies.iter().map(|(op, _)| *op).max().unwrap_or(first);
            own.reply_rows.insert(last.0, first);
            self.put_row(
                keys::reply(session, first),
                Some(RepliesRow(replies).encode_under(first)),
            );
        }
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
                self.view.applied(record.index);
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
