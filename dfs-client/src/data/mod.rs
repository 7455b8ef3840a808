//! File content between the inodes' state and the datanodes: gathering and flushing of writes, fetching and
//! caching of reads. `vfs` and the recall threads call [`Data`]; it knows no names and no kernel.

mod budget;
mod cache;
mod dense;
pub(crate) mod dirty;
mod disk_cache;
mod download;
mod fetch;
pub(crate) mod flight;
mod flush;
mod levels;
mod pages;
mod pieces;
mod promises;
mod quick;
mod readahead;
mod seal;
mod spread;
pub(crate) mod stock;
mod upload;
mod warm;

pub(crate) use budget::Budget;
pub(crate) use dense::Manner;
pub(crate) use disk_cache::DiskCache;
pub use levels::CacheCounters;
pub(crate) use pieces::{Piece, pieces};
pub(crate) use promises::Promises;
pub(crate) use readahead::Readahead;

use crate::channel::Pool;
use crate::inode::Inode;
use crate::inode::apply::Caches;
use crate::session::Session;
use cache::BlockCache;
use dfs_core::ids::Ino;
use fetch::Fetches;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Chunks sent at a time: enough to keep three disks busy while the next is gathered.
const UPLOADS: usize = 4;

/// The data path of a mount.
pub(crate) struct Data {
    pub session: Arc<Session>,
    pub caches: Arc<Caches>,
    runtime: tokio::runtime::Handle,
    pool: Pool,
    cache: BlockCache,
    /// The level below `cache`, when the mount has one.
    disk: Option<DiskCache>,
    served: levels::Served,
    fetches: Fetches,
    misses: dense::Misses,
    /// Reads that ask a second member may go on at one time.
    hedges: tokio::sync::Semaphore,
    /// Runs of blocks that are fetched ahead of readers at one time, on framed connections.
    ahead: Arc<tokio::sync::Semaphore>,
    /// Inodes with anything that is not committed or told.
    pending: Mutex<HashMap<Ino, Arc<Inode>>>,
    uploads: tokio::sync::Semaphore,
    /// A flight was committed: the next one of its file may be.
    landed: tokio::sync::Notify,
    /// Somebody waits for a flush: failed attempts are repeated at once.
    hurry: tokio::sync::Notify,
    /// Milliseconds after `started` until which the volume counts as full.
    full_until: AtomicU64,
    started: Instant,
    /// How long flushing may fail before it is an error of the file.
    timeout: Duration,
}

impl Data {
    pub fn new(
        session: Arc<Session>,
        caches: Arc<Caches>,
        runtime: tokio::runtime::Handle,
        memory: u64,
        disk: Option<DiskCache>,
        timeout: Duration,
    ) -> Arc<Data> {
        Arc::new(Data {
            session,
            caches,
            runtime,
            pool: Pool::default(),
            cache: BlockCache::new(memory),
            disk,
            served: levels::Served::default(),
            fetches: Fetches::default(),
            misses: dense::Misses::default(),
            hedges: tokio::sync::Semaphore::new(download::HEDGES),
            ahead: Arc::new(tokio::sync::Semaphore::new(quick::AHEAD)),
            pending: Mutex::default(),
            uploads: tokio::sync::Semaphore::new(UPLOADS),
            landed: tokio::sync::Notify::new(),
            hurry: tokio::sync::Notify::new(),
            full_until: AtomicU64::new(0),
            started: Instant::now(),
            timeout,
        })
    }
}
