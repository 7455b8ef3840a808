//! A chunk that arrives in groups of blocks: order, lengths and block CRCs are checked as they come, and at the end
//! the name that follows from them. Whoever receives a chunk (a datanode's put and pull) feeds one.

use super::pages::{first_bad_block_of_pages, page_count};
use super::{BLOCK_SIZE, CHUNK_MAX, block_count, table_sha256};

/// Why a part of a chunk is not accepted. The sender made a mistake or the bytes changed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a chunk has 1 to {CHUNK_MAX} bytes, not {0}")]
    Length(u32),
    #[error("block {expected} was expected, block {got} came: send blocks in order, each once")]
    Order { expected: u32, got: u32 },
    #[error("a group of {len} bytes at block {first} is not whole blocks of a chunk of {chunk_len} bytes")]
    Shape { first: u32, len: usize, chunk_len: u32 },
    #[error("{crcs} checksums for {blocks} blocks: send one for each")]
    Checksums { blocks: u32, crcs: usize },
    #[error("block {0} does not match its CRC-32C: it was damaged on the way, send the chunk again")]
    BadBlock(u32),
    #[error("the chunk ends after {got} of {expected} bytes")]
    Short { got: u32, expected: u32 },
    #[error("the content does not match its SHA-256: it was damaged on the way, send the chunk again")]
    BadDigest,
}

/// What has been accepted of one chunk.
pub struct Assembly {
    len: u32,
    got: u32,
    crcs: Vec<u32>,
    pages: Vec<u32>,
}

/// All blocks of a chunk came, each as its CRC says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub crcs: Vec<u32>,
    /// The CRC-32C of each page.
    pub pages: Vec<u32>,
    /// The chunk's name follows from the CRCs. If not, it can only be the SHA-256 of the content itself, which
    /// older programs send: whoever has the content compares it.
    pub named_by_table: bool,
}

impl Assembly {
    /// Begins a chunk of `len` content bytes.
    pub fn begin(len: u32) -> Result<Assembly, Refusal> {
        if len == 0 || len > CHUNK_MAX {
            return Err(Refusal::Length(len));
        }
        Ok(Assembly {
            len,
            got: 0,
            crcs: Vec::with_capacity(block_count(len) as usize),
            pages: Vec::with_capacity(page_count(len) as usize),
        })
    }

    /// Accepts the next blocks.
    pub fn accept(&mut self, first: u32, content: &[u8], crcs: &[u32]) -> Result<(), Refusal> {
        let expected = self.crcs.len() as u32;
        if first != expected {
            return Err(Refusal::Order { expected, got: first });
        }
        let left = (self.len - self.got) as usize;
        let whole = content.len().is_multiple_of(BLOCK_SIZE as usize) || content.len() == left;
        if content.is_empty() || content.len() > left || !whole {
            return Err(Refusal::Shape {
                first,
                len: content.len(),
                chunk_len: self.len,
            });
        }
        let blocks = block_count(content.len() as u32);
        if crcs.len() != blocks as usize {
            return Err(Refusal::Checksums {
                blocks,
                crcs: crcs.len(),
            });
        }
        let pages = self.pages.len();
        if let Some(bad) = first_bad_block_of_pages(first, content, crcs, &mut self.pages) {
            self.pages.truncate(pages);
            return Err(Refusal::BadBlock(bad));
        }
        self.crcs.extend_from_slice(crcs);
        self.got += content.len() as u32;
        Ok(())
    }

    /// Ends the chunk: all of it came. Says whether it is what `sha256` names.
    pub fn finish(self, sha256: &[u8; 32]) -> Result<Ended, Refusal> {
        if self.got != self.len {
            return Err(Refusal::Short {
                got: self.got,
                expected: self.len,
            });
        }
        Ok(Ended {
            named_by_table: table_sha256(self.len, &self.crcs) == *sha256,
            crcs: self.crcs,
            pages: self.pages,
        })
    }
}
