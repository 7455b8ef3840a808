//! From which level a block comes: memory, the local disk, a datanode; and what is put into which on the way.

use super::Data;
use super::cache::BlockKey;
use super::fetch::{Fetch, Source};
use super::seal::Batch;
use bytes::Bytes;
use dfs_core::chunk::BLOCK_SIZE;
use dfs_core::ids::ChunkId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A disk that has not answered by then is slower than any datanode.
const DISK_LIMIT: Duration = Duration::from_secs(1);

/// Bytes of blocks by where they came from.
#[derive(Default)]
pub(super) struct Served {
    pub memory: AtomicU64,
    pub disk: AtomicU64,
    pub datanodes: AtomicU64,
}

impl Served {
    pub fn count(level: &AtomicU64, content: &Bytes) {
        level.fetch_add(content.len() as u64, Ordering::Relaxed);
    }
}

/// How the caches of content have done since the mount started. Whole blocks are counted, as they are kept, and
/// pages where only those were fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Bytes that readers found in memory.
    pub memory_hit_bytes: u64,
    /// Bytes that were not in memory and came from the disk cache, for readers and ahead of them.
    pub disk_hit_bytes: u64,
    /// Bytes that neither had and datanodes sent.
    pub miss_bytes: u64,
    /// Blocks in the disk cache now.
    pub disk_blocks: u64,
    pub disk_written_bytes: u64,
    /// Not kept, because the disk did not keep up.
    pub disk_dropped_bytes: u64,
    pub disk_evicted_blocks: u64,
    /// Found not to match their checksums.
    pub disk_bad_blocks: u64,
}

type Numbered = (u32, Arc<Fetch>);

impl Data {
    /// Brings `fetches`, consecutive blocks from `first` on, to completion.
    pub(super) async fn bring(self: Arc<Self>, chunk: ChunkId, first: u32, fetches: Vec<Arc<Fetch>>) {
        let Some(disk) = &self.disk else {
            return self.download(chunk, first, fetches).await;
        };
        let numbered = (first..).zip(fetches);
        let (kept, absent): (Vec<Numbered>, Vec<Numbered>) =
            numbered.partition(|(number, _)| disk.contains(&(chunk, *number)));
        self.download_all(chunk, absent);
        if kept.is_empty() {
            return;
        }
        let left = self.clone().from_disk(chunk, kept).await;
        self.download_all(chunk, left);
    }

    fn download_all(self: &Arc<Self>, chunk: ChunkId, blocks: Vec<Numbered>) {
        for run in blocks.chunk_by(|one, next| one.0 + 1 == next.0) {
            let fetches = run.iter().map(|(_, fetch)| fetch.clone()).collect();
            self.runtime
                .spawn(self.clone().download(chunk, run[0].0, fetches));
        }
    }

    /// Reads blocks from the local disk: those that datanodes must be asked for.
    async fn from_disk(self: Arc<Self>, chunk: ChunkId, blocks: Vec<Numbered>) -> Vec<Numbered> {
        let Some(permit) = self.disk.as_ref().and_then(|disk| disk.admit()) else {
            return blocks;
        };
        let (data, asked) = (self.clone(), blocks.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            for (number, fetch) in asked {
                data.take_from_disk(chunk, number, &fetch);
            }
        });
        if tokio::time::timeout(DISK_LIMIT, reading).await.is_err()
            && let Some(disk) = &self.disk
        {
            disk.rest();
        }
        blocks
            .into_iter()
            .filter(|(_, fetch)| !fetch.is_complete())
            .collect()
    }

    fn take_from_disk(&self, chunk: ChunkId, number: u32, fetch: &Fetch) {
        let key = (chunk, number);
        let Some(content) = self.disk.as_ref().and_then(|disk| disk.read(&key)) else {
            return;
        };
        if fetch.is_complete() {
            return;
        }
        Served::count(&self.served.disk, &content);
        self.cache.insert(key, content.clone());
        self.fetches.remove(&key);
        fetch.complete(Ok(content), Source::Cache);
    }

    /// A block that a datanode sent, whose disk took so long.
    pub(super) fn take_from_datanode(
        &self,
        (chunk, number): BlockKey,
        content: Bytes,
        disk_time: Duration,
        fetch: &Fetch,
    ) {
        let key = (chunk, number);
        Served::count(&self.served.datanodes, &content);
        if let Some(disk) = &self.disk {
            disk.keep(key, content.clone());
        }
        self.cache.insert(key, content.clone());
        self.fetches.remove(&key);
        fetch.complete(Ok(content), Source::Datanode(disk_time));
    }

    /// What was just uploaded is likely to be read: it is kept before the commit takes it out of the layers above.
    pub(super) fn keep(&self, chunk: ChunkId, batch: &Batch) {
        for (number, content) in (0..).zip(batch.pieces(BLOCK_SIZE as usize)) {
            if let Some(disk) = &self.disk {
                disk.keep((chunk, number), content.clone());
            }
            self.cache.insert_slice((chunk, number), content);
        }
    }

    /// Nothing is kept from now on; what waits is written.
    pub fn close_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.close();
        }
    }

    pub fn counters(&self) -> CacheCounters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut counters = CacheCounters {
            memory_hit_bytes: count(&self.served.memory),
            disk_hit_bytes: count(&self.served.disk),
            miss_bytes: count(&self.served.datanodes),
            ..CacheCounters::default()
        };
        if let Some(disk) = &self.disk {
            let happened = disk.happened();
            counters.disk_blocks = disk.blocks() as u64;
            counters.disk_written_bytes = count(&happened.written_bytes);
            counters.disk_dropped_bytes = count(&happened.dropped_bytes);
            counters.disk_evicted_blocks = count(&happened.evicted_blocks);
            counters.disk_bad_blocks = count(&happened.bad_blocks);
        }
        counters
    }
}
