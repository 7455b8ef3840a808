//! What an operation reads and what it leaves: an ordered key-value view below, effects above.
//! `namespace::execute` works between the two; coordinator, client and model implement [`View`].

use crate::error::FsResult;
use crate::ids::{Ino, SessionId, SetId};
use crate::op::Reply;
use crate::types::{Timestamp, VolumeUsage};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::{Bound, ControlFlow};

/// The store below failed or holds a row that cannot be read. Fatal for the process that meets it: it stops
/// rather than guesses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    #[error("the state store failed: {0}")]
    Store(String),
    #[error("row {key} is damaged: {reason}; rebuild the state from checkpoint and log")]
    Damaged { key: String, reason: String },
}

/// An ordered map of rows at one moment.
pub trait View {
    /// The row with this key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError>;

    /// Visits the rows with `start <= key < end` in key order until the visitor breaks.
    #[expect(
        clippy::type_complexity,
        reason = "a name for the visitor would fix its lifetime for all implementors"
    )]
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ViewError>;
}

/// The change that an operation makes: each key's new value, `None` for deleted; and what it adds to the
/// volume's counters (kept apart so that operations on different inodes touch no common row).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub inodes: i64,
    pub bytes: i64,
}

impl Effects {
    /// Whether the operation changed nothing.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.inodes == 0 && self.bytes == 0
    }
}

/// A volume's rows in memory: the twin of the coordinator's store, for tests and models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Sums of what the applied effects added.
    pub inodes: i64,
    pub bytes: i64,
}

impl MemoryView {
    /// Makes the effects part of the view.
    pub fn apply(&mut self, effects: &Effects) {
        for (key, value) in &effects.rows {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        self.inodes += effects.inodes;
        self.bytes += effects.bytes;
    }
}

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.rows.get(key).cloned())
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
        for (key, value) in self
            .rows
            .range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)))
        {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Who holds an inode open, as the owner of the leases knows it. The last unlink asks, so that an open file
/// becomes an orphan instead of disappearing.
pub trait Opens: Debug {
    /// The sessions that hold the inode open.
    fn holders_open(&self, ino: Ino) -> Vec<SessionId>;
}

/// Nobody holds anything open: for callers that have no leases.
#[derive(Clone, Copy, Debug)]
pub struct NoOpens;

impl Opens for NoOpens {
    fn holders_open(&self, _ino: Ino) -> Vec<SessionId> {
        Vec::new()
    }
}

/// What an operation needs from outside: time, identity, fresh identifiers.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub now: Timestamp,
    pub session: SessionId,
    /// A number never used before; used if the operation makes an inode.
    pub fresh_ino: Ino,
    /// The set that new chunk ids come from; `None` when no set can take data.
    pub set: Option<SetId>,
    /// For `StatFs` and for refusing growth when nothing is left.
    pub usage: VolumeUsage,
    /// Who holds inodes open: the coordinator's `LeaseTable`, or [`NoOpens`].
    pub opens: &'a dyn Opens,
    /// Whether directories' sums are kept with what is changed: where the whole volume is known.
    pub counts: bool,
}

/// What came of an operation: `effects` is empty when `result` is an error or the operation only asked.
/// `reads` and `writes` are the inodes whose leases the operation concerns.
#[derive(Clone, Debug)]
pub struct Execution {
    pub result: FsResult<Reply>,
    pub effects: Effects,
    pub reads: BTreeSet<Ino>,
    pub writes: BTreeSet<Ino>,
}
