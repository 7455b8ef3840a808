//! Blocks of chunks in memory, bounded. Chunks are immutable, so that nothing here ever becomes stale.

use bytes::Bytes;
use dfs_core::ids::ChunkId;
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARDS: usize = 16;
/// What an entry costs beside its content.
const OVERHEAD: u64 = 128;

/// A block: its chunk and its number in it.
pub(crate) type BlockKey = (ChunkId, u32);

struct Block {
    content: Bytes,
    /// It may be a slice of something larger, which stays in memory with it.
    slice: bool,
}

struct Shard {
    blocks: LruCache<BlockKey, Block>,
    bytes: u64,
}

pub(crate) struct BlockCache {
    shards: Vec<Mutex<Shard>>,
    shard_bytes: u64,
    evicted: AtomicU64,
}

impl BlockCache {
    /// A cache of at most `bytes`.
    pub fn new(bytes: u64) -> BlockCache {
        let shard = || {
            Mutex::new(Shard {
                blocks: LruCache::unbounded(),
                bytes: 0,
            })
        };
        BlockCache {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            shard_bytes: bytes / SHARDS as u64,
            evicted: AtomicU64::new(0),
        }
    }

    /// Blocks that had to make room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Most bytes held.
    pub fn capacity(&self) -> u64 {
        self.shard_bytes * SHARDS as u64
    }

    fn shard(&self, key: &BlockKey) -> &Mutex<Shard> {
        // Neighbouring blocks go to different shards: a sequential reader meets no lock twice in a row.
        let place = key.0.seq.wrapping_mul(31).wrapping_add(u64::from(key.1));
        &self.shards[place as usize % SHARDS]
    }

    pub fn get(&self, key: &BlockKey) -> Option<Bytes> {
        let mut shard = self.shard(key).lock();
        let block = shard.blocks.get_mut(key)?;
        if std::mem::take(&mut block.slice) {
            // From now on it may outlive its neighbours for long.
            block.content = Bytes::copy_from_slice(&block.content);
        }
        Some(block.content.clone())
    }

    pub fn contains(&self, key: &BlockKey) -> bool {
        self.shard(key).lock().blocks.contains(key)
    }

    /// Forgets a block that nobody is likely to ask for again.
    pub fn remove(&self, key: &BlockKey) {
        let mut shard = self.shard(key).lock();
        if let Some(old) = shard.blocks.pop(key) {
            shard.bytes -= old.content.len() as u64 + OVERHEAD;
        }
    }

    /// Keeps a block. The content must not be a slice of something larger, which would stay in memory with it.
    pub fn insert(&self, key: BlockKey, content: Bytes) {
        self.put(
            key,
            Block {
                content,
                slice: false,
            },
        );
    }

    /// Keeps a block that may be a slice. Its neighbours, kept with it, go at about the same time; once it is read it gets
    /// memory of its own.
    pub fn insert_slice(&self, key: BlockKey, content: Bytes) {
        self.put(key, Block { content, slice: true });
    }

    fn put(&self, key: BlockKey, block: Block) {
        let mut shard = self.shard(&key).lock();
        shard.bytes += block.content.len() as u64 + OVERHEAD;
        if let Some(old) = shard.blocks.put(key, block) {
            shard.bytes -= old.content.len() as u64 + OVERHEAD;
        }
        while shard.bytes > self.shard_bytes {
            let Some((_, oldest)) = shard.blocks.pop_lru() else {
                break;
            };
            shard.bytes -= oldest.content.len() as u64 + OVERHEAD;
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::ids::SetId;

    fn key(seq: u64, block: u32) -> BlockKey {
        (ChunkId { set: SetId(1), seq }, block)
    }

    #[test]
    fn it_stays_within_its_bounds_and_keeps_what_is_used() {
        let cache = BlockCache::new(1 << 20);
        for seq in 0..100 {
            for block in 0..4 {
                cache.insert(key(seq, block), Bytes::from(vec![seq as u8; 10_000]));
                assert!(cache.bytes() <= cache.capacity());
            }
            cache.get(&key(0, 0));
        }
        assert!(cache.get(&key(0, 0)).is_some_and(|content| content[0] == 0));
        assert!(!cache.contains(&key(1, 1)));
        assert!(cache.contains(&key(99, 3)));
    }

    #[test]
    fn a_slice_that_was_read_does_not_keep_the_rest() {
        let cache = BlockCache::new(1 << 20);
        let whole = Bytes::from(vec![7; 1000]);
        cache.insert_slice(key(1, 1), whole.slice(..100));
        assert!(!whole.is_unique());
        assert_eq!(cache.get(&key(1, 1)).unwrap(), whole.slice(..100));
        assert!(whole.is_unique());
        assert_eq!(cache.bytes(), 100 + OVERHEAD);
    }

    #[test]
    fn what_is_removed_takes_no_room() {
        let cache = BlockCache::new(1 << 20);
        cache.insert(key(1, 1), Bytes::from(vec![1; 100]));
        cache.remove(&key(1, 2));
        assert!(cache.contains(&key(1, 1)));
        cache.remove(&key(1, 1));
        assert!(!cache.contains(&key(1, 1)));
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn a_block_kept_twice_counts_once() {
        let cache = BlockCache::new(1 << 20);
        cache.insert(key(1, 1), Bytes::from(vec![1; 100]));
        cache.insert(key(1, 1), Bytes::from(vec![1; 100]));
        assert_eq!(cache.bytes(), 100 + OVERHEAD);
    }
}
