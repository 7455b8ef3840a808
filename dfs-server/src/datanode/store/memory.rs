//! A store in memory: the twin of the segment store in tests and simulations. It keeps nothing over a restart.

use super::{Blocks, ChunkStore, ChunkWriter, Held, Pages, StoreError, Usage, Verdict};
use bytes::Bytes;
use dfs_core::chunk::header::{Layout, slot_len};
use dfs_core::chunk::pages::PAGE_SIZE;
use dfs_core::chunk::{Assembly, BLOCK_SIZE, Ended, Refusal, first_bad_block};
use dfs_core::chunk::{sha256 as content_sha256, table_sha256};
use dfs_core::ids::ChunkId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

#[derive(Clone)]
struct Chunk {
    content: Bytes,
    crcs: Vec<u32>,
    pages: Vec<u32>,
    sha256: [u8; 32],
}

#[derive(Default)]
struct State {
    chunks: BTreeMap<ChunkId, Chunk>,
    distrusted: HashSet<ChunkId>,
    /// Slots of chunks that are here, and of those on their way.
    used: u64,
    pending: u64,
    finished: u64,
}

/// Chunks in memory, at most `capacity` bytes of slots.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    capacity: u64,
}

impl MemoryStore {
    pub fn new(capacity: u64) -> MemoryStore {
        MemoryStore {
            state: Arc::default(),
            capacity,
        }
    }

    fn trusted(&self, chunk: ChunkId) -> Result<Chunk, StoreError> {
        let state = self.state.lock();
        let found = state.chunks.get(&chunk).ok_or(StoreError::NotFound(chunk))?;
        if state.distrusted.contains(&chunk) {
            return Err(StoreError::Corrupt {
                chunk,
                reason: "a check found it bad".into(),
            });
        }
        Ok(found.clone())
    }
}

struct Writer {
    state: Arc<Mutex<State>>,
    chunk: ChunkId,
    slot: u64,
    replace: bool,
    assembly: Assembly,
    content: Vec<u8>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.state.lock().pending -= self.slot;
    }
}

impl ChunkWriter for Writer {
    fn write(&mut self, first: u32, content: &[u8], crcs: &[u32]) -> Result<(), StoreError> {
        self.assembly.accept(first, content, crcs)?;
        self.content.extend_from_slice(content);
        Ok(())
    }

    fn finish(mut self: Box<Self>, sha256: &[u8; 32]) -> Result<(), StoreError> {
        let ended = std::mem::replace(&mut self.assembly, Assembly::begin(1)?);
        let Ended {
            crcs,
            pages,
            named_by_table,
        } = ended.finish(sha256)?;
        if !named_by_table && content_sha256(&self.content) != *sha256 {
            return Err(Refusal::BadDigest.into());
        }
        let mut state = self.state.lock();
        let trusted = !self.replace && !state.distrusted.contains(&self.chunk);
        if let Some(old) = state.chunks.get(&self.chunk) {
            match old.sha256 == *sha256 {
                true if trusted => return Ok(()),
                false if trusted => return Err(StoreError::Exists(self.chunk)),
                _ => state.used -= slot_len(Layout::NEW, old.content.len() as u32),
            }
        }
        state.used += self.slot;
        state.finished += 1;
        state.distrusted.remove(&self.chunk);
        let content = std::mem::take(&mut self.content).into();
        state.chunks.insert(
            self.chunk,
            Chunk {
                content,
                crcs,
                pages,
                sha256: *sha256,
            },
        );
        Ok(())
    }
}

impl ChunkStore for MemoryStore {
    fn begin(&self, chunk: ChunkId, len: u32, replace: bool) -> Result<Box<dyn ChunkWriter>, StoreError> {
        let assembly = Assembly::begin(len)?;
        let mut state = self.state.lock();
        let trusted = state.chunks.contains_key(&chunk) && !state.distrusted.contains(&chunk);
        let slot = if trusted && !replace {
            0
        } else {
            slot_len(Layout::NEW, len)
        };
        if state.used + state.pending + slot > self.capacity {
            return Err(StoreError::Full { needed: slot });
        }
        state.pending += slot;
        Ok(Box::new(Writer {
            state: self.state.clone(),
            chunk,
            slot,
            replace,
            assembly,
            content: Vec::new(),
        }))
    }

    fn len(&self, chunk: ChunkId) -> Result<u32, StoreError> {
        self.read(chunk, 0, 0)?;
        let state = self.state.lock();
        let found = state.chunks.get(&chunk).ok_or(StoreError::NotFound(chunk))?;
        Ok(found.content.len() as u32)
    }

    fn read(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Blocks, StoreError> {
        let found = self.trusted(chunk)?;
        let end = first.saturating_add(count).min(found.crcs.len() as u32);
        let first = first.min(end);
        let bytes = |block: u32| (block as usize * BLOCK_SIZE as usize).min(found.content.len());
        Ok(Blocks {
            first,
            payload: found.content.slice(bytes(first)..bytes(end)),
            crcs: found.crcs[first as usize..end as usize].to_vec(),
        })
    }

    fn read_pages(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Pages, StoreError> {
        let found = self.trusted(chunk)?;
        let end = first.saturating_add(count).min(found.pages.len() as u32);
        let first = first.min(end);
        let bytes = |page: u32| (page as usize * PAGE_SIZE as usize).min(found.content.len());
        Ok(Pages {
            first,
            payload: found.content.slice(bytes(first)..bytes(end)),
            crcs: found.pages[first as usize..end as usize].to_vec(),
        })
    }

    fn delete(&self, chunks: &[ChunkId]) -> Vec<(ChunkId, StoreError)> {
        let mut state = self.state.lock();
        for chunk in chunks {
            if let Some(old) = state.chunks.remove(chunk) {
                state.used -= slot_len(Layout::NEW, old.content.len() as u32);
            }
            state.distrusted.remove(chunk);
        }
        Vec::new()
    }

    fn list(&self, after: Option<ChunkId>, limit: usize, brief: bool) -> Vec<Held> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state.lock();
        let held = state.chunks.range((from, Bound::Unbounded)).take(limit);
        held.map(|(&chunk, found)| {
            let len = found.content.len() as u32;
            Held {
                chunk,
                len,
                sha256: (!brief).then_some(found.sha256),
                bad: state.distrusted.contains(&chunk),
            }
        })
        .collect()
    }

    fn bad(&self, limit: usize) -> Vec<ChunkId> {
        let mut all: Vec<ChunkId> = self.state.lock().distrusted.iter().copied().collect();
        all.sort_unstable();
        all.truncate(limit);
        all
    }

    fn verify(&self, chunk: ChunkId) -> Verdict {
        let Some(found) = self.state.lock().chunks.get(&chunk).cloned() else {
            return Verdict::Missing;
        };
        let bad = first_bad_block(0, &found.content, &found.crcs).is_some();
        let by_table = table_sha256(found.content.len() as u32, &found.crcs) == found.sha256;
        if bad || !by_table && content_sha256(&found.content) != found.sha256 {
            self.state.lock().distrusted.insert(chunk);
            return Verdict::Corrupt("its checksums do not match".into());
        }
        self.state.lock().distrusted.remove(&chunk);
        Verdict::Good {
            len: found.content.len() as u32,
            sha256: found.sha256,
        }
    }

    fn usage(&self) -> Usage {
        let state = self.state.lock();
        let free = self.capacity - state.used - state.pending;
        Usage {
            capacity: self.capacity,
            used: state.used,
            free,
            chunks: state.chunks.len() as u64,
        }
    }

    fn syncs(&self) -> u64 {
        self.state.lock().finished
    }

    fn problem(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
impl MemoryStore {
    /// Flips one bit of a stored chunk, as a bad memory would.
    pub fn flip(&self, chunk: ChunkId, byte: usize) {
        let mut state = self.state.lock();
        let found = state.chunks.get_mut(&chunk).expect("is here");
        let mut content = found.content.to_vec();
        content[byte] ^= 1;
        found.content = content.into();
    }
}
