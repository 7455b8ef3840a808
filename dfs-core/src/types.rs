//! The values of the POSIX namespace: attributes, times, extents, directory entries. Used on every layer.

use crate::ids::{ChunkId, Ino};
use serde::{Deserialize, Serialize};

/// Longest name of a directory entry, bytes (Linux `NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// Longest symbolic link target, bytes (Linux `PATH_MAX` less the final NUL).
pub const SYMLINK_MAX: usize = 4095;
/// Most hard links of one file (as ext4).
pub const LINK_MAX: u32 = 65_000;
/// Largest file size, bytes (`loff_t`).
pub const SIZE_MAX: u64 = i64::MAX as u64;
/// Longest extended attribute name and value, bytes (Linux `XATTR_NAME_MAX`, `XATTR_SIZE_MAX`).
pub const XATTR_NAME_MAX: usize = 255;
pub const XATTR_VALUE_MAX: usize = 65_536;

/// Time since the epoch; `nanos` < 10^9. Negative seconds are before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp {
    pub secs: i64,
    pub nanos: u32,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

/// An inode's attributes, as `stat` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attr {
    pub ino: Ino,
    pub kind: FileKind,
    /// Permission bits with set-id and sticky: 0o7777.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device number of a device inode (Linux `dev_t` as FUSE sends it), else 0.
    pub rdev: u32,
    /// Bytes; of a directory, the number of its entries; of a symlink, its target's length.
    pub size: u64,
    /// Allocated bytes in units of 512.
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    /// Rises with every change of the inode, content included: two equal versions are the same state.
    pub version: u64,
    /// Rises when content is cut away (truncate): data cached under an older value is dead.
    pub content_epoch: u64,
    /// The nearest quota at or above it, by its directory; 0 for none. Not in rows of answers: whoever repeats an
    /// answer sends the present attributes along.
    #[serde(skip, default = "no_quota")]
    pub quota: Ino,
    /// How many extended attributes it has. Not in rows of answers either.
    #[serde(skip, default)]
    pub xattrs: u32,
}

fn no_quota() -> Ino {
    Ino(0)
}

/// A run of a file's bytes and where they are: `[offset, offset+len)` is found in `chunk` at `chunk_offset`.
/// Extents of a file never overlap; what no extent covers is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extent {
    pub offset: u64,
    pub len: u64,
    pub chunk: ChunkId,
    pub chunk_offset: u32,
}

impl Extent {
    /// First byte after the extent.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// A name in a directory. `cookie` is the entry's place in the listing order: a listing that continues
/// after it neither repeats nor misses entries that exist throughout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirEntry {
    pub name: Vec<u8>,
    pub ino: Ino,
    pub kind: FileKind,
    pub cookie: u64,
    /// Present when the listing asked for attributes.
    pub attr: Option<Attr>,
}

/// Who asks: the caller's file-system identity and file mode creation mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
}

/// True figures of a volume, in bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUsage {
    /// User bytes that the volume can still take plus those it holds.
    pub total_bytes: u64,
    pub used_bytes: u64,
    pub available_bytes: u64,
    pub inodes: u64,
}

/// A quota as its users see it; `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUsage {
    pub limit_bytes: u64,
    pub limit_inodes: u64,
    pub used_bytes: u64,
    pub used_inodes: u64,
    /// What can still be written and made, nested quotas above included.
    pub available_bytes: u64,
    pub available_inodes: u64,
}

/// How much of an inode a session may keep to itself. Ordered: more includes less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LeaseMode {
    /// Nothing may be cached; the session may still hold the inode open.
    #[default]
    None,
    /// Attributes, entries and absence of entries, extents and content may be cached.
    Shared,
    /// They may also be changed locally and told later.
    Exclusive,
}
