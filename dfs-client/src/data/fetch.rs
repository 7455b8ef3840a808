//! Blocks on their way from the local disk and from datanodes: whoever needs one that is already asked for waits for the same answer.

use super::Data;
use super::cache::BlockKey;
use super::levels::Served;
use super::pages::PageRead;
use super::quick::Quick;
use crate::figures;
use crate::profile::{Stage, Times};
use crate::wait::Patience;
use bytes::Bytes;
use dfs_core::chunk::BLOCK_SIZE;
use dfs_core::error::FsResult;
use dfs_core::ids::ChunkId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Who brought a block.
#[derive(Clone, Copy, Default)]
pub(super) enum Source {
    /// A datanode, whose disk took so long.
    Datanode(Duration),
    /// The cache on the local disk.
    Cache,
    #[default]
    Nobody,
}

#[derive(Default)]
struct Progress {
    result: Option<FsResult<Bytes>>,
    source: Source,
    waiting: Vec<Thread>,
}

/// One block on its way.
#[derive(Default)]
pub(super) struct Fetch(Mutex<Progress>);

impl Fetch {
    pub fn complete(&self, result: FsResult<Bytes>, source: Source) {
        let mut progress = self.0.lock();
        if progress.result.is_none() {
            progress.result = Some(result);
            progress.source = source;
        }
        progress.waiting.drain(..).for_each(|thread| thread.unpark());
    }

    pub fn is_complete(&self) -> bool {
        self.0.lock().result.is_some()
    }

    /// Where the time of a wait for it went.
    fn spent(&self, wait: Duration) {
        match self.0.lock().source {
            Source::Datanode(disk) => figures::spent(&Times::at_datanode(wait, disk)),
            Source::Cache => figures::spent_in(Stage::Cache, wait),
            Source::Nobody => figures::spent_in(Stage::Network, wait),
        }
    }

    fn wait(&self, patience: Patience<'_>) -> FsResult<Bytes> {
        let me = std::thread::current();
        let _guard = patience.cancel.map(|cancel| {
            let me = me.clone();
            cancel.on_cancel(Box::new(move || me.unpark()))
        });
        loop {
            {
                let mut progress = self.0.lock();
                if let Some(result) = &progress.result {
                    return result.clone();
                }
                if !progress.waiting.iter().any(|thread| thread.id() == me.id()) {
                    progress.waiting.push(me.clone());
                }
            }
            std::thread::park_timeout(patience.left()?);
        }
    }
}

/// The blocks on their way. Bounded by the threads that read and by the read-ahead windows.
#[derive(Default)]
pub(super) struct Fetches(Mutex<HashMap<BlockKey, Arc<Fetch>>>);

impl Fetches {
    pub fn remove(&self, key: &BlockKey) -> Option<Arc<Fetch>> {
        self.0.lock().remove(key)
    }

    pub fn contains(&self, key: &BlockKey) -> bool {
        self.0.lock().contains_key(key)
    }
}

enum Block {
    Ready(Bytes),
    Coming(Arc<Fetch>),
}

impl Data {
    /// Starts to fetch the blocks that hold `len` bytes of the chunk from `offset` on, without waiting.
    pub(super) fn prefetch(self: &Arc<Self>, chunk: ChunkId, offset: u32, len: u32) {
        let (first, last) = blocks_of(offset, len);
        self.request(chunk, first, last, false, &mut Vec::new());
    }

    /// `len` bytes of the chunk from `offset` on, as slices. With `pages`, only the pages that hold them, where that can be.
    pub fn read_chunk(self: &Arc<Self>, chunk: ChunkId, offset: u32, len: u32, pages: bool) -> ChunkRead {
        let (first, last) = blocks_of(offset, len);
        let mut read = ChunkRead {
            chunk,
            passing: false,
            offset,
            len,
            first,
            pages: None,
            content: None,
            blocks: Vec::new(),
            quick: Vec::new(),
        };
        read.pages = pages.then(|| self.ask_pages(chunk, offset, len)).flatten();
        if read.pages.is_none() {
            read.blocks = self.request(chunk, first, last, true, &mut read.quick);
        }
        read
    }

    /// The blocks `first..=last` of the chunk, whole.
    pub(super) fn whole_blocks(
        self: &Arc<Self>,
        chunk: ChunkId,
        first: u32,
        last: u32,
        patience: Patience<'_>,
    ) -> FsResult<Vec<Bytes>> {
        let content = |block| match block {
            Block::Ready(content) => Ok(content),
            Block::Coming(fetch) => fetch.wait(patience),
        };
        let mut quick = Vec::new();
        let blocks = self.request(chunk, first, last, true, &mut quick);
        quick.into_iter().for_each(Quick::settle);
        blocks.into_iter().map(content).collect()
    }

    /// Looks the blocks up and asks for those that are neither here nor on their way. Those that are wanted may go the
    /// quick way.
    fn request(
        self: &Arc<Self>,
        chunk: ChunkId,
        first: u32,
        last: u32,
        wanted: bool,
        quick: &mut Vec<Quick>,
    ) -> Vec<Block> {
        let mut blocks = Vec::with_capacity(if wanted { (last - first) as usize + 1 } else { 0 });
        let mut missing: Vec<(u32, Arc<Fetch>)> = Vec::new();
        for number in first..=last {
            let key = (chunk, number);
            if !wanted && self.cache.contains(&key) {
                continue;
            }
            if let Some(content) = wanted.then(|| self.cache.get(&key)).flatten() {
                Served::count(&self.served.memory, &content);
                blocks.push(Block::Ready(content));
                continue;
            }
            let mut fetches = self.fetches.0.lock();
            let fetch = match fetches.get(&key) {
                Some(fetch) => fetch.clone(),
                None => {
                    let fetch = Arc::new(Fetch::default());
                    fetches.insert(key, fetch.clone());
                    missing.push((number, fetch.clone()));
                    fetch
                }
            };
            if wanted {
                blocks.push(Block::Coming(fetch));
            }
        }
        for run in missing.chunk_by(|one, next| one.0 + 1 == next.0) {
            let fetches = run.iter().map(|(_, fetch)| fetch.clone()).collect();
            if !wanted {
                self.runtime
                    .spawn(self.clone().bring_ahead(chunk, run[0].0, fetches));
                continue;
            }
            match self.ask_quickly(chunk, run[0].0, fetches) {
                Ok(asked) => quick.push(asked),
                Err(fetches) => {
                    self.runtime.spawn(self.clone().bring(chunk, run[0].0, fetches));
                }
            }
        }
        blocks
    }
}

/// A read of part of a chunk that is under way.
pub(crate) struct ChunkRead {
    chunk: ChunkId,
    /// Read in passing, and kept by the kernel: a block that was read whole need not be kept twice.
    pub passing: bool,
    offset: u32,
    len: u32,
    first: u32,
    /// Instead of blocks.
    pages: Option<PageRead>,
    /// All of it, when it came as pages.
    content: Option<Bytes>,
    blocks: Vec<Block>,
    quick: Vec<Quick>,
}

impl ChunkRead {
    /// Whether something of it has to come first, in blocks.
    pub fn is_missing(&self) -> bool {
        let coming = |block: &Block| matches!(block, Block::Coming(_));
        self.blocks.iter().any(coming)
    }

    /// Takes what this thread asked for itself. To be called for all reads of a call before any is finished: others may
    /// wait for these blocks while this thread waits for theirs.
    pub fn settle(&mut self, data: &Arc<Data>) {
        if let Some(asked) = self.pages.take() {
            self.content = asked.settle();
            if self.content.is_none() {
                let (first, last) = blocks_of(self.offset, self.len);
                self.blocks = data.request(self.chunk, first, last, true, &mut self.quick);
            }
        }
        self.quick.drain(..).for_each(Quick::settle);
    }

    /// Waits for the content: slices in order.
    pub fn finish(mut self, data: &Arc<Data>, patience: Patience<'_>, out: &mut Vec<Bytes>) -> FsResult<()> {
        self.settle(data);
        out.extend(self.content.take());
        let end = self.offset + self.len;
        for (number, block) in (self.first..).zip(self.blocks) {
            let content = match block {
                Block::Ready(content) => content,
                Block::Coming(fetch) => {
                    let begun = Instant::now();
                    let content = fetch.wait(patience);
                    figures::waited("datanodes", begun, String::new);
                    fetch.spent(begun.elapsed());
                    content?
                }
            };
            let start = number * BLOCK_SIZE;
            let from = self.offset.saturating_sub(start) as usize;
            let to = (end - start).min(BLOCK_SIZE) as usize;
            if to > content.len() {
                tracing::error!(
                    block = number,
                    "a chunk is shorter than the extent that points into it"
                );
                return Err(dfs_core::error::FsError::Io);
            }
            // One that was read in part may have something of another file in it.
            if self.passing && from == 0 && to == content.len() {
                data.cache.remove(&(self.chunk, number));
            }
            out.push(content.slice(from..to));
        }
        Ok(())
    }
}

/// The first and the last block that hold `len` bytes from `offset` on.
pub(super) fn blocks_of(offset: u32, len: u32) -> (u32, u32) {
    (offset / BLOCK_SIZE, (offset + len.max(1) - 1) / BLOCK_SIZE)
}
