//! Content that is brought into the caches before anybody reads it. Called by `vfs::warm`, in threads that serve the
//! kernel; whoever reads meanwhile shares the fetches.

use super::Data;
use crate::wait::Patience;
use dfs_core::chunk::BLOCK_SIZE;
use dfs_core::error::FsResult;
use dfs_core::ids::ChunkId;
use std::sync::Arc;

/// Bytes of a part of a chunk, by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Warmth {
    /// In a cache before it was asked for.
    pub before: u64,
    /// Now in the cache where they stay.
    pub cached: u64,
}

/// The lowest cache of a mount, which keeps what is warmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    pub capacity: u64,
    /// Blocks that left it for others.
    pub evicted: u64,
    pub on_disk: bool,
}

impl Data {
    /// Where warmed content is kept.
    pub fn store(&self) -> Store {
        match self.disk.as_ref().filter(|disk| disk.works()) {
            Some(disk) => Store {
                capacity: disk.capacity(),
                evicted: disk.evicted(),
                on_disk: true,
            },
            None => Store {
                capacity: self.cache.capacity(),
                evicted: self.cache.evicted(),
                on_disk: false,
            },
        }
    }

    /// Says how much of `len` bytes of the chunk from `offset` on is cached; unless `check`, the rest is fetched first.
    pub fn warm_chunk(
        self: &Arc<Self>,
        chunk: ChunkId,
        (offset, len): (u32, u32),
        check: bool,
        patience: Patience<'_>,
    ) -> FsResult<Warmth> {
        let (first, last) = (offset / BLOCK_SIZE, (offset + len.max(1) - 1) / BLOCK_SIZE);
        let bytes_in = |number: u32| {
            let start = (number * BLOCK_SIZE).max(offset);
            u64::from(((number + 1) * BLOCK_SIZE).min(offset + len) - start)
        };
        let disk = self.disk.as_ref().filter(|disk| disk.works());
        let stays = |number: u32| match disk {
            Some(disk) => disk.contains(&(chunk, number)),
            None => self.cache.contains(&(chunk, number)),
        };
        let known = |number: &u32| stays(*number) || self.cache.contains(&(chunk, *number));
        let before: u64 = (first..=last).filter(known).map(bytes_in).sum();
        if !check {
            let missing: Vec<u32> = (first..=last).filter(|number| !stays(*number)).collect();
            for run in missing.chunk_by(|one, next| one + 1 == *next) {
                let contents = self.whole_blocks(chunk, run[0], run[run.len() - 1], patience)?;
                for (number, content) in (run[0]..).zip(contents) {
                    if let Some(disk) = disk {
                        disk.keep_surely((chunk, number), content, patience)?;
                    }
                }
            }
            if let Some(disk) = disk.filter(|_| !missing.is_empty()) {
                disk.wait_for_writer(patience)?;
            }
        }
        let cached: u64 = (first..=last).filter(|number| stays(*number)).map(bytes_in).sum();
        Ok(Warmth { before, cached })
    }
}
