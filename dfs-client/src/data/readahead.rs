//! Reading ahead of a sequential reader: each open file has its own window, which grows while the reader goes on.

use super::{Data, Piece, pieces};
use crate::inode::Inode;
use std::sync::Arc;

const WINDOW_FIRST: u64 = 512 << 10;
/// A window as large as a chunk: the next chunk is on its way while this one is read.
const WINDOW_MAX: u64 = 8 << 20;
/// A reader with such a window has read about as much in order.
const STREAMING: u64 = WINDOW_MAX / 2;
/// The kernel's own read-ahead reorders requests a little.
const SLACK: u64 = 256 << 10;
/// After so many jumps in a row a reader is taken for one at random: the first of them may be those of an opening, of a
/// header or of an index.
const RANDOM_AFTER: u32 = 8;
/// At most this part of the cache is filled ahead of one reader.
const CACHE_PART: u64 = 4;

/// Where a reader was and how far ahead content is asked for.
#[derive(Debug, Default)]
pub(crate) struct Readahead {
    next: u64,
    window: u64,
    asked: u64,
    /// Reads in a row that were not where the one before had ended.
    jumps: u32,
}

impl Readahead {
    /// Notes a read: the range `[start, end)` to fetch ahead of it, empty when there is none.
    fn note(&mut self, offset: u64, len: u64, most: u64) -> (u64, u64) {
        let end = offset + len;
        let sequential = offset + SLACK >= self.next && offset <= self.next + SLACK;
        if !sequential || offset == 0 && self.next > SLACK {
            *self = Readahead {
                next: end,
                window: 0,
                asked: end,
                jumps: self.jumps.saturating_add(1),
            };
            return (end, end);
        }
        self.next = self.next.max(end);
        self.jumps = 0;
        let ahead = self.asked.saturating_sub(end);
        if self.window > 0 && ahead > self.window / 2 {
            return (end, end);
        }
        self.window = (self.window * 2).clamp(WINDOW_FIRST, WINDOW_MAX).min(most);
        let from = self.asked.max(end);
        self.asked = (end + self.window).max(from);
        (from, self.asked)
    }

    /// Whether it has gone on for so long that it will hardly come back to what it has passed, nor anybody to what lies
    /// beside that in the same blocks.
    pub fn is_streaming(&self) -> bool {
        self.window >= STREAMING
    }

    /// Whether it goes from place to place.
    pub fn is_random(&self) -> bool {
        self.jumps >= RANDOM_AFTER
    }
}

impl Data {
    /// Asks for what a sequential reader will want next.
    pub fn read_ahead(self: &Arc<Self>, inode: &Inode, reader: &mut Readahead, offset: u64, len: u64) {
        let (start, end) = reader.note(offset, len, self.cache.capacity() / CACHE_PART);
        if start >= end {
            return;
        }
        let ahead = {
            let state = inode.state.lock();
            let Some(attr) = state.attr() else { return };
            let end = end.min(attr.size);
            if start >= end || !state.extents.known.covers(start, end) {
                return;
            }
            pieces(&state, start, end)
        };
        self.prefetch_all(&ahead);
    }

    /// Asks for what of the pieces is in chunks and neither here nor on its way.
    pub(super) fn prefetch_all(self: &Arc<Self>, wanted: &[Piece]) {
        for piece in wanted {
            if let Piece::Chunk { chunk, offset, len } = piece {
                self.prefetch(*chunk, *offset, *len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_a_sequential_reader_and_covers_every_byte_once() {
        let mut reader = Readahead::default();
        let mut covered = 0;
        for number in 0..1000u64 {
            let (start, end) = reader.note(number << 17, 1 << 17, u64::MAX);
            if start < end {
                assert!(start >= covered);
                assert!(covered == 0 || start == covered);
                covered = end;
            }
        }
        assert_eq!(reader.window, WINDOW_MAX);
        assert!(reader.is_streaming());
        assert!(covered > 1000 << 17);
    }

    #[test]
    fn a_random_reader_gets_nothing() {
        let mut reader = Readahead::default();
        for number in 1..100u64 {
            let (start, end) = reader.note((number * 7919 % 1000) << 24, 4096, u64::MAX);
            assert_eq!(start, end);
            assert!(!reader.is_streaming());
            assert_eq!(
                reader.is_random(),
                number >= u64::from(RANDOM_AFTER),
                "read {number}"
            );
        }
    }

    #[test]
    fn a_reader_of_neighbours_is_not_random() {
        let mut reader = Readahead::default();
        for number in 1..100u64 {
            let place = (number * 7919 % 1000) << 24;
            reader.note(place, 4096, u64::MAX);
            reader.note(place + 4096, 4096, u64::MAX);
            assert!(!reader.is_random());
        }
    }
}
