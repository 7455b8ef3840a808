//! Chunk geometry: how content is cut into blocks, how blocks and chunks are checked, and what a chunk looks
//! like in a segment file. The client, the datanode and the checker call it. It knows no disk and no wire.

mod assembly;
pub mod header;
pub mod pages;
pub mod segment;
#[cfg(test)]
mod tests;

pub use assembly::{Assembly, Ended, Refusal};
use sha2::{Digest as _, Sha256};

/// Content bytes of a block, the unit of checksum and of ranged reads; the last of a chunk may be shorter.
pub const BLOCK_SIZE: u32 = 64 * 1024;
/// Most content bytes of a chunk: long enough for disks to stream, short enough to be sent again.
pub const CHUNK_MAX: u32 = 8 * 1024 * 1024;
/// Most blocks of a chunk.
pub const BLOCKS_MAX: u32 = CHUNK_MAX / BLOCK_SIZE;

/// Before the table of CRCs in what is hashed, so that no other use of SHA-256 gives the same name.
const TABLE_WORD: &[u8; 16] = b"dfs chunk table\x01";

/// How many blocks `len` content bytes make.
pub const fn block_count(len: u32) -> u32 {
    len.div_ceil(BLOCK_SIZE)
}

/// Content bytes of block `block` of a chunk of `len` bytes; 0 past the end.
pub const fn block_len(len: u32, block: u32) -> u32 {
    let left = (len as u64).saturating_sub(block as u64 * BLOCK_SIZE as u64);
    if left < BLOCK_SIZE as u64 {
        left as u32
    } else {
        BLOCK_SIZE
    }
}

/// The CRC-32C of a block.
pub fn crc32c(block: &[u8]) -> u32 {
    ::crc32c::crc32c(block)
}

/// The CRC-32C of each block of `content`, which begins at a block boundary.
pub fn block_crcs(content: &[u8]) -> Vec<u32> {
    content.chunks(BLOCK_SIZE as usize).map(crc32c).collect()
}

/// The SHA-256 of a chunk's content, fed piece by piece: what programs before [`table_sha256`] named chunks by.
#[derive(Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    pub fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The SHA-256 of `content`.
pub fn sha256(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// What names a chunk's content: the SHA-256 of its length and of the CRC-32C of each block. Whoever has compared
/// every block with its CRC has compared the content with this name, without a second pass over the bytes.
/// Programs before it named chunks by the SHA-256 of the content itself; such names stay valid.
/// It must not be used to find equal content: contents with the same CRCs are easily made on purpose.
pub fn table_sha256(len: u32, crcs: &[u32]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(TABLE_WORD);
    digest.update(len.to_le_bytes());
    for crc in crcs {
        digest.update(crc.to_le_bytes());
    }
    digest.finalize().into()
}

/// The first block of `content` that its CRC does not match, `content` beginning at block `first`.
pub fn first_bad_block(first: u32, content: &[u8], crcs: &[u32]) -> Option<u32> {
    let mut blocks = content.chunks(BLOCK_SIZE as usize).zip(crcs);
    blocks
        .position(|(block, crc)| crc32c(block) != *crc)
        .map(|at| first + at as u32)
}
