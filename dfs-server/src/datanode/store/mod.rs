//! Where chunks are kept: the trait that every store implements, and its errors. The chunk service calls it;
//! it knows no network. All calls block; the service makes them on threads that may.

#[cfg(test)]
pub mod faulty;
#[cfg(test)]
pub mod memory;
pub mod segment;
#[cfg(test)]
pub mod suite;

use bytes::Bytes;
use dfs_core::chunk::Refusal;
use dfs_core::ids::ChunkId;
use std::fs::File;
use std::sync::Arc;

/// Why a store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("chunk {0} is not here: read another member")]
    NotFound(ChunkId),
    #[error("chunk {0} is here with other content: a chunk id is used once, take a new one")]
    Exists(ChunkId),
    #[error("chunk {0} is being written or deleted by another request: try again")]
    Busy(ChunkId),
    #[error("no space left for {needed} more bytes: write to another replica set")]
    Full { needed: u64 },
    #[error("chunk {chunk} is damaged here ({reason}): read another member and repair this one")]
    Corrupt { chunk: ChunkId, reason: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the disk failed: {0}")]
    Io(String),
}

impl StoreError {
    /// The error of a system call under `what`; a full disk is told apart.
    pub fn io(what: &str, error: &std::io::Error) -> StoreError {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => StoreError::Full { needed: 0 },
            _ => StoreError::Io(format!("{what}: {error}")),
        }
    }
}

/// A run of blocks of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub first: u32,
    pub payload: Bytes,
    /// As made by the writer: whoever uses the payload compares them.
    pub crcs: Vec<u32>,
}

/// Where the content of a run of blocks is.
pub enum Content {
    Here(Bytes),
    /// In the system's cache of a file, from which it can be sent as it is.
    InFile {
        file: Arc<File>,
        offset: u64,
        len: u32,
    },
}

impl Content {
    /// Bytes.
    pub fn len(&self) -> u32 {
        match self {
            Content::Here(payload) => payload.len() as u32,
            Content::InFile { len, .. } => *len,
        }
    }
}

/// A run of blocks of one chunk that is to be sent.
pub struct Located {
    pub first: u32,
    pub content: Content,
    /// As made by the writer: whoever uses the content compares them.
    pub crcs: Vec<u32>,
}

/// A run of pages of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    pub first: u32,
    pub payload: Bytes,
    /// Vouched for by the writer's checksums of blocks: whoever uses the payload compares them.
    pub crcs: Vec<u32>,
}

/// A chunk that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub chunk: ChunkId,
    pub len: u32,
    /// Absent when it was not asked for, or cannot be read any more.
    pub sha256: Option<[u8; 32]>,
    /// A check found it bad: out of service.
    pub bad: bool,
}

/// Bytes of a store, each a true figure of the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub capacity: u64,
    /// Taken by chunks.
    pub used: u64,
    /// What chunks can still take.
    pub free: u64,
    pub chunks: u64,
}

/// What reading the whole of a chunk showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good {
        len: u32,
        sha256: [u8; 32],
    },
    Missing,
    /// Kept out of service until it is replaced.
    Corrupt(String),
    Unreadable(String),
}

/// Keeps chunks durably. Thread-safe; every call may block on the disk.
pub trait ChunkStore: Send + Sync + 'static {
    /// Begins a chunk of `len` content bytes; its space is reserved from here on. With `replace` a copy that is
    /// here gives way to the new one, at the moment when that one is durable.
    fn begin(&self, chunk: ChunkId, len: u32, replace: bool) -> Result<Box<dyn ChunkWriter>, StoreError>;

    /// The content length of a chunk that is here and trusted.
    fn len(&self, chunk: ChunkId) -> Result<u32, StoreError>;

    /// Reads `count` blocks from `first`; fewer at the chunk's end.
    fn read(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Blocks, StoreError>;

    /// Like `read`, for content that is only sent on: the store may leave it where it is.
    fn locate(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Located, StoreError> {
        let Blocks { first, payload, crcs } = self.read(chunk, first, count)?;
        let content = Content::Here(payload);
        Ok(Located { first, content, crcs })
    }

    /// Reads `count` pages from `first`; fewer at the chunk's end.
    fn read_pages(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Pages, StoreError>;

    /// Deletes durably; what is not here is no failure. Gives those that could not be deleted.
    fn delete(&self, chunks: &[ChunkId]) -> Vec<(ChunkId, StoreError)>;

    /// At most `limit` chunks in id order, after `after`. `brief` is without SHA-256, and from memory.
    fn list(&self, after: Option<ChunkId>, limit: usize, brief: bool) -> Vec<Held>;

    /// Chunks that a check found bad, at most `limit`, in id order.
    fn bad(&self, limit: usize) -> Vec<ChunkId>;

    /// Reads the whole chunk from the disk, past the system's cache where that is possible, and compares every
    /// checksum. A bad one is out of service afterwards.
    fn verify(&self, chunk: ChunkId) -> Verdict;

    fn usage(&self) -> Usage;

    /// How many times the store waited for its disk to make writes durable, since it was opened.
    fn syncs(&self) -> u64;

    /// What is wrong with the store, for the operator; none when nothing is.
    fn problem(&self) -> Option<String>;
}

/// A chunk on its way into a store. Dropped before `finish`, nothing of it remains.
pub trait ChunkWriter: Send {
    /// Takes the next blocks, which must match their CRCs.
    fn write(&mut self, first: u32, content: &[u8], crcs: &[u32]) -> Result<(), StoreError>;

    /// Ends the chunk. When this returns it is durable and readable. The same chunk a second time is a success.
    fn finish(self: Box<Self>, sha256: &[u8; 32]) -> Result<(), StoreError>;
}
