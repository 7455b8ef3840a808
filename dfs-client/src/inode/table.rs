//! The inodes that this client knows, by number.

use super::Inode;
use dfs_core::ids::Ino;
use dfs_core::types::LeaseMode;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHARDS: usize = 64;
/// Inodes that nobody refers to are dropped when more than this are known: about a hundred megabytes.
const IDLE_MAX: usize = 100_000;
/// About how many leases one sweep gives back: each is a message and its confirmation.
const SWEEP_MAX: usize = 4096;

pub(crate) struct Table {
    shards: Vec<Mutex<HashMap<Ino, Arc<Inode>>>>,
    count: AtomicUsize,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
        }
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

    /// The kernel forgets `count` lookups. An inode that nobody needs goes, unless a lease keeps what is known of
    /// it true: it may be wanted again. Whether it is to be released now.
    pub fn forget(&self, ino: Ino, count: u64, confirmed: u64) -> bool {
        let mut shard = self.shard(ino).lock();
        let Some(inode) = shard.get(&ino) else {
            return false;
        };
        let (gone, due) = {
            let mut state = inode.state.lock();
            state.lookups = state.lookups.saturating_sub(count);
            let worthless = state.lease == LeaseMode::None || state.attr.is_none_or(|attr| attr.nlink == 0);
            let gone = state.is_idle(confirmed) && worthless && Arc::strong_count(inode) == 1;
            (gone, state.owes_release())
        };
        if gone {
            shard.remove(&ino);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        due
    }

    /// Drops idle inodes when there are too many: those whose leases are to be given back.
    pub fn sweep(&self, confirmed: u64) -> Vec<Ino> {
        let mut leased = Vec::new();
        for shard in &self.shards {
            if self.count.load(Ordering::Relaxed) <= IDLE_MAX || leased.len() >= SWEEP_MAX {
                break;
            }
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|ino, inode| {
                let state = inode.state.lock();
                let kept = Arc::strong_count(inode) > 1 || !state.is_idle(confirmed);
                if !kept && state.lease > LeaseMode::None {
                    leased.push(*ino);
                }
                kept
            });
            self.count.fetch_sub(before - shard.len(), Ordering::Relaxed);
        }
        leased
    }

    /// Every inode known at some moment of the call.
    /// How many are known.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn all(&self) -> Vec<Arc<Inode>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }
}
