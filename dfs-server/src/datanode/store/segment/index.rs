//! Which chunks are here and where, in memory, about 30 bytes each. Rebuilt by the scan at opening.

use super::super::StoreError;
use dfs_core::chunk::CHUNK_MAX;
use dfs_core::chunk::header::{Layout, SLOT_ALIGN, header_len, slot_len};
use dfs_core::ids::{ChunkId, SetId};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A slot: the segment's key, the slot's place in pages, the content's length and, in that number's highest bit, the
/// layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub segment: u32,
    page: u32,
    len_and_layout: u32,
}

const PAGES: u32 = 1 << 31;
const _: () = assert!(CHUNK_MAX < PAGES);

impl Place {
    /// `offset` is a multiple of the slots' alignment and below 16 TiB.
    pub fn new(segment: u32, offset: u64, len: u32, layout: Layout) -> Place {
        let bit = match layout {
            Layout::Blocks => 0,
            Layout::Pages => PAGES,
        };
        Place {
            segment,
            page: (offset / SLOT_ALIGN) as u32,
            len_and_layout: len | bit,
        }
    }

    /// Content bytes.
    pub fn len(&self) -> u32 {
        self.len_and_layout & !PAGES
    }

    pub fn layout(&self) -> Layout {
        match self.len_and_layout & PAGES {
            0 => Layout::Blocks,
            _ => Layout::Pages,
        }
    }

    pub fn offset(&self) -> u64 {
        u64::from(self.page) * SLOT_ALIGN
    }

    /// Where the content begins in the segment.
    pub fn content(&self) -> u64 {
        self.offset() + u64::from(header_len(self.layout(), self.len()))
    }

    pub fn slot(&self) -> u64 {
        slot_len(self.layout(), self.len())
    }
}

#[derive(Default)]
pub struct Index {
    sets: BTreeMap<SetId, BTreeMap<u64, Place>>,
    count: u64,
    /// Chunks that a request is finishing or deleting: others wait and try again.
    claimed: HashSet<ChunkId>,
    /// Copies that a check found bad: out of service.
    distrusted: BTreeSet<ChunkId>,
}

impl Index {
    pub fn get(&self, chunk: ChunkId) -> Option<Place> {
        self.sets.get(&chunk.set)?.get(&chunk.seq).copied()
    }

    pub fn insert(&mut self, chunk: ChunkId, place: Place) -> Option<Place> {
        let old = self.sets.entry(chunk.set).or_default().insert(chunk.seq, place);
        self.count += u64::from(old.is_none());
        self.distrusted.remove(&chunk);
        old
    }

    pub fn remove(&mut self, chunk: ChunkId) -> Option<Place> {
        let old = self.sets.get_mut(&chunk.set)?.remove(&chunk.seq);
        self.count -= u64::from(old.is_some());
        self.distrusted.remove(&chunk);
        old
    }

    pub fn len(&self) -> u64 {
        self.count
    }

    /// At most `limit` chunks after `after`, in order, and whether each is trusted.
    pub fn list(&self, after: Option<ChunkId>, limit: usize) -> Vec<(ChunkId, Place, bool)> {
        let from = after.map_or(SetId(0), |chunk| chunk.set);
        let all = self.sets.range(from..).flat_map(|(set, chunks)| {
            let first = match after {
                Some(chunk) if chunk.set == *set => chunk.seq.checked_add(1),
                _ => Some(0),
            };
            let rest = first.map(|first| chunks.range(first..)).into_iter().flatten();
            rest.map(|(seq, place)| {
                let chunk = ChunkId { set: *set, seq: *seq };
                (chunk, *place, self.is_trusted(chunk))
            })
        });
        all.take(limit).collect()
    }

    /// Claims a chunk for one request; false when another has it.
    pub fn claim(&mut self, chunk: ChunkId) -> bool {
        self.claimed.insert(chunk)
    }

    pub fn unclaim(&mut self, chunk: ChunkId) {
        self.claimed.remove(&chunk);
    }

    pub fn distrust(&mut self, chunk: ChunkId) {
        self.distrusted.insert(chunk);
    }

    pub fn bad(&self, limit: usize) -> Vec<ChunkId> {
        self.distrusted.iter().take(limit).copied().collect()
    }

    pub fn trust(&mut self, chunk: ChunkId) {
        self.distrusted.remove(&chunk);
    }

    pub fn is_trusted(&self, chunk: ChunkId) -> bool {
        !self.distrusted.contains(&chunk)
    }

    pub fn check_trusted(&self, chunk: ChunkId) -> Result<(), StoreError> {
        if self.is_trusted(chunk) {
            return Ok(());
        }
        Err(StoreError::Corrupt {
            chunk,
            reason: "a check found it bad".into(),
        })
    }
}
