//! The operations of a volume's metadata and their replies: the language between client and coordinator.
//! `namespace::execute` gives them their meaning; `dfs-proto` their form on the wire.

mod classes;

use crate::error::FsError;
use crate::ids::{ChunkId, Ino, NodeId, SetId};
pub use crate::ship::{SHIP_STEPS_MAX, Ship, Step};
use crate::types::{
    Attr, Credentials, DirEntry, Extent, FileKind, LeaseMode, QuotaUsage, Timestamp, VolumeUsage,
};
use serde::{Deserialize, Serialize};

/// Most chunks and most files in one commit, most entries in one directory page, most ids in one release.
pub const COMMIT_CHUNKS_MAX: usize = 64;
pub const COMMIT_FILES_MAX: usize = 4096;
pub const PAGE_ENTRIES_MAX: u32 = 4096;
pub const EXTENT_PAGE_MAX: usize = 4096;
pub const RELEASE_MAX: usize = 4096;
/// Most chunk ids in one range.
pub const CHUNK_RANGE_MAX: u32 = 4096;
/// Most inode numbers in one range.
pub const INO_RANGE_MAX: u32 = 65_536;

/// One operation on a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    // Questions: they change nothing.
    /// The entry `name` of `parent`; `..` is allowed. Reply: `Entry`.
    Lookup {
        parent: Ino,
        name: Vec<u8>,
    },
    /// Reply: `Attr`.
    GetAttr {
        ino: Ino,
    },
    /// Reply: `Target`.
    ReadLink {
        ino: Ino,
    },
    /// Entries behind the cookie `after`; with `alone` this session gets to itself what nobody else holds. Reply: `Page`.
    ReadDir {
        ino: Ino,
        after: u64,
        limit: u32,
        attrs: bool,
        alone: bool,
    },
    /// Reply: `Value`.
    GetXattr {
        ino: Ino,
        name: Vec<u8>,
    },
    /// Reply: `Names`.
    ListXattr {
        ino: Ino,
    },
    /// Extents that touch `[offset, offset+len)`, whole, in order. Reply: `Extents`.
    GetExtents {
        ino: Ino,
        offset: u64,
        len: u64,
    },
    /// Reply: `Usage`.
    StatFs,
    /// Ask for a lease on the inode and its attributes. Reply: `Attr`; what was granted is with the outcome.
    Acquire {
        ino: Ino,
        mode: LeaseMode,
    },
    /// The nearest quota at or above the inode; refused with `NoAttribute` when there is none. Reply: `Quota`.
    GetQuota {
        ino: Ino,
    },

    // Changes.
    Make(Make),
    /// An inode without a name (`O_TMPFILE`), held open by the session; `parent` gives set-gid and ACL. Reply: `Entry`.
    MakeTemp {
        parent: Ino,
        mode: u32,
        umask: u32,
        who: Credentials,
    },
    /// Reply: `Entry`.
    Link {
        ino: Ino,
        parent: Ino,
        name: Vec<u8>,
    },
    /// Removes a non-directory. Reply: `Removed`.
    Unlink(Unlink),
    /// Reply: `Removed`.
    Rmdir {
        parent: Ino,
        name: Vec<u8>,
        held: bool,
    },
    /// Reply: `Renamed`.
    Rename(Rename),
    /// Reply: `Attr`.
    SetAttr {
        ino: Ino,
        changes: AttrChanges,
    },
    /// Reply: `Done`.
    SetXattr {
        ino: Ino,
        name: Vec<u8>,
        value: Vec<u8>,
        mode: XattrMode,
        kill_sgid: bool,
    },
    /// Reply: `Done`.
    RemoveXattr {
        ino: Ino,
        name: Vec<u8>,
    },
    /// Makes written content part of files. Needs the exclusive lease on each. Reply: `Done`.
    Commit(Commit),
    /// `fallocate`. Reply: `Attr`.
    Allocate {
        ino: Ino,
        mode: AllocateMode,
        offset: u64,
        len: u64,
    },
    /// `copy_file_range` by sharing chunks. Reply: `Copied`.
    CopyRange {
        src: Ino,
        src_offset: u64,
        dst: Ino,
        dst_offset: u64,
        len: u64,
    },
    /// The session no longer holds these removed inodes open. Reply: `Done`.
    Release {
        inos: Vec<Ino>,
    },
    /// A range of fresh chunk ids in a set that is none of `avoid`, for this session. Reply: `ChunkRange`.
    AllocChunks {
        count: u32,
        avoid: Vec<SetId>,
    },
    /// A range of fresh inode numbers, for this session to make inodes with. Reply: `InoRange`.
    AllocInos {
        count: u32,
    },
    Ship(Ship),
    /// From now on so many bytes of the quota are promised to the session's commits. Reply: `Reserved`.
    ReserveQuota {
        quota: Ino,
        bytes: u64,
    },

    // The coordinator's own work; refused from a client.
    /// Frees a bounded part of the content of removed inodes. Reply: `Progress`.
    Purge {
        limit: u32,
    },
    /// Ends a session: its open references and chunk ranges. Reply: `Done`.
    EndSession {
        session: u128,
    },
    /// The chunks are gone from every member. Reply: `Done`.
    ForgetGarbage {
        chunks: Vec<ChunkId>,
    },
    /// A copy of a chunk is (not) on a member. Reply: `Done`.
    SetMissing {
        chunk: ChunkId,
        node: NodeId,
        missing: bool,
    },
    /// Sets a number for the whole volume. Reply: `Done`.
    SetSetting {
        name: Vec<u8>,
        value: u64,
    },
    /// Brings an inode back from the trash, to where it was or to an entry that does not exist. Reply: `Entry`.
    Restore {
        ino: Ino,
        to: Option<(Ino, Vec<u8>)>,
    },
    /// Frees at most `limit` inodes of the trash that were removed before a time. Reply: `Progress`.
    EmptyTrash {
        before: Timestamp,
        limit: u32,
    },
    /// Frees those of these inodes that came to the trash at this age of it or before; `u64::MAX`: all, if it is off. Reply: `Done`.
    ExpireTrash {
        inos: Vec<Ino>,
        age: u64,
    },
    /// Frees this inode of the trash. Reply: `Done`.
    Discard {
        ino: Ino,
    },
    /// Limits what a directory and everything below it may take; `u64::MAX` is no limit. Reply: `Done`.
    SetQuota {
        dir: Ino,
        bytes: u64,
        inodes: u64,
    },
    /// Reply: `Done`.
    RemoveQuota {
        dir: Ino,
    },
    /// Gives at most `limit` entries to new quotas or takes them from removed ones. Reply: `Progress`.
    WalkQuota {
        limit: u32,
    },
    Relocate(Relocate),
    /// Brings directories' sums up to date, and counts at most `limit` entries that an older program left uncounted.
    /// Reply: `Progress`.
    Count {
        limit: u32,
    },
}

/// Content that was copied into a new chunk: extents change to it where they still are what was read. Reply: `Done`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocate {
    pub chunk: Option<NewChunk>,
    pub moves: Vec<Move>,
}

/// Extents of a file, one after another without a gap, and where their bytes are now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub ino: Ino,
    pub content: u64,
    pub old: Vec<Extent>,
    /// Place in the new chunk.
    pub chunk_offset: u32,
}

/// `mknod`, `mkdir`, `symlink`, `open(O_CREAT)`. Reply: `Entry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Make {
    pub parent: Ino,
    pub name: Vec<u8>,
    pub kind: FileKind,
    /// Permission bits as the caller gave them; `umask` is applied unless a default ACL takes its place.
    pub mode: u32,
    pub umask: u32,
    pub rdev: u32,
    /// Target of a symbolic link, else empty.
    pub target: Vec<u8>,
    /// When false, an existing regular file is returned instead of `Exists` (`O_CREAT` without `O_EXCL`).
    pub exclusive: bool,
    pub who: Credentials,
}

/// `unlink`. `expect` names the inode that the client believes is meant and whether it holds it open; when
/// another inode is found, it counts as held open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlink {
    pub parent: Ino,
    pub name: Vec<u8>,
    pub expect: Option<(Ino, bool)>,
}

/// `rename`, with `expect` as in [`Unlink`] for the entry that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    pub parent: Ino,
    pub name: Vec<u8>,
    pub new_parent: Ino,
    pub new_name: Vec<u8>,
    pub mode: RenameMode,
    pub expect: Option<(Ino, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenameMode {
    Replace,
    NoReplace,
    Exchange,
}

/// A time to set: the coordinator's clock (`UTIME_NOW`) or a given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetTime {
    Now,
    At(Timestamp),
}

/// What `setattr` changes; `None` leaves as is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttrChanges {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    /// What a client that tells an access time late knows of it; never moves back. Else it is "now".
    pub ctime: Option<Timestamp>,
    /// Clear set-user-id, and set-group-id where the group may execute (the kernel asks for it).
    pub kill_suidgid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XattrMode {
    Any,
    Create,
    Replace,
}

/// The modes of `fallocate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllocateMode {
    /// Allocate; grow the size unless `keep_size`.
    Reserve { keep_size: bool },
    /// Free; the size stays.
    PunchHole,
    /// Zero without freeing; grow the size unless `keep_size`.
    ZeroRange { keep_size: bool },
}

/// A chunk that is stored and now becomes part of the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewChunk {
    pub id: ChunkId,
    /// Content length, bytes, before encoding.
    pub len: u32,
    pub sha256: [u8; 32],
    /// Members of the set that do not have it on disk, as far as the writer knows the members.
    pub missing: Vec<NodeId>,
    /// Nodes that have it on disk: with it the set's present members are judged, whatever the writer knew.
    pub on_disk: Vec<NodeId>,
}

/// New extents of one file, in increasing order, not overlapping. The size grows to their end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCommit {
    pub ino: Ino,
    pub extents: Vec<Extent>,
    /// Modification time of the newest write.
    pub mtime: Timestamp,
    /// Access time, when reads moved it.
    pub atime: Option<Timestamp>,
    /// Clear set-id bits: the kernel asked for it on a write.
    pub kill_suidgid: bool,
}

/// Chunks and what they are used for; one atomic change. Files that are gone are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub chunks: Vec<NewChunk>,
    pub files: Vec<FileCommit>,
}

/// What an operation returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Attr(Attr),
    /// `created` is false when a non-exclusive `Make` found the file.
    Entry {
        attr: Attr,
        created: bool,
    },
    Target(Vec<u8>),
    /// `end` when nothing follows.
    Page {
        entries: Vec<DirEntry>,
        end: bool,
    },
    Value(Vec<u8>),
    Names(Vec<Vec<u8>>),
    /// `next` is where to ask on when the page was full.
    Extents {
        extents: Vec<Extent>,
        next: Option<u64>,
    },
    Usage(VolumeUsage),
    /// `orphan`: the inode lives on until the session releases it.
    Removed {
        ino: Ino,
        orphan: bool,
    },
    Renamed {
        moved: Ino,
        replaced: Option<(Ino, bool)>,
    },
    Copied {
        len: u64,
        attr: Attr,
    },
    ChunkRange {
        set: SetId,
        first: u64,
        count: u32,
    },
    Progress {
        more: bool,
    },
    Quota(QuotaUsage),
    /// `room`: what could be promised beyond it.
    Reserved {
        bytes: u64,
        room: u64,
    },
    InoRange {
        first: Ino,
        count: u32,
    },
    /// The steps took effect; `refused` says why the content that came with them did not.
    Shipped {
        refused: Option<FsError>,
    },
}
