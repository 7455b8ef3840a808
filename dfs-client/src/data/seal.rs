//! Gathering what is dirty, of many files, into chunks.

use super::Data;
use super::dirty::TAKE_MAX;
use super::flight::Flight;
use crate::inode::Inode;
use bytes::{Bytes, BytesMut};
use dfs_core::chunk::CHUNK_MAX;
use dfs_proto::convert::commit::COMMIT_EXTENTS_MAX;
use std::sync::Arc;

/// Most files in one chunk: one commit must stay a small part of a log record.
const FILES_MAX: usize = 1024;
/// Extents at which a chunk counts as full; one more file may add [`TAKE_MAX`].
const EXTENTS_FULL: usize = COMMIT_EXTENTS_MAX - TAKE_MAX;

/// One file's part of a chunk.
pub(super) struct Part {
    pub inode: Arc<Inode>,
    pub flight: Arc<Flight>,
    /// Where it begins in the chunk.
    pub at: u32,
}

/// What becomes one chunk and one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub parts: Vec<Part>,
    pub len: u32,
    /// At most so many extents come of it.
    segments: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.len >= CHUNK_MAX || self.parts.len() >= FILES_MAX || self.segments > EXTENTS_FULL
    }

    fn push(&mut self, inode: &Arc<Inode>, flight: Arc<Flight>) {
        let at = self.len;
        self.len += flight.bytes as u32;
        self.segments += flight.segments.len();
        self.parts.push(Part {
            inode: inode.clone(),
            flight,
            at,
        });
    }

    /// The chunk's content in pieces of `size` bytes (the last may be shorter). A piece within one segment is a
    /// slice of it, others are copied together.
    pub fn pieces(&self, size: usize) -> Vec<Bytes> {
        let mut pieces = Vec::with_capacity((self.len as usize).div_ceil(size));
        let mut gathered = BytesMut::new();
        for (_, segment) in self.parts.iter().flat_map(|part| &part.flight.segments) {
            let mut rest = segment.clone();
            while !rest.is_empty() {
                if gathered.is_empty() && rest.len() >= size {
                    pieces.push(rest.split_to(size));
                    continue;
                }
                let taken = rest.split_to(rest.len().min(size - gathered.len()));
                gathered.extend_from_slice(&taken);
                if gathered.len() == size {
                    pieces.push(gathered.split().freeze());
                }
            }
        }
        if !gathered.is_empty() {
            pieces.push(gathered.freeze());
        }
        pieces
    }
}

impl Data {
    /// Seals everything that is dirty in these files and sends it on its way.
    pub fn flush(self: &Arc<Self>, inodes: &[Arc<Inode>]) {
        let mut batch = Batch::default();
        for inode in self.named_before(inodes).iter().chain(inodes) {
            loop {
                if batch.is_full() {
                    self.launch(std::mem::take(&mut batch));
                }
                let mut state = inode.state.lock();
                if state.content.dirty.is_empty() || state.content.hold > 0 {
                    break;
                }
                let room = u64::from(CHUNK_MAX - batch.len);
                // A file has one part in a chunk: its next flight is committed after this one.
                let has_part = batch.parts.last().is_some_and(|part| part.inode.ino == inode.ino);
                let sealed = if has_part { None } else { state.content.seal(room) };
                drop(state);
                match sealed {
                    Some(flight) => batch.push(inode, flight),
                    None => self.launch(std::mem::take(&mut batch)),
                }
            }
        }
        self.launch(batch);
    }

    fn launch(self: &Arc<Self>, batch: Batch) {
        if !batch.parts.is_empty() {
            self.runtime.spawn(self.clone().carry(batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::ids::{ChunkId, Ino, SetId};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_and_extents_hold_the_same_bytes(
            files in prop::collection::vec(prop::collection::vec((0u64..50, 1usize..40), 1..6), 1..5),
        ) {
            let mut batch = Batch::default();
            let mut byte = 0u8;
            for (number, segments) in files.iter().enumerate() {
                let mut place = 0;
                let mut content = Vec::new();
                for (gap, len) in segments {
                    place += gap;
                    let data: Vec<u8> = (0..*len).map(|_| { byte = byte.wrapping_add(1); byte }).collect();
                    content.push((place, Bytes::from(data)));
                    place += *len as u64;
                }
                let bytes = content.iter().map(|(_, data)| data.len() as u64).sum();
                let flight = Flight { number: 1, segments: content, bytes, kill_suidgid: false };
                batch.push(&Arc::new(Inode::new(Ino(number as u64 + 16))), Arc::new(flight));
            }
            let chunk: Vec<u8> = batch.pieces(16).concat();
            prop_assert_eq!(chunk.len(), batch.len as usize);
            let id = ChunkId { set: SetId(1), seq: 1 };
            for part in &batch.parts {
                for extent in part.flight.extents(id, part.at) {
                    for (offset, data) in &part.flight.segments {
                        if *offset >= extent.offset && *offset < extent.end() {
                            let from = (u64::from(extent.chunk_offset) + offset - extent.offset) as usize;
                            prop_assert_eq!(&chunk[from..from + data.len()], &data[..]);
                        }
                    }
                }
            }
        }
    }
}
