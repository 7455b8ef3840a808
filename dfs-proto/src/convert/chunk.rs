//! Chunk transfers: what a datanode is asked to receive, and the groups of blocks that go either way.
//! The datanode and the client's reader call it; checksums are compared by them, not here.

use super::error::{WireError, at_most, in_range};
use super::ids::{MEMBERS_MAX, node_id, stored_chunk, uuid};
use crate::v1;
use dfs_core::chunk::{BLOCK_SIZE, CHUNK_MAX, block_count};
use dfs_core::ids::{ChunkId, Term};

/// Longest `host:port`: a DNS name has at most 253 bytes.
const ADDRESS_MAX: usize = 300;

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
