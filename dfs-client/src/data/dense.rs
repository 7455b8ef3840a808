//! Parts of files that are read at random all over: what is missing of one comes at once, in order, when its blocks have taken
//! as long one by one as the whole part takes. Whatever the reader does next, that costs at most twice what was necessary.

use super::{Data, Readahead, pieces};
use crate::inode::Inode;
use dfs_core::ids::Ino;
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Parts begin at multiples of this: as chunks do, in a file that was written in order.
const PART: u64 = 8 << 20;
/// Reads in one part that had to wait for a block. A block takes 0.3 to 0.6 ms on its own, 8 MiB in order about 10 ms.
const MISSES: u32 = 16;
/// A part with more extents was itself written at random; it would not come in order.
const EXTENTS: usize = 32;
/// Parts that are counted, the latest ones. As long as one is among them it comes whole once at most: if its blocks had to
/// go again, the cache has too little room for it.
const COUNTED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How a read is served best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// By blocks.
    Blocks,
    /// At random in a file that the cache can hold: by blocks, and by whole parts where many are missing.
    Dense,
    /// At random in a file that is so large that a block would hardly be hit again: only the pages that are wanted.
    Pages,
}

/// How often readers at random had to wait, in which part of which file.
pub(super) struct Misses(Mutex<LruCache<(Ino, u64), u32>>);

impl Default for Misses {
    fn default() -> Misses {
        Misses(Mutex::new(LruCache::new(COUNTED)))
    }
}

impl Misses {
    /// Counts one; whether the part should come whole now. While there is no `room` for that it is put off.
    fn count(&self, ino: Ino, part: u64, room: bool) -> bool {
        let mut counts = self.0.lock();
        let count = counts.get_or_insert_mut((ino, part), || 0);
        if *count + 1 == MISSES && !room {
            return false;
        }
        *count = count.saturating_add(1);
        *count == MISSES
    }
}

impl Data {
    /// How the next read of the file is to be served. `into_pages`: the kernel keeps what it gets.
    pub fn manner(&self, inode: &Inode, reader: &Readahead, into_pages: bool) -> Manner {
        if !reader.is_random() {
            return Manner::Blocks;
        }
        let Some(size) = inode.state.lock().attr().map(|attr| attr.size) else {
            return Manner::Blocks;
        };
        if size <= self.cache.capacity() {
            return Manner::Dense;
        }
        // Pages are kept by the kernel or by nobody. A disk cache wants whole blocks, and may hold the file.
        match into_pages && self.disk.is_none() {
            true => Manner::Pages,
            false => Manner::Blocks,
        }
    }

    /// A reader at random has to wait for a block at `offset`.
    pub fn missed(self: &Arc<Self>, inode: &Inode, offset: u64) {
        let part = offset / PART;
        // One after the other: a reader that wants a block of it now waits for those before it.
        let room = self.ahead.available_permits() >= super::quick::AHEAD / 2;
        if !self.misses.count(inode.ino, part, room) {
            return;
        }
        let whole = {
            let state = inode.state.lock();
            let Some(attr) = state.attr() else { return };
            // Extents are asked for from a first read on, to the end of the file.
            let Some((from, to)) = state.extents.known.around(offset) else {
                return;
            };
            let (start, end) = (from.max(part * PART), to.min(attr.size).min(part * PART + PART));
            if start >= end {
                return;
            }
            pieces::of_chunks(&state, start, end)
        };
        if whole.len() <= EXTENTS {
            self.prefetch_all(&whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_comes_whole_once_and_when_there_is_room() {
        let misses = Misses::default();
        let whole = |part, room| misses.count(Ino(7), part, room);
        assert!((1..MISSES).all(|_| !whole(1, true)));
        assert!((0..100).all(|_| !whole(1, false)));
        assert!(whole(1, true));
        assert!((0..10 * MISSES).all(|_| !whole(1, true)));
        assert!((1..MISSES).all(|_| !whole(2, true)));
        assert!(whole(2, true));
    }
}
