//! Replies: `dfs_core::op::Reply` and its message, and an operation's whole outcome.

use super::error::{WireError, at_most, in_range, required};
use super::names::{bytes, xattr_names};
use super::values::ordered_extents;
use crate::v1;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{Ino, SetId};
use dfs_core::op::{CHUNK_RANGE_MAX, EXTENT_PAGE_MAX, INO_RANGE_MAX, PAGE_ENTRIES_MAX, Reply};
use dfs_core::types::{Attr, DirEntry, SYMLINK_MAX, XATTR_VALUE_MAX};
use v1::result::Result as Wire;

/// The message for a reply; `None` for a reply to the coordinator's own work.
pub fn reply_to_wire(reply: Reply) -> Option<v1::Result> {
    let result = match reply {
        Reply::Done => Wire::Done(v1::Done {}),
        Reply::Attr(attr) => Wire::Attr(attr.into()),
        Reply::Entry { attr, created } => Wire::Entry(v1::Entry {
            attr: Some(attr.into()),
            created,
        }),
        Reply::Target(target) => Wire::Target(target),
        Reply::Page { entries, end } => Wire::Page(v1::Page {
            entries: entries.into_iter().map(Into::into).collect(),
            end,
        }),
        Reply::Value(value) => Wire::Value(value),
        Reply::Names(names) => Wire::Names(v1::Names { names }),
        Reply::Extents { extents, next } => Wire::Extents(v1::Extents {
            extents: extents.into_iter().map(Into::into).collect(),
            next,
        }),
        Reply::Usage(usage) => Wire::Usage(usage.into()),
        Reply::Removed { ino, orphan } => Wire::Removed(v1::Removed { ino: ino.0, orphan }),
        Reply::Renamed { moved, replaced } => Wire::Renamed(v1::Renamed {
            moved: moved.0,
            replaced: replaced.map(|(ino, orphan)| v1::Removed { ino: ino.0, orphan }),
        }),
        Reply::Copied { len, attr } => Wire::Copied(v1::Copied {
            len,
            attr: Some(attr.into()),
        }),
        Reply::ChunkRange { set, first, count } => Wire::ChunkRange(v1::ChunkRange {
            set: set.0,
            first,
            count,
        }),
        Reply::Quota(usage) => Wire::Quota(usage.into()),
        Reply::Reserved { bytes, room } => Wire::Reserved(v1::Reserved { bytes, room }),
        Reply::InoRange { first, count } => Wire::InoRange(v1::InoRange {
            first: first.0,
            count,
        }),
        Reply::Shipped { refused } => Wire::Shipped(v1::Shipped {
            refused: refused.map(|error| u32::from(error.code())),
        }),
        Reply::Progress { .. } => return None,
    };
    Some(v1::Result { result: Some(result) })
}

impl TryFrom<v1::Result> for Reply {
    type Error = WireError;

    fn try_from(reply: v1::Result) -> Result<Self, WireError> {
        Ok(match required(reply.result, "Result.result")? {
            Wire::Done(_) => Reply::Done,
            Wire::Attr(attr) => Reply::Attr(attr.try_into()?),
            Wire::Entry(m) => Reply::Entry {
                attr: attribute(m.attr, "Entry.attr")?,
                created: m.created,
            },
            Wire::Target(target) => Reply::Target(bytes(target, SYMLINK_MAX, "Result.target")?),
            Wire::Page(m) => page(m)?,
            Wire::Value(value) => Reply::Value(bytes(value, XATTR_VALUE_MAX, "Result.value")?),
            Wire::Names(m) => Reply::Names(xattr_names(m.names, "Names.names")?),
            Wire::Extents(m) => extents(m)?,
            Wire::Usage(usage) => Reply::Usage(usage.into()),
            Wire::Removed(m) => Reply::Removed {
                ino: Ino(m.ino),
                orphan: m.orphan,
            },
            Wire::Renamed(m) => Reply::Renamed {
                moved: Ino(m.moved),
                replaced: m.replaced.map(|removed| (Ino(removed.ino), removed.orphan)),
            },
            Wire::Copied(m) => Reply::Copied {
                len: m.len,
                attr: attribute(m.attr, "Copied.attr")?,
            },
            Wire::ChunkRange(m) => chunk_range(m)?,
            Wire::Quota(usage) => Reply::Quota(usage.into()),
            Wire::Reserved(m) => Reply::Reserved {
                bytes: m.bytes,
                room: m.room,
            },
            Wire::InoRange(m) => ino_range(m)?,
            Wire::Shipped(m) => Reply::Shipped {
                refused: m.refused.map(fs_error).transpose()?,
            },
        })
    }
}

fn attribute(attr: Option<v1::Attr>, field: &'static str) -> Result<Attr, WireError> {
    required(attr, field)?.try_into()
}

fn page(m: v1::Page) -> Result<Reply, WireError> {
    at_most(m.entries.len(), PAGE_ENTRIES_MAX as usize, "Page.entries")?;
    let entries = m
        .entries
        .into_iter()
        .map(DirEntry::try_from)
        .collect::<Result<_, _>>()?;
    Ok(Reply::Page { entries, end: m.end })
}

fn extents(m: v1::Extents) -> Result<Reply, WireError> {
    at_most(m.extents.len(), EXTENT_PAGE_MAX, "Extents.extents")?;
    Ok(Reply::Extents {
        extents: ordered_extents(m.extents, "Extents.extents")?,
        next: m.next,
    })
}

fn chunk_range(m: v1::ChunkRange) -> Result<Reply, WireError> {
    in_range(m.set != 0, m.set, "ChunkRange.set", "from 1")?;
    in_range(
        (1..=CHUNK_RANGE_MAX).contains(&m.count),
        m.count,
        "ChunkRange.count",
        "1 to CHUNK_RANGE_MAX",
    )?;
    let fits = m.first.checked_add(u64::from(m.count)).is_some();
    in_range(
        fits,
        m.first,
        "ChunkRange.first",
        "a start whose range ends below 2^64",
    )?;
    Ok(Reply::ChunkRange {
        set: SetId(m.set),
        first: m.first,
        count: m.count,
    })
}

fn ino_range(m: v1::InoRange) -> Result<Reply, WireError> {
    in_range(
        (1..=INO_RANGE_MAX).contains(&m.count),
        m.count,
        "InoRange.count",
        "1 to INO_RANGE_MAX",
    )?;
    let fits = m.first != 0 && m.first.checked_add(u64::from(m.count)).is_some();
    in_range(
        fits,
        m.first,
        "InoRange.first",
        "from 1, and a range that ends below 2^64",
    )?;
    Ok(Reply::InoRange {
        first: Ino(m.first),
        count: m.count,
    })
}

/// The error behind a wire number. A number of a newer version is a `WireError`; a client that wants to go
/// on shows such a refusal as an input/output error.
pub fn fs_error(code: u32) -> Result<FsError, WireError> {
    u8::try_from(code)
        .ok()
        .and_then(FsError::from_code)
        .ok_or(WireError::OutOfRange {
            field: "Reply.error",
            value: u64::from(code),
            allowed: "an error that this version knows",
        })
}

/// An operation's outcome as `Reply.outcome`; `None` as in [`reply_to_wire`].
pub fn outcome_to_wire(outcome: FsResult<Reply>) -> Option<v1::reply::Outcome> {
    Some(match outcome {
        Ok(reply) => v1::reply::Outcome::Result(reply_to_wire(reply)?),
        Err(error) => v1::reply::Outcome::Error(u32::from(error.code())),
    })
}

/// The outcome of an operation (not of a lock request).
pub fn outcome(outcome: Option<v1::reply::Outcome>) -> Result<FsResult<Reply>, WireError> {
    match required(outcome, "Reply.outcome")? {
        v1::reply::Outcome::Error(code) => Ok(Err(fs_error(code)?)),
        v1::reply::Outcome::Result(result) => Ok(Ok(result.try_into()?)),
        v1::reply::Outcome::Lock(_) => Err(WireError::Absent {
            field: "Reply.result",
        }),
    }
}
