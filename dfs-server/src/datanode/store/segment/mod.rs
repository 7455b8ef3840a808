//! The store on a local disk: chunks in preallocated segment files, one run of segments for each replica set,
//! in nested directories. One `fdatasync` makes a whole group of chunks durable; opening is a scan; deleting
//! marks the slot and punches a hole. What runs on the service's side is `ChunkStore`; the parts are here.

mod create;
mod dead;
mod delete;
mod direct;
mod duplicates;
mod file;
mod finish;
mod index;
mod locate;
mod open;
mod open_files;
mod pages;
mod put;
mod read;
mod scan;
mod space;
mod sync;
#[cfg(test)]
mod tests;

use super::{Blocks, ChunkStore, ChunkWriter, Held, Located, Pages, StoreError, Usage, Verdict};
use crate::datanode::buffers::Buffers;
use dfs_core::ids::{ChunkId, SetId};
use file::Segment;
use index::Index;
use open_files::OpenFiles;
use parking_lot::{Mutex, RwLock};
use space::Space;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Long enough that creating one (two syncs) does not show, short enough to be verified quickly after a crash.
pub const SEGMENT_SIZE: u64 = 64 * 1024 * 1024;

/// How a segment store uses its disk.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes that chunks may take; absent: what the disk has.
    pub capacity: Option<u64>,
    /// Bytes of the disk left alone, so that deletes and the system's own work go on when the store is full.
    pub reserve: u64,
    /// Stores that share this disk: each counts its part of what is free.
    pub sharers: u64,
    pub segment_size: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            capacity: None,
            reserve: 0,
            sharers: 1,
            segment_size: SEGMENT_SIZE,
        }
    }
}

/// Chunks in segment files below one directory.
pub struct SegmentStore(Arc<Inner>);

/// The owner of everything that the store knows; each transition is in a file of its own.
struct Inner {
    root: PathBuf,
    settings: Settings,
    files: OpenFiles,
    space: Space,
    /// Which chunks are here, and where.
    index: RwLock<Index>,
    segments: RwLock<HashMap<u32, Arc<Segment>>>,
    /// The segment that each set writes to; creation is under the set's own lock.
    sets: Mutex<HashMap<SetId, Arc<Mutex<Writing>>>>,
    /// The next key of a segment in this process.
    next_key: AtomicU64,
    syncs: AtomicU64,
    buffers: Arc<Buffers>,
    /// What was found broken, for the operator.
    problems: Mutex<Vec<String>>,
}

/// Where a set's next chunk goes.
#[derive(Default)]
struct Writing {
    active: Option<Arc<Segment>>,
    /// The number in the next segment's name.
    next_number: u64,
}

/// Problems kept in words; more are only counted in the log.
const PROBLEMS_MAX: usize = 64;

impl SegmentStore {
    /// Opens the store below `root`, which exists, and finds by scan what it holds.
    pub fn open(root: &Path, settings: Settings) -> Result<SegmentStore, StoreError> {
        open::open(root, settings).map(|inner| SegmentStore(Arc::new(inner)))
    }
}

impl Inner {
    fn segment(&self, key: u32) -> Result<Arc<Segment>, StoreError> {
        let found = self.segments.read().get(&key).cloned();
        found.ok_or_else(|| StoreError::Io(format!("segment {key} is gone: it was deleted meanwhile")))
    }

    fn report(&self, problem: String) {
        tracing::error!(%problem, "chunk store");
        let mut problems = self.problems.lock();
        if problems.len() < PROBLEMS_MAX {
            problems.push(problem);
        }
    }
}

impl ChunkStore for SegmentStore {
    fn begin(&self, chunk: ChunkId, len: u32, replace: bool) -> Result<Box<dyn ChunkWriter>, StoreError> {
        put::begin(&self.0, chunk, len, replace)
    }

    fn len(&self, chunk: ChunkId) -> Result<u32, StoreError> {
        let index = self.0.index.read();
        let place = index.get(chunk).ok_or(StoreError::NotFound(chunk))?;
        index.check_trusted(chunk)?;
        Ok(place.len())
    }

    fn read(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Blocks, StoreError> {
        self.0.read(chunk, first, count)
    }

    fn locate(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Located, StoreError> {
        locate::locate(&self.0, chunk, first, count)
    }

    fn read_pages(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Pages, StoreError> {
        self.0.read_pages(chunk, first, count)
    }

    fn delete(&self, chunks: &[ChunkId]) -> Vec<(ChunkId, StoreError)> {
        self.0.delete(chunks)
    }

    fn list(&self, after: Option<ChunkId>, limit: usize, brief: bool) -> Vec<Held> {
        self.0.list(after, limit, brief)
    }

    fn bad(&self, limit: usize) -> Vec<ChunkId> {
        self.0.index.read().bad(limit)
    }

    fn verify(&self, chunk: ChunkId) -> Verdict {
        self.0.verify(chunk)
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }

    fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::Relaxed)
    }

    fn problem(&self) -> Option<String> {
        let problems = self.0.problems.lock();
        problems.first().map(|first| match problems.len() {
            1 => first.clone(),
            more => format!("{first} (and {} more)", more - 1),
        })
    }
}
