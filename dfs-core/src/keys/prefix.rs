//! The ranges of whole families of keys and of their parts: what scans are given.

use super::{Builder, KeyRange, family};
use crate::ids::{ChunkId, Ino, SessionId, SetId};

/// Every key of ours.
pub fn all() -> KeyRange {
    (vec![0], vec![u8::MAX])
}

pub fn inodes() -> KeyRange {
    Builder::new(family::INODE).range()
}

pub fn dentries() -> KeyRange {
    Builder::new(family::DENTRY).range()
}

pub fn xattrs(ino: Ino) -> KeyRange {
    Builder::new(family::XATTR).u64(ino.0).range()
}

/// The extents of all inodes, file by file.
pub fn all_extents() -> KeyRange {
    Builder::new(family::EXTENT).range()
}

/// The extents of one content of an inode.
pub fn extents(ino: Ino, content: u64) -> KeyRange {
    Builder::new(family::EXTENT).u64(ino.0).u64(content).range()
}

pub fn chunks() -> KeyRange {
    Builder::new(family::CHUNK).range()
}

pub fn chunks_of(set: SetId) -> KeyRange {
    Builder::new(family::CHUNK).u32(set.0).range()
}

pub fn garbage() -> KeyRange {
    Builder::new(family::GARBAGE).range()
}

pub fn missing() -> KeyRange {
    Builder::new(family::MISSING).range()
}

/// The members that lack a chunk.
pub fn missing_of(id: ChunkId) -> KeyRange {
    Builder::new(family::MISSING).u32(id.set.0).u64(id.seq).range()
}

pub fn ranges() -> KeyRange {
    Builder::new(family::RANGE).range()
}

pub fn ranges_of(session: SessionId) -> KeyRange {
    Builder::new(family::RANGE).u128(session.0).range()
}

pub fn orphans() -> KeyRange {
    Builder::new(family::ORPHAN).range()
}

/// The orphans that a session holds open.
pub fn held_by(session: SessionId) -> KeyRange {
    Builder::new(family::HELD).u128(session.0).range()
}

pub fn purges() -> KeyRange {
    Builder::new(family::PURGE).range()
}

pub fn sessions() -> KeyRange {
    Builder::new(family::SESSION).range()
}

pub fn replies() -> KeyRange {
    Builder::new(family::REPLY).range()
}

pub fn replies_of(session: SessionId) -> KeyRange {
    Builder::new(family::REPLY).u128(session.0).range()
}

pub fn nodes() -> KeyRange {
    Builder::new(family::NODE).range()
}

pub fn sets() -> KeyRange {
    Builder::new(family::SET).range()
}

pub fn counters() -> KeyRange {
    Builder::new(family::COUNTER).range()
}

/// What the trash holds, the oldest first.
pub fn trash() -> KeyRange {
    Builder::new(family::TRASH).range()
}

pub fn quotas() -> KeyRange {
    Builder::new(family::QUOTA).range()
}

pub fn reserved() -> KeyRange {
    Builder::new(family::RESERVED).range()
}

pub fn reserved_by(session: SessionId) -> KeyRange {
    Builder::new(family::RESERVED).u128(session.0).range()
}

pub fn walks() -> KeyRange {
    Builder::new(family::WALK).range()
}

pub fn walks_of(quota: Ino) -> KeyRange {
    Builder::new(family::WALK).u64(quota.0).range()
}

pub fn plans() -> KeyRange {
    Builder::new(family::PLAN).range()
}

/// The copies that members of a set lack.
pub fn missing_in(set: SetId) -> KeyRange {
    Builder::new(family::MISSING).u32(set.0).range()
}

/// What came to directories and is not in their sums yet.
pub fn arrived() -> KeyRange {
    Builder::new(family::ARRIVED).range()
}

/// The names of an inode besides the one that counts.
pub fn other_names(ino: Ino) -> KeyRange {
    Builder::new(family::OTHER_NAME).u64(ino.0).range()
}

pub fn uncounted() -> KeyRange {
    Builder::new(family::UNCOUNTED).range()
}
