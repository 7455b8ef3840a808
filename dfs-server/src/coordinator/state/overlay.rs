//! The view in which operations are executed: the store, and above it the effects of records that the store
//! does not have yet. Owned by the executor's thread. It also tells up to which index what was read must be
//! durable before an answer may leave.

use dfs_core::ids::Index;
use dfs_core::record::Record;
use dfs_core::view::{View, ViewError};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

struct Fresh {
    index: Index,
    value: Option<Vec<u8>>,
}

/// Rows over the store; each knows the record that it is part of.
pub struct Overlay {
    store: Box<dyn View + Send>,
    rows: BTreeMap<Vec<u8>, Fresh>,
    /// The highest index of a row seen since `begin_reading`.
    seen: Cell<Index>,
}

impl Overlay {
    pub fn new(store: Box<dyn View + Send>) -> Overlay {
        Overlay {
            store,
            rows: BTreeMap::new(),
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

    /// A row of the record that will have `index`.
    pub fn put(&mut self, index: Index, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.rows.insert(key, Fresh { index, value });
    }

    /// The store has the record now: its rows leave, except those that a later record changed again.
    pub fn applied(&mut self, record: &Record) {
        for (key, _) in &record.rows {
            if self
                .rows
                .get(key)
                .is_some_and(|fresh| fresh.index <= record.index)
            {
                self.rows.remove(key);
            }
        }
    }

    fn note(&self, index: Index) {
        self.seen.set(self.seen.get().max(index));
    }
}

impl View for Overlay {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.rows.get(key) {
            Some(fresh) => {
                self.note(fresh.index);
                Ok(fresh.value.clone())
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
        let mut fresh = self
            .rows
            .range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)))
            .peekable();
        if fresh.peek().is_none() {
            return self.store.scan(start, end, visit);
        }
        let mut stopped = false;
        self.store.scan(start, end, &mut |key, value| {
            while let Some((own, row)) = fresh.next_if(|(own, _)| own.as_slice() < key) {
                self.note(row.index);
                if let Some(value) = &row.value
                    && visit(own, value).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            let flow = match fresh.next_if(|(own, _)| own.as_slice() == key) {
                Some((own, row)) => {
                    self.note(row.index);
                    row.value
                        .as_ref()
                        .map_or(ControlFlow::Continue(()), |value| visit(own, value))
                }
                None => visit(key, value),
            };
            stopped = flow.is_break();
            flow
        })?;
        for (own, row) in fresh {
            if stopped {
                break;
            }
            self.note(row.index);
            if let Some(value) = &row.value {
                stopped = visit(own, value).is_break();
            }
        }
        Ok(())
    }
}
