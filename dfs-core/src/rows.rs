//! The rows of a volume's state: a version byte, then postcard. The namespace, the coordinator and the checker
//! read and write rows only here. Fields are added only with a new version and a golden test of the old one.

mod cluster;
mod space;

pub use cluster::{
    Former, Joined, Joining, NodeRow, NodeState, PLANS_KEPT, PlanKind, PlanRow, PlanState, SetRow,
};
pub use space::{
    CountRow, Origin, OtherNameRow, QuotaRow, QuotaState, ReservedRow, SettingRow, TrashRow, WalkRow,
};

use crate::error::FsResult;
use crate::ids::{ChunkId, Ino, OpId, SessionId};
use crate::op::Reply;
use crate::types::{Attr, Extent, FileKind, Timestamp};
use crate::view::ViewError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the rows that have had one form only.
const VERSION: u8 = 1;
/// The version of a row that uses fields which were added at its end. Without them it is written as version 1.
const GROWN: u8 = 2;
/// The version of a row that uses fields which were added after those.
const GROWN_TWICE: u8 = 3;

/// An inode: its attributes and what only the volume needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InodeRow {
    pub kind: FileKind,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub size: u64,
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    pub version: u64,
    pub content_epoch: u64,
    /// The directory that a directory is in (the root's is itself); `Ino(0)` for other kinds.
    pub parent: Ino,
    /// Number of the present content: extents of older ones wait to be purged.
    pub content: u64,
    /// How many xattr rows there are: most inodes have none and need no scan.
    pub xattrs: u32,
    /// Target of a symbolic link.
    pub target: Vec<u8>,
    /// The nearest quota at or above it, by its directory; 0 for none. Since version 2.
    pub quota: Ino,
    /// Bytes that it is charged for there: the sum of its extents' lengths; 0 without a quota. Since version 2.
    pub charged: u64,
    /// The directory whose sums count it; 0 when none does yet. Since version 3.
    pub home: Ino,
    /// The hash of the name in it that counts: an inode with several names counts once. 0: the one name in it that is no
    /// `OtherNameRow`'s. Since version 3.
    pub place: u64,
}

impl InodeRow {
    /// The attributes as `stat` shows them.
    pub fn attr(&self, ino: Ino) -> Attr {
        Attr {
            ino,
            kind: self.kind,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size: self.size,
            blocks: self.blocks,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: self.btime,
            version: self.version,
            content_epoch: self.content_epoch,
            quota: self.quota,
            xattrs: self.xattrs,
        }
    }

    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DentryRow {
    pub ino: Ino,
    pub kind: FileKind,
}

/// An extended attribute's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XattrRow {
    pub value: Vec<u8>,
}

/// A run of a file's bytes; its end is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtentRow {
    pub len: u64,
    pub chunk: ChunkId,
    pub chunk_offset: u32,
}

impl ExtentRow {
    pub fn of(extent: &Extent) -> ExtentRow {
        ExtentRow {
            len: extent.len,
            chunk: extent.chunk,
            chunk_offset: extent.chunk_offset,
        }
    }

    /// The extent that ends at `end`; `None` when the row cannot be one.
    pub fn extent(&self, end: u64) -> Option<Extent> {
        let offset = end.checked_sub(self.len).filter(|_| self.len > 0)?;
        Some(Extent {
            offset,
            len: self.len,
            chunk: self.chunk,
            chunk_offset: self.chunk_offset,
        })
    }
}

/// A chunk that something refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRow {
    /// Content length.
    pub len: u32,
    /// Sum of the lengths of the extents that refer to it; greater than `len` when ranges are shared.
    pub live_bytes: u64,
    /// Number of those extents.
    pub references: u64,
    pub sha256: [u8; 32],
    /// Number of `MissingRow`s: most chunks have none and need no scan when they go.
    pub missing: u32,
}

/// A chunk that nothing refers to any more, to be deleted from its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GarbageRow {
    pub since: Timestamp,
}

/// A member of the set does not have the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRow {
    pub since: Timestamp,
}

/// Chunk sequence numbers leased to a session: `count` from the one in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRow {
    pub count: u32,
}

/// An inode without a name and the sessions that hold it open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanRow {
    pub holders: Vec<SessionId>,
    /// Born without a name (`O_TMPFILE`): it may still be given one.
    pub linkable: bool,
    /// Where it was removed, when the trash takes it at its last close. Since version 2.
    pub origin: Option<Origin>,
}

/// The index entry for an orphan that a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow;

/// Content whose extents are to be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRow {
    pub since: Timestamp,
}

/// A client's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// What the client calls itself, for people.
    pub client: String,
    pub created: Timestamp,
    /// Others were given what it may believe to hold, and it has not confirmed that it knows: what it claims from
    /// a new leader is void. Since version 2.
    pub lapsed: bool,
}

/// Answers to changes of one session that became durable together, kept until the client has acknowledged all of
/// them, under the number of one of them. Version 1 is the answer with that number alone; it is still written so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepliesRow(pub Vec<(OpId, FsResult<Reply>)>);

impl RepliesRow {
    /// Version byte and content.
    pub fn encode_under(&self, key: OpId) -> Vec<u8> {
        match self.0.as_slice() {
            [(op, result)] if *op == key => encode_row(VERSION, result),
            _ => encode_row(GROWN, self),
        }
    }

    /// The answers in the `bytes` that are kept under this number.
    pub fn decode_under(key: OpId, bytes: &[u8]) -> Result<RepliesRow, ViewError> {
        match split_version(&[], bytes)? {
            (VERSION, body) => Ok(RepliesRow(vec![(key, decode_body(&[], body)?)])),
            (GROWN, body) => decode_body(&[], body),
            (version, _) => Err(unknown_version(&[], version)),
        }
    }
}

impl Row for RepliesRow {
    fn encode(&self) -> Vec<u8> {
        self.encode_under(self.0.first().map_or(OpId(0), |(op, _)| *op))
    }

    fn decode(key: &[u8], bytes: &[u8]) -> Result<RepliesRow, ViewError> {
        match crate::keys::parse(key) {
            Some(crate::keys::Key::Reply { op, .. }) => RepliesRow::decode_under(op, bytes),
            _ => Err(damaged(key, "it is under a key of another kind".to_owned())),
        }
    }
}

/// A number that only rises or that sums something up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRow {
    pub value: u64,
}

fn encode_row<T: Serialize>(version: u8, row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![version])
        .expect("rows hold only what postcard can encode, and memory grows")
}

/// A row with fields that version 1 had not. Bytes of version 1 are those of version 2 without its end, which is
/// `added` zeros when the new fields are not used.
fn encode_grown<T: Serialize>(row: &T, grown: bool, added: usize) -> Vec<u8> {
    let mut bytes = encode_row(if grown { GROWN } else { VERSION }, row);
    if !grown {
        bytes.truncate(bytes.len() - added);
    }
    bytes
}

fn decode_grown<T: DeserializeOwned>(key: &[u8], bytes: &[u8], added: usize) -> Result<T, ViewError> {
    match split_version(key, bytes)? {
        (GROWN, body) => decode_body(key, body),
        (VERSION, body) => decode_body(key, &[body, &vec![0; added]].concat()),
        (version, _) => Err(unknown_version(key, version)),
    }
}

fn damaged(key: &[u8], reason: String) -> ViewError {
    ViewError::Damaged {
        key: print_key(key),
        reason,
    }
}

/// The version and what follows it.
fn split_version<'a>(key: &[u8], bytes: &'a [u8]) -> Result<(u8, &'a [u8]), ViewError> {
    let split = bytes.split_first();
    let (&version, body) = split.ok_or_else(|| damaged(key, "empty".into()))?;
    Ok((version, body))
}

fn unknown_version(key: &[u8], version: u8) -> ViewError {
    damaged(key, format!("version {version} is not known to this program"))
}

fn decode_body<T: DeserializeOwned>(key: &[u8], body: &[u8]) -> Result<T, ViewError> {
    let (row, rest) = postcard::take_from_bytes(body).map_err(|error| damaged(key, error.to_string()))?;
    if !rest.is_empty() {
        return Err(damaged(key, format!("{} bytes too many", rest.len())));
    }
    Ok(row)
}

fn decode_row<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, ViewError> {
    match split_version(key, bytes)? {
        (VERSION, body) => decode_body(key, body),
        (version, _) => Err(unknown_version(key, version)),
    }
}

/// The key as a person can read it.
pub fn print_key(key: &[u8]) -> String {
    match crate::keys::parse(key) {
        Some(key) => format!("{key:?}"),
        None => format!("{key:02x?}"),
    }
}

/// What every row can do.
pub trait Row: Sized {
    /// Version byte and content.
    fn encode(&self) -> Vec<u8>;
    /// The row in `bytes`; `key` is for the error's text.
    fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, ViewError>;
}

macro_rules! rows {
    ($($row:ident)*) => {$(
        impl $row {
            /// Version byte and content.
            pub fn encode(&self) -> Vec<u8> {
                encode_row(VERSION, self)
            }

            /// The row in `bytes`; `key` is for the error's text.
            pub fn decode(key: &[u8], bytes: &[u8]) -> Result<$row, ViewError> {
                decode_row(key, bytes)
            }
        }

        impl Row for $row {
            fn encode(&self) -> Vec<u8> {
                encode_row(VERSION, self)
            }

            fn decode(key: &[u8], bytes: &[u8]) -> Result<$row, ViewError> {
                decode_row(key, bytes)
            }
        }
    )*};
}

rows!(DentryRow XattrRow ExtentRow ChunkRow GarbageRow MissingRow RangeRow HeldRow PurgeRow
      CounterRow PlanRow SettingRow QuotaRow ReservedRow WalkRow CountRow OtherNameRow);

/// Rows with fields that were added at their end.
macro_rules! grown_rows {
    ($($row:ident, $grown:expr, $added:literal;)*) => {$(
        impl $row {
            /// Version byte and content.
            pub fn encode(&self) -> Vec<u8> {
                let grown: fn(&$row) -> bool = $grown;
                encode_grown(self, grown(self), $added)
            }

            /// The row in `bytes`; `key` is for the error's text.
            pub fn decode(key: &[u8], bytes: &[u8]) -> Result<$row, ViewError> {
                decode_grown(key, bytes, $added)
            }
        }

        impl Row for $row {
            fn encode(&self) -> Vec<u8> {
                $row::encode(self)
            }

            fn decode(key: &[u8], bytes: &[u8]) -> Result<$row, ViewError> {
                $row::decode(key, bytes)
            }
        }
    )*};
}

impl InodeRow {
    /// Version byte and content. What is not used at its end is zeros, and is left off.
    pub fn encode(&self) -> Vec<u8> {
        let (version, unused) = match () {
            () if self.home != Ino(0) || self.place != 0 => (GROWN_TWICE, 0),
            () if self.quota != Ino(0) || self.charged != 0 => (GROWN, 2),
            () => (VERSION, 4),
        };
        let mut bytes = encode_row(version, self);
        bytes.truncate(bytes.len() - unused);
        bytes
    }

    /// The row in `bytes`; `key` is for the error's text.
    pub fn decode(key: &[u8], bytes: &[u8]) -> Result<InodeRow, ViewError> {
        match split_version(key, bytes)? {
            (GROWN_TWICE, body) => decode_body(key, body),
            (GROWN, body) => decode_body(key, &[body, &[0; 2]].concat()),
            (VERSION, body) => decode_body(key, &[body, &[0; 4]].concat()),
            (version, _) => Err(unknown_version(key, version)),
        }
    }
}

impl Row for InodeRow {
    fn encode(&self) -> Vec<u8> {
        InodeRow::encode(self)
    }

    fn decode(key: &[u8], bytes: &[u8]) -> Result<InodeRow, ViewError> {
        InodeRow::decode(key, bytes)
    }
}

grown_rows! {
    OrphanRow, |row| row.origin.is_some(), 1;
    SessionRow, |row| row.lapsed, 1;
    TrashRow, |row| row.age != 0, 1;
}
