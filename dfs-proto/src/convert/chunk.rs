//! Chunk transfers: what a datanode is asked to receive, and the groups of blocks that go either way.
//! The datanode and the client's reader call it; checksums are compared by them, not here.

use super::error::{WireError, at_most, in_range};
use super::ids::{MEMBERS_MAX, node_id, stored_chunk, uuid};
use crate::frames::PAGES_MAX;
use crate::v1;
use dfs_core::chunk::pages::page_count;
use dfs_core::chunk::{BLOCK_SIZE, CHUNK_MAX, block_count};
use dfs_core::ids::{ChunkId, Term};

/// Longest `host:port`: a DNS name has at most 253 bytes.
const ADDRESS_MAX: usize = 300;
/// Most pieces of one chunk: as many files as small ones of 128 bytes fill it with.
const PIECES_MAX: usize = 65_536;

/// A transfer that begins: the checked form of `PutBegin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    pub transfer: [u8; 16],
    pub cluster: [u8; 16],
    pub chunk: ChunkId,
    /// Content bytes, 1 to 8 MiB.
    pub len: u32,
    pub term: Term,
    /// Where to forward to while receiving; empty when the sender asked for no forwarding.
    pub forward: Vec<v1::Node>,
}

/// The checked form of a transfer's first message.
pub fn put_begin(begin: v1::PutBegin) -> Result<Transfer, WireError> {
    let sane = (1..=CHUNK_MAX).contains(&begin.len);
    in_range(sane, begin.len, "PutBegin.len", "1 to 8 MiB")?;
    at_most(begin.others.len(), MEMBERS_MAX, "PutBegin.others")?;
    for other in &begin.others {
        node_id(other.id, "PutBegin.others.id")?;
        at_most(other.address.len(), ADDRESS_MAX, "PutBegin.others.address")?;
    }
    Ok(Transfer {
        transfer: uuid(&begin.transfer, "PutBegin.transfer")?,
        cluster: uuid(&begin.cluster, "PutBegin.cluster")?,
        chunk: stored_chunk(begin.chunk, "PutBegin.chunk")?,
        len: begin.len,
        term: Term(begin.term),
        forward: if begin.propagate { begin.others } else { Vec::new() },
    })
}

/// Part of a chunk that a new one is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub source: ChunkId,
    pub offset: u32,
    /// At least 1.
    pub len: u32,
}

impl Piece {
    /// First and last block that hold it.
    pub fn blocks(&self) -> (u32, u32) {
        (
            self.offset / BLOCK_SIZE,
            (self.offset + self.len - 1) / BLOCK_SIZE,
        )
    }
}

/// The transfer of a chunk that is composed, and what of.
pub fn compose(request: v1::ComposeRequest) -> Result<(Transfer, Vec<Piece>), WireError> {
    at_most(request.pieces.len(), PIECES_MAX, "ComposeRequest.pieces")?;
    let mut pieces = Vec::with_capacity(request.pieces.len());
    let mut len = 0u64;
    for piece in request.pieces {
        let end = u64::from(piece.offset) + u64::from(piece.len);
        let sane = piece.len > 0 && end <= u64::from(CHUNK_MAX);
        in_range(sane, end, "ComposePiece", "a part of a chunk of 8 MiB")?;
        len += u64::from(piece.len);
        pieces.push(Piece {
            source: stored_chunk(piece.source, "ComposePiece.source")?,
            offset: piece.offset,
            len: piece.len,
        });
    }
    let sane = (1..=u64::from(CHUNK_MAX)).contains(&len);
    in_range(sane, len, "ComposeRequest.pieces", "together 1 byte to 8 MiB")?;
    let transfer = put_begin(v1::PutBegin {
        transfer: request.transfer,
        cluster: request.cluster,
        chunk: request.chunk,
        len: len as u32,
        term: request.term,
        propagate: true,
        others: request.others,
    })?;
    Ok((transfer, pieces))
}

/// The content bytes `[start, end)` that a group of blocks covers in a chunk of `len` bytes, when the group is
/// whole blocks, begins at `expected_block`, and has one checksum for each.
pub fn block_range(
    group: &v1::BlockGroup,
    expected_block: u32,
    len: u32,
) -> Result<std::ops::Range<u32>, WireError> {
    if group.first_block != expected_block {
        return Err(WireError::Disorder {
            field: "BlockGroup.first_block",
        });
    }
    in_range(
        group.first_block < block_count(len),
        group.first_block,
        "BlockGroup.first_block",
        "a block of the chunk",
    )?;
    let start = group.first_block * BLOCK_SIZE;
    at_most(group.payload.len(), (len - start) as usize, "BlockGroup.payload")?;
    let end = start + group.payload.len() as u32;
    let whole = end == len || end.is_multiple_of(BLOCK_SIZE);
    in_range(
        whole && end > start,
        group.payload.len() as u64,
        "BlockGroup.payload",
        "whole blocks",
    )?;
    let blocks = block_count(end - start) as usize;
    if group.crcs.len() != blocks {
        return Err(WireError::WrongLength {
            field: "BlockGroup.crcs",
            len: group.crcs.len(),
            expected: blocks,
        });
    }
    Ok(start..end)
}

/// The blocks `[first, end)` that a reader asks for, of a chunk with `len` bytes; 0 blocks are all that follow.
pub fn asked_blocks(request: &v1::GetRequest, len: u32) -> Result<std::ops::Range<u32>, WireError> {
    let count = block_count(len);
    let first = request.first_block;
    in_range(
        first < count,
        first,
        "GetRequest.first_block",
        "a block of the chunk",
    )?;
    let end = if request.blocks == 0 {
        count
    } else {
        first.saturating_add(request.blocks).min(count)
    };
    Ok(first..end)
}

/// The pages `[first, end)` that a reader asks for by `FramedGetPages`, of a chunk with `len` bytes.
pub fn asked_pages(first: u32, pages: u32, len: u32) -> Result<std::ops::Range<u32>, WireError> {
    let count = page_count(len);
    let here = first < count;
    in_range(here, first, "FramedGetPages.first_page", "a page of the chunk")?;
    let sane = (1..=PAGES_MAX).contains(&pages);
    in_range(sane, pages, "FramedGetPages.pages", "1 to 16")?;
    Ok(first..first.saturating_add(pages).min(count))
}
