//! The twin of the coordinator's store: rows and the applied index in memory, shared between the executor that
//! reads and the writer that applies. What a process that dies leaves behind.

use dfs_core::ids::Index;
use dfs_core::record::Record;
use dfs_core::view::{View, ViewError};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

#[derive(Default)]
struct Rows {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    applied: Index,
}

#[derive(Clone, Default)]
pub struct SharedRows(Arc<RwLock<Rows>>);

impl SharedRows {
    pub fn applied(&self) -> Index {
        self.0.read_recursive().applied
    }

    /// All rows at this moment, and the record that they are of.
    pub fn moment(&self) -> (Index, BTreeMap<Vec<u8>, Vec<u8>>) {
        let own = self.0.read_recursive();
        (own.applied, own.rows.clone())
    }

    /// From now on these.
    pub fn restore(&self, applied: Index, rows: BTreeMap<Vec<u8>, Vec<u8>>) {
        *self.0.write() = Rows { rows, applied };
    }

    pub fn are(&self, rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
        self.0.read_recursive().rows == *rows
    }

    pub fn apply(&self, record: &Record) {
        let mut own = self.0.write();
        for (key, value) in &record.rows {
            match value {
                Some(value) => own.rows.insert(key.clone(), value.clone()),
                None => own.rows.remove(key),
            };
        }
        own.applied = record.index;
    }
}

impl View for SharedRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.0.read_recursive().rows.get(key).cloned())
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
        let own = self.0.read_recursive();
        for (key, value) in own.rows.range(start.to_vec()..end.to_vec()) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
