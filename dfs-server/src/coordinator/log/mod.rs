//! The metadata log: the one ordered history from which everything else follows. Written by the log writer's
//! thread, read at start. `FileLog` keeps it in local files, `EtcdLog` in etcd, `MemoryLog` in memory; all pass `suite`.
//! It knows records, not what rows mean.

mod etcd;
mod etcd_follow;
mod etcd_pace;
mod etcd_read;
#[cfg(test)]
mod etcd_tests;
mod file;
#[cfg(test)]
mod memory;
mod segment;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;

pub use etcd::{EtcdLog, Fence, values};
pub use etcd_follow::EtcdFollower;
pub use etcd_read::record_in_etcd;
pub use file::FileLog;
#[cfg(test)]
pub use memory::MemoryLog;

use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Why the log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the metadata log's disk is full; free space under {0}")]
    Full(PathBuf),
    #[error(
        "the metadata log is damaged at byte {offset} of {file}, where record {index} belongs: {reason}; \
             restore this file from a copy, or start from a checkpoint that is newer"
    )]
    Corrupt {
        file: PathBuf,
        offset: u64,
        index: u64,
        reason: String,
    },
    #[error("{doing} {path}: {error}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("a newer leader (term {newer}) writes this log; this one (term {own}) must stop", newer = newer.0, own = own.0)]
    Fenced { own: Term, newer: Term },
    #[error("record {got} does not follow record {last}: the log has no holes", got = got.0, last = last.0)]
    Gap { last: Index, got: Index },
    #[error("record {wanted} was trimmed; the log begins with {first}", wanted = wanted.0, first = first.0)]
    Trimmed { wanted: Index, first: Index },
    #[error("this coordinator does not lead the volume any more; whoever does goes on with the log")]
    Deposed,
    #[error(transparent)]
    Etcd(#[from] crate::coordinator::etcd::EtcdError),
}

/// One ordered, durable sequence of records without holes. An append whose term is older than the newest
/// record's is refused: a deposed leader cannot write.
pub trait MetadataLog: Send {
    /// The oldest record held; one past the last when none is.
    fn first(&self) -> Index;

    /// The newest record held; 0 in a new log.
    fn last(&self) -> Index;

    /// The newest term seen.
    fn term(&self) -> Term;

    /// Adds records that follow `last`. When it returns they are durable; when it fails, either none is held
    /// or the log has stopped taking records.
    fn append(&mut self, records: &[&Record]) -> Result<(), LogError>;

    /// Visits records from `index` on, in order, until the visitor breaks.
    fn read_from(
        &self,
        index: Index,
        visit: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), LogError>;

    /// Forgets records up to and including `up_to`, as far as that is convenient. Never the last one.
    fn trim(&mut self, up_to: Index) -> Result<(), LogError>;
}

/// The order that every implementation demands of an append.
fn check_order(last: Index, term: Term, records: &[&Record]) -> Result<(), LogError> {
    let mut previous = (last, term);
    for record in records {
        if record.index != previous.0.next() {
            return Err(LogError::Gap {
                last: previous.0,
                got: record.index,
            });
        }
        if record.term < previous.1 {
            return Err(LogError::Fenced {
                own: record.term,
                newer: previous.1,
            });
        }
        previous = (record.index, record.term);
    }
    Ok(())
}
