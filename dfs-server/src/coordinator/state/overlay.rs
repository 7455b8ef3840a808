//! The view in which operations are executed: the store, above it the records that the store may not have yet, and on
//! top the rows of the record that is being gathered. Owned by the executor's thread; no row is copied when a record is
//! closed. It also tells up to which index what was read must be durable before an answer may leave.

use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use dfs_core::types::Timestamp;
use dfs_core::view::{View, ViewError};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// A key, its value or its absence, and the record that says so.
type Fresh<'a> = (&'a [u8], Option<&'a [u8]>, Index);

/// Rows over the store, in layers: the newest one that has a key tells its value.
pub struct Overlay {
    store: Box<dyn View + Send>,
    /// Rows of the record that will have `index`.
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    index: Index,
    /// Closed records, the oldest first, each with its rows in the order of their keys.
    records: VecDeque<Arc<Record>>,
    /// The highest index of a row seen since `begin_reading`.
    seen: Cell<Index>,
}

impl Overlay {
    /// A view in which the next record will have `index`.
    pub fn new(store: Box<dyn View + Send>, index: Index) -> Overlay {
        Overlay {
            store,
            rows: BTreeMap::new(),
            index,
            records: VecDeque::new(),
            seen: Cell::new(Index(0)),
        }
    }

    /// Forgets what was seen.
    pub fn begin_reading(&self) {
        self.seen.set(Index(0));
    }

    /// The index that must be durable before anything that was read since `begin_reading` may be told.
    pub fn seen(&self) -> Index {
        self.seen.get()
    }

    /// A row of the record that is being gathered; what it had there before.
    pub fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Option<Vec<u8>>> {
        self.rows.insert(key, value)
    }

    /// Closes the record and begins the next one.
    pub fn close(&mut self, term: Term, time: Timestamp) -> Arc<Record> {
        let record = Arc::new(Record {
            index: self.index,
            term,
            time,
            rows: std::mem::take(&mut self.rows).into_iter().collect(),
        });
        self.index = self.index.next();
        self.records.push_back(record.clone());
        record
    }

    /// The store has the records up to here.
    pub fn applied(&mut self, index: Index) {
        while self.records.front().is_some_and(|record| record.index <= index) {
            self.records.pop_front();
        }
    }

    fn note(&self, index: Index) {
        self.seen.set(self.seen.get().max(index));
    }

    /// What the layers say of a key: `None` when none of them has it.
    fn fresh(&self, key: &[u8]) -> Option<(Option<&[u8]>, Index)> {
        if let Some(value) = self.rows.get(key) {
            return Some((value.as_deref(), self.index));
        }
        self.records.iter().rev().find_map(|record| {
            let place = record
                .rows
                .binary_search_by(|(own, _)| own.as_slice().cmp(key))
                .ok()?;
            Some((record.rows[place].1.as_deref(), record.index))
        })
    }

    /// The rows of all layers in a range, in order, each key once.
    fn fresh_range<'a>(&'a self, start: &'a [u8], end: &'a [u8]) -> Merged<'a> {
        let mut layers: Vec<Peekable<Layer<'a>>> = Vec::with_capacity(self.records.len() + 1);
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let index = self.index;
        let rows = self.rows.range::<[u8], _>(bounds);
        let rows: Layer<'a> =
            Box::new(rows.map(move |(key, value)| (key.as_slice(), value.as_deref(), index)));
        layers.push(rows.peekable());
        for record in self.records.iter().rev() {
            let place = |bound: &[u8]| record.rows.partition_point(|(key, _)| key.as_slice() < bound);
            let rows = record.rows[place(start)..place(end)].iter();
            let rows: Layer<'a> =
                Box::new(rows.map(|(key, value)| (key.as_slice(), value.as_deref(), record.index)));
            layers.push(rows.peekable());
        }
        layers.retain_mut(|layer| layer.peek().is_some());
        Merged { layers }
    }
}

type Layer<'a> = Box<dyn Iterator<Item = Fresh<'a>> + 'a>;

/// Layers as one: the newest first, and it wins.
struct Merged<'a> {
    layers: Vec<Peekable<Layer<'a>>>,
}

impl<'a> Iterator for Merged<'a> {
    type Item = Fresh<'a>;

    fn next(&mut self) -> Option<Fresh<'a>> {
        let key = self
            .layers
            .iter_mut()
            .filter_map(|layer| layer.peek().map(|row| row.0))
            .min()?;
        let mut newest = None;
        for layer in &mut self.layers {
            let row = layer.next_if(|row| row.0 == key);
            newest = newest.or(row);
        }
        newest
    }
}

impl View for Overlay {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.fresh(key) {
            Some((value, index)) => {
                self.note(index);
                Ok(value.map(<[u8]>::to_vec))
            }
            None => self.store.get(key),
        }
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ViewError> {
        if start >= end {
            return Ok(());
        }
        let mut fresh = self.fresh_range(start, end).peekable();
        if fresh.peek().is_none() {
            return self.store.scan(start, end, visit);
        }
        let mut stopped = false;
        self.store.scan(start, end, &mut |key, value| {
            while let Some((own, row, index)) = fresh.next_if(|(own, ..)| *own < key) {
                self.note(index);
                if let Some(value) = row
                    && visit(own, value).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            let flow = match fresh.next_if(|(own, ..)| *own == key) {
                Some((own, row, index)) => {
                    self.note(index);
                    row.map_or(ControlFlow::Continue(()), |value| visit(own, value))
                }
                None => visit(key, value),
            };
            stopped = flow.is_break();
            flow
        })?;
        for (own, row, index) in fresh {
            if stopped {
                break;
            }
            self.note(index);
            if let Some(value) = row {
                stopped = visit(own, value).is_break();
            }
        }
        Ok(())
    }
}
