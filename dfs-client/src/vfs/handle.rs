//! Open files and directories of this mount, by the number that the kernel gives back.

use super::dir::Listing;
use crate::data::Readahead;
use crate::inode::{Content, Inode};
use dfs_core::error::{FsError, FsResult};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARDS: usize = 32;

/// One open file or directory.
pub(super) struct Handle {
    pub inode: Arc<Inode>,
    /// `O_*` as given to open.
    pub flags: i32,
    /// The kernel keeps no pages of what calls read and write through it; mappings have theirs all the same.
    pub direct: bool,
    pub readahead: Mutex<Readahead>,
    /// Losses that this handle has reported.
    pub losses: AtomicU64,
    pub listing: Mutex<Listing>,
}

impl Handle {
    pub fn new(inode: Arc<Inode>, flags: i32, direct: bool, losses: u64) -> Handle {
        Handle {
            inode,
            flags,
            direct,
            readahead: Mutex::default(),
            losses: AtomicU64::new(losses),
            listing: Mutex::default(),
        }
    }

    /// Whether the kernel's pages may be written through it.
    pub fn writes_pages(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }

    /// Whether something was lost since it was opened that it has not reported.
    pub fn owes_report(&self, content: &Content) -> bool {
        self.losses.load(Ordering::Relaxed) != content.losses
    }

    /// Reports each loss since it was opened once.
    pub fn check_losses(&self, content: &mut Content) -> FsResult<()> {
        if self.losses.swap(content.losses, Ordering::Relaxed) == content.losses {
            return Ok(());
        }
        content.reported = content.losses;
        Err(FsError::Io)
    }
}

pub(super) struct Handles {
    shards: Vec<RwLock<HashMap<u64, Arc<Handle>>>>,
    next: AtomicU64,
}

impl Default for Handles {
    fn default() -> Handles {
        Handles {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            next: AtomicU64::new(1),
        }
    }
}

impl Handles {
    fn shard(&self, fh: u64) -> &RwLock<HashMap<u64, Arc<Handle>>> {
        &self.shards[fh as usize % SHARDS]
    }

    pub fn insert(&self, handle: Handle) -> u64 {
        let fh = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(fh).write().insert(fh, Arc::new(handle));
        fh
    }

    pub fn find(&self, fh: u64) -> FsResult<Arc<Handle>> {
        self.shard(fh).read().get(&fh).cloned().ok_or(FsError::BadHandle)
    }

    pub fn remove(&self, fh: u64) -> Option<Arc<Handle>> {
        self.shard(fh).write().remove(&fh)
    }
}
