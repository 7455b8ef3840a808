//! Written bytes on their way into chunks: sealed out of the dirty layer, read until their extents are committed.

use bytes::Bytes;
use dfs_core::ids::ChunkId;
use dfs_core::types::Extent;

/// Bytes of one file that go into one chunk. Immutable.
pub(crate) struct Flight {
    /// Rises per file: flights of a file are committed in this order.
    pub number: u64,
    /// File offset and content, in order, not overlapping.
    pub segments: Vec<(u64, Bytes)>,
    pub bytes: u64,
    /// Set-id bits are to be cleared with it.
    pub kill_suidgid: bool,
}

impl Flight {
    /// First byte after the last one.
    pub fn end(&self) -> u64 {
        self.segments
            .last()
            .map_or(0, |(offset, data)| offset + data.len() as u64)
    }

    /// Where the bytes are once the chunk holds them from `chunk_offset` on.
    pub fn extents(&self, chunk: ChunkId, mut chunk_offset: u32) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for (offset, data) in &self.segments {
            let len = data.len() as u64;
            match extents.last_mut() {
                Some(last) if last.end() == *offset => last.len += len,
                _ => extents.push(Extent {
                    offset: *offset,
                    len,
                    chunk,
                    chunk_offset,
                }),
            }
            chunk_offset += data.len() as u32;
        }
        extents
    }
}
