//! A log in memory: the twin of `FileLog` in tests. It keeps encoded records, so that what it returns went
//! through the same bytes.

use super::{LogError, MetadataLog, check_order};
use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Records in order; `first` is the index of the front one.
pub struct MemoryLog {
    records: VecDeque<Record>,
    first: Index,
    term: Term,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> MemoryLog {
        MemoryLog {
            records: VecDeque::new(),
            first: Index(1),
            term: Term(0),
        }
    }
}

impl MetadataLog for MemoryLog {
    fn first(&self) -> Index {
        self.first
    }

    fn last(&self) -> Index {
        Index(self.first.0 + self.records.len() as u64 - 1)
    }

    fn term(&self) -> Term {
        self.term
    }

    fn append(&mut self, records: &[&Record]) -> Result<(), LogError> {
        check_order(self.last(), self.term, records)?;
        for record in records {
            self.term = record.term;
            self.records.push_back((*record).clone());
        }
        Ok(())
    }

    fn read_from(
        &self,
        index: Index,
        visit: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        if index < self.first {
            return Err(LogError::Trimmed {
                wanted: index,
                first: self.first,
            });
        }
        for record in self.records.iter().skip((index.0 - self.first.0) as usize) {
            if visit(record.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn trim(&mut self, up_to: Index) -> Result<(), LogError> {
        while self.first <= up_to && self.records.len() > 1 {
            self.records.pop_front();
            self.first = self.first.next();
        }
        Ok(())
    }
}
