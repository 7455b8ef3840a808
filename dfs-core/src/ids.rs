//! Identifiers, as newtypes so that they cannot be confused. Everyone uses them; they know nothing.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Inode number: unique in a volume, never reused.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory of every volume (and of every FUSE mount).
    pub const ROOT: Ino = Ino(1);
    /// The first number given to an ordinary inode; smaller ones are reserved.
    pub const FIRST: Ino = Ino(16);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A volume of the cluster; never reused. 0 is the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VolumeId(pub u16);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A replica set: the small group of datanodes that hold the same chunks. The upper half is the volume's number,
/// the lower half counts from 1 in the volume; a lower half of 0 is no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetId(pub u32);

impl SetId {
    /// The set with this number in its volume.
    pub fn new(volume: VolumeId, local: u16) -> SetId {
        SetId(u32::from(volume.0) << 16 | u32::from(local))
    }

    /// The volume whose chunks it holds.
    pub fn volume(self) -> VolumeId {
        VolumeId((self.0 >> 16) as u16)
    }
}

/// A chunk: the replica set that holds it and a sequence number in that set; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkId {
    pub set: SetId,
    pub seq: u64,
}

impl ChunkId {
    /// Allocated but unwritten bytes (`fallocate`): reads as zeros and is stored nowhere.
    pub const ZEROS: ChunkId = ChunkId {
        set: SetId(0),
        seq: 0,
    };
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.set.0, self.seq)
    }
}

/// A datanode: a small number that the coordinator gives to the node's UUID at registration. 0 is no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client's metadata session: a UUID that the client made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub u128);

impl SessionId {
    /// The coordinator's own work (purging, repair): it holds no leases.
    pub const COORDINATOR: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A request's number within its session, rising from 1: with the session it makes a repeat recognisable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpId(pub u64);

/// The leader's fencing token: rises with each new leader; requests under an older one are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Term(pub u64);

/// A record's place in the metadata log, rising from 1 without holes. 0 is "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Index(pub u64);

impl Index {
    /// The index that follows.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }
}
