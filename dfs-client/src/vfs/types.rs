//! What the kernel's door hands to the file system and gets back. Values only.

use crate::wait::Cancel;
use dfs_core::ids::Ino;
use dfs_core::types::{Attr, Credentials, FileKind};
use std::time::Duration;

/// How long the kernel may keep an answer: 0 when no lease protects it.
pub type Ttl = Duration;

/// Who asks.
#[derive(Clone, Copy, Default)]
pub struct Caller<'a> {
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
    /// Ends the call's waits.
    pub cancel: Option<&'a Cancel>,
}

impl Caller<'_> {
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// An inode under a name. Each one handed out counts as a lookup until `forget`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub attr: Attr,
    pub attr_ttl: Ttl,
    pub entry_ttl: Ttl,
}

/// What `lookup` found.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    Entry(Entry),
    /// No such name; the absence may be kept too.
    Absent {
        ttl: Ttl,
    },
}

/// An open file or directory.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    pub fh: u64,
    pub keep_cache: bool,
    pub direct_io: bool,
    pub cache_dir: bool,
}

/// One name of a listing.
pub struct DirSlot<'a> {
    pub ino: Ino,
    /// The offset with which a listing continues after this name.
    pub cookie: u64,
    pub kind: FileKind,
    pub name: &'a [u8],
    /// Attributes for `readdirplus`; counts as a lookup when the sink takes the slot.
    pub entry: Option<Entry>,
}

/// Figures for `statfs`; block counts are in units of `bsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub bsize: u32,
    pub namelen: u32,
}

/// The kernel's caches, as the recall of a lease needs them. Calls may block; they come only from threads that
/// serve recalls or tend to removed inodes.
pub trait KernelCache: Send + Sync {
    /// Drops attributes, and the pages of a part of the file; a length of 0 goes to the end.
    fn invalidate_inode(&self, ino: Ino, offset: u64, len: u64);
    /// Has a name, or its absence, looked up again at its next use.
    fn invalidate_entry(&self, parent: Ino, name: &[u8]);
    /// Drops a name whose inode was removed, so that the inode is forgotten as soon as nobody uses it.
    fn drop_entry(&self, parent: Ino, name: &[u8]) {
        self.invalidate_entry(parent, name);
    }
    /// Has every name of the mount, and every absence, looked up again at its next use, and takes no lock of any
    /// directory: also of those that are being answered now. False when that cannot be done.
    fn drop_all_names(&self) -> bool {
        false
    }
}

/// Why a mount could not begin.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error(
        "cannot reach a coordinator of volume `{volume}` at {coordinators}: {reason}; is dfs-server running there?"
    )]
    Unreachable {
        volume: String,
        coordinators: String,
        reason: String,
    },
    #[error("the coordinator refused: {0}")]
    Refused(String),
    #[error("`{path}` in volume `{volume}`: {reason}; the directory must exist")]
    Subdir {
        volume: String,
        path: String,
        reason: dfs_core::error::FsError,
    },
    #[error("{0}")]
    Metrics(String),
    #[error("cannot start threads: {0}; raise the limit of processes (ulimit -u)")]
    Threads(#[from] std::io::Error),
}
