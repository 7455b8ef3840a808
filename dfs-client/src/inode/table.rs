//! The inodes that this client knows, by number.

use super::Inode;
use dfs_core::ids::Ino;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHARDS: usize = 64;
/// Inodes that nobody refers to are dropped when more than this are known.
const IDLE_MAX: usize = 200_000;

pub(crate) struct Table {
    shards: Vec<Mutex<HashMap<Ino, Arc<Inode>>>>,
    count: AtomicUsize,
}

impl Default for Table {
    fn default() -> Table {
        Table { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), count: AtomicUsize::new(0) }
    }
}

impl Table {
    fn shard(&self, ino: Ino) -> &Mutex<HashMap<Ino, Arc<Inode>>> {
        &self.shards[ino.0 as usize % SHARDS]
    }

    pub fn find(&self, ino: Ino) -> Option<Arc<Inode>> {
        self.shard(ino).lock().get(&ino).cloned()
    }

    /// The inode, entered when it is new.
    pub fn get(&self, ino: Ino) -> Arc<Inode> {
        let mut shard = self.shard(ino).lock();
        let inode = shard.entry(ino).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            Arc::new(Inode::new(ino))
        });
        inode.clone()
    }

    /// The kernel forgets `count` lookups; an inode that nobody needs goes.
    pub fn forget(&self, ino: Ino, count: u64) {
        let mut shard = self.shard(ino).lock();
        let Some(inode) = shard.get(&ino) else { return };
        let gone = {
            let mut state = inode.state.lock();
            state.lookups = state.lookups.saturating_sub(count);
            state.is_idle() && Arc::strong_count(inode) == 1
        };
        if gone {
            shard.remove(&ino);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops idle inodes when there are too many.
    pub fn sweep(&self) {
        if self.count.load(Ordering::Relaxed) <= IDLE_MAX {
            return;
        }
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|_, inode| Arc::strong_count(inode) > 1 || !inode.state.lock().is_idle());
            self.count.fetch_sub(before - shard.len(), Ordering::Relaxed);
        }
    }

    /// Every inode known at some moment of the call.
    pub fn all(&self) -> Vec<Arc<Inode>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }
}
