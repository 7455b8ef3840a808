//! The values of the namespace: times, kinds, attributes, extents, entries, usage.

use super::error::{WireError, in_range, required, unknown};
use super::names::existing_name;
use crate::v1;
use dfs_core::chunk::CHUNK_MAX;
use dfs_core::ids::{ChunkId, Ino};
use dfs_core::types::{
    Attr, Credentials, DirEntry, Extent, FileKind, LeaseMode, QuotaUsage, SIZE_MAX, Timestamp, VolumeUsage,
};

/// Permission bits with set-id and sticky.
const MODE_BITS: u32 = 0o7777;

/// Permission bits in a request or a reply: nothing of the file's kind.
pub fn mode_bits(mode: u32, field: &'static str) -> Result<u32, WireError> {
    in_range(
        mode & !MODE_BITS == 0,
        mode,
        field,
        "0 to 0o7777: permission bits without the kind",
    )?;
    Ok(mode)
}

impl From<Timestamp> for v1::Timestamp {
    fn from(time: Timestamp) -> Self {
        v1::Timestamp {
            secs: time.secs,
            nanos: time.nanos,
        }
    }
}

impl TryFrom<v1::Timestamp> for Timestamp {
    type Error = WireError;

    fn try_from(time: v1::Timestamp) -> Result<Self, WireError> {
        in_range(
            time.nanos < 1_000_000_000,
            time.nanos,
            "Timestamp.nanos",
            "below 10^9",
        )?;
        Ok(Timestamp {
            secs: time.secs,
            nanos: time.nanos,
        })
    }
}

/// A time that must be there.
pub fn timestamp(time: Option<v1::Timestamp>, field: &'static str) -> Result<Timestamp, WireError> {
    required(time, field)?.try_into()
}

impl From<FileKind> for v1::FileKind {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::File => v1::FileKind::File,
            FileKind::Directory => v1::FileKind::Directory,
            FileKind::Symlink => v1::FileKind::Symlink,
            FileKind::Fifo => v1::FileKind::Fifo,
            FileKind::Socket => v1::FileKind::Socket,
            FileKind::CharDevice => v1::FileKind::CharDevice,
            FileKind::BlockDevice => v1::FileKind::BlockDevice,
        }
    }
}

/// The kind behind an enumeration's number.
pub fn file_kind(number: i32, field: &'static str) -> Result<FileKind, WireError> {
    match v1::FileKind::try_from(number).map_err(|_| unknown(number, field))? {
        v1::FileKind::Unspecified => Err(WireError::Absent { field }),
        v1::FileKind::File => Ok(FileKind::File),
        v1::FileKind::Directory => Ok(FileKind::Directory),
        v1::FileKind::Symlink => Ok(FileKind::Symlink),
        v1::FileKind::Fifo => Ok(FileKind::Fifo),
        v1::FileKind::Socket => Ok(FileKind::Socket),
        v1::FileKind::CharDevice => Ok(FileKind::CharDevice),
        v1::FileKind::BlockDevice => Ok(FileKind::BlockDevice),
    }
}

impl From<LeaseMode> for v1::LeaseMode {
    fn from(mode: LeaseMode) -> Self {
        match mode {
            LeaseMode::None => v1::LeaseMode::None,
            LeaseMode::Shared => v1::LeaseMode::Shared,
            LeaseMode::Exclusive => v1::LeaseMode::Exclusive,
        }
    }
}

/// The lease mode behind an enumeration's number.
pub fn lease_mode(number: i32, field: &'static str) -> Result<LeaseMode, WireError> {
    Ok(
        match v1::LeaseMode::try_from(number).map_err(|_| unknown(number, field))? {
            v1::LeaseMode::None => LeaseMode::None,
            v1::LeaseMode::Shared => LeaseMode::Shared,
            v1::LeaseMode::Exclusive => LeaseMode::Exclusive,
        },
    )
}

impl From<Attr> for v1::Attr {
    fn from(attr: Attr) -> Self {
        v1::Attr {
            ino: attr.ino.0,
            kind: v1::FileKind::from(attr.kind).into(),
            mode: attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            size: attr.size,
            blocks: attr.blocks,
            atime: Some(attr.atime.into()),
            mtime: Some(attr.mtime.into()),
            ctime: Some(attr.ctime.into()),
            btime: Some(attr.btime.into()),
            version: attr.version,
            content_epoch: attr.content_epoch,
            quota: attr.quota.0,
            xattrs: attr.xattrs,
        }
    }
}

impl TryFrom<v1::Attr> for Attr {
    type Error = WireError;

    fn try_from(attr: v1::Attr) -> Result<Self, WireError> {
        in_range(attr.ino != 0, attr.ino, "Attr.ino", "from 1")?;
        in_range(attr.size <= SIZE_MAX, attr.size, "Attr.size", "below 2^63")?;
        Ok(Attr {
            ino: Ino(attr.ino),
            kind: file_kind(attr.kind, "Attr.kind")?,
            mode: mode_bits(attr.mode, "Attr.mode")?,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            size: attr.size,
            blocks: attr.blocks,
            atime: timestamp(attr.atime, "Attr.atime")?,
            mtime: timestamp(attr.mtime, "Attr.mtime")?,
            ctime: timestamp(attr.ctime, "Attr.ctime")?,
            btime: timestamp(attr.btime, "Attr.btime")?,
            version: attr.version,
            content_epoch: attr.content_epoch,
            quota: Ino(attr.quota),
            xattrs: attr.xattrs,
        })
    }
}

impl From<Extent> for v1::Extent {
    fn from(extent: Extent) -> Self {
        v1::Extent {
            offset: extent.offset,
            len: extent.len,
            chunk: Some(extent.chunk.into()),
            chunk_offset: extent.chunk_offset,
        }
    }
}

/// Not empty, below 2^63, and inside its chunk; zeros are as long as they like.
impl TryFrom<v1::Extent> for Extent {
    type Error = WireError;

    fn try_from(extent: v1::Extent) -> Result<Self, WireError> {
        let v1::Extent {
            offset,
            len,
            chunk,
            chunk_offset,
        } = extent;
        let ends_in_range = offset.checked_add(len).is_some_and(|end| end <= SIZE_MAX);
        in_range(
            len > 0 && ends_in_range,
            len,
            "Extent.len",
            "at least 1, ending below 2^63",
        )?;
        let chunk = ChunkId::try_from(required(chunk, "Extent.chunk")?)?;
        let inside = u64::from(chunk_offset)
            .checked_add(len)
            .is_some_and(|end| end <= u64::from(CHUNK_MAX) || chunk == ChunkId::ZEROS);
        in_range(
            inside,
            chunk_offset,
            "Extent.chunk_offset",
            "a place from which len bytes fit a chunk",
        )?;
        Ok(Extent {
            offset,
            len,
            chunk,
            chunk_offset,
        })
    }
}

/// Extents of one file: each sane, in increasing order, not overlapping.
pub fn ordered_extents(list: Vec<v1::Extent>, field: &'static str) -> Result<Vec<Extent>, WireError> {
    let extents = list
        .into_iter()
        .map(Extent::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    if extents.windows(2).any(|pair| pair[0].end() > pair[1].offset) {
        return Err(WireError::Disorder { field });
    }
    Ok(extents)
}

impl From<DirEntry> for v1::DirEntry {
    fn from(entry: DirEntry) -> Self {
        v1::DirEntry {
            name: entry.name,
            ino: entry.ino.0,
            kind: v1::FileKind::from(entry.kind).into(),
            cookie: entry.cookie,
            attr: entry.attr.map(Into::into),
        }
    }
}

impl TryFrom<v1::DirEntry> for DirEntry {
    type Error = WireError;

    fn try_from(entry: v1::DirEntry) -> Result<Self, WireError> {
        in_range(entry.ino != 0, entry.ino, "DirEntry.ino", "from 1")?;
        Ok(DirEntry {
            name: existing_name(entry.name, "DirEntry.name")?,
            ino: Ino(entry.ino),
            kind: file_kind(entry.kind, "DirEntry.kind")?,
            cookie: entry.cookie,
            attr: entry.attr.map(Attr::try_from).transpose()?,
        })
    }
}

impl From<Credentials> for v1::Credentials {
    fn from(who: Credentials) -> Self {
        v1::Credentials {
            uid: who.uid,
            gid: who.gid,
        }
    }
}

impl From<v1::Credentials> for Credentials {
    fn from(who: v1::Credentials) -> Self {
        Credentials {
            uid: who.uid,
            gid: who.gid,
        }
    }
}

impl From<VolumeUsage> for v1::Usage {
    fn from(usage: VolumeUsage) -> Self {
        v1::Usage {
            total_bytes: usage.total_bytes,
            used_bytes: usage.used_bytes,
            available_bytes: usage.available_bytes,
            inodes: usage.inodes,
        }
    }
}

impl From<v1::Usage> for VolumeUsage {
    fn from(usage: v1::Usage) -> Self {
        VolumeUsage {
            total_bytes: usage.total_bytes,
            used_bytes: usage.used_bytes,
            available_bytes: usage.available_bytes,
            inodes: usage.inodes,
        }
    }
}

impl From<QuotaUsage> for v1::QuotaUsage {
    fn from(usage: QuotaUsage) -> Self {
        v1::QuotaUsage {
            limit_bytes: usage.limit_bytes,
            limit_inodes: usage.limit_inodes,
            used_bytes: usage.used_bytes,
            used_inodes: usage.used_inodes,
            available_bytes: usage.available_bytes,
            available_inodes: usage.available_inodes,
        }
    }
}

impl From<v1::QuotaUsage> for QuotaUsage {
    fn from(usage: v1::QuotaUsage) -> Self {
        QuotaUsage {
            limit_bytes: usage.limit_bytes,
            limit_inodes: usage.limit_inodes,
            used_bytes: usage.used_bytes,
            used_inodes: usage.used_inodes,
            available_bytes: usage.available_bytes,
            available_inodes: usage.available_inodes,
        }
    }
}
