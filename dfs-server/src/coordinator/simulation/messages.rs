//! What processes say to one another outside of session streams.

use super::coordinator::Checkpoint;
use super::log::{LogReply, LogRequest};
use crate::coordinator::executor::Beat;
use dfs_core::ids::{ChunkId, Index};

/// A block of content: 0 is a hole, every write has a number of its own.
pub type Tag = u64;

#[derive(Clone, Debug)]
pub enum Message {
    Log(u64, LogRequest),
    LogReply(u64, LogReply),
    Beat(u64, Beat),
    /// The node's number and the leader's term; `None`: not the leader.
    Beaten(u64, Option<(u32, u64)>),
    Ask(u64, Ask),
    Told(u64, Told),
    /// Asks another coordinator for a checkpoint that is newer than this.
    WantCheckpoint(u64, Index),
    HaveCheckpoint(u64, Option<Checkpoint>),
}

/// What datanodes are asked.
#[derive(Clone, Debug)]
pub enum Ask {
    Put {
        chunk: ChunkId,
        content: Vec<Tag>,
        /// Other members to forward to.
        forward: Vec<usize>,
    },
    Get(ChunkId),
    Delete {
        term: u64,
        chunks: Vec<ChunkId>,
    },
    Pull {
        term: u64,
        chunk: ChunkId,
        from: usize,
    },
    Verify(ChunkId),
    List,
}

/// A member's copy as the member sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    Good([u8; 32]),
    Missing,
    Corrupt,
}

#[derive(Clone, Debug)]
pub enum Told {
    /// Members that have the chunk on disk.
    Stored(Vec<usize>),
    Content(Vec<Tag>),
    /// Deleted whole; a refused term deletes nothing.
    Deleted,
    Pulled([u8; 32]),
    Copy(Copy),
    Held(Vec<ChunkId>),
    Refused,
}

/// The chunk's checksum in this world.
pub fn sha256(content: &[Tag]) -> [u8; 32] {
    let mut sum = [0u8; 32];
    for (place, tag) in content.iter().enumerate() {
        let mixed = tag
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(place as u32);
        for (byte, part) in sum[place % 4 * 8..][..8].iter_mut().zip(mixed.to_le_bytes()) {
            *byte ^= part;
        }
    }
    sum
}

pub fn address(datanode: usize) -> String {
    format!("datanode-{datanode}")
}

pub fn datanode_at(address: &str) -> Option<usize> {
    address.strip_prefix("datanode-")?.parse().ok()
}
