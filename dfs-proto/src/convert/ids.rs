//! Identifiers: chunk ids, node ids, UUIDs. Used by every other family.

use super::error::{WireError, at_most, in_range};
use crate::v1;
use dfs_core::ids::{ChunkId, NodeId, SessionId, SetId};

/// Most members of one replica set: more copies than anybody keeps, few enough to bound every list of them.
pub const MEMBERS_MAX: usize = 16;

impl From<ChunkId> for v1::ChunkId {
    fn from(id: ChunkId) -> Self {
        v1::ChunkId {
            set: id.set.0,
            seq: id.seq,
        }
    }
}

/// Either a stored chunk or [`ChunkId::ZEROS`]; no other id has set 0.
impl TryFrom<v1::ChunkId> for ChunkId {
    type Error = WireError;

    fn try_from(id: v1::ChunkId) -> Result<Self, WireError> {
        in_range(
            id.set != 0 || id.seq == 0,
            id.seq,
            "ChunkId.seq",
            "0 where the set is 0",
        )?;
        Ok(ChunkId {
            set: SetId(id.set),
            seq: id.seq,
        })
    }
}

/// A chunk that datanodes can hold: not the zeros.
pub fn stored_chunk(id: Option<v1::ChunkId>, field: &'static str) -> Result<ChunkId, WireError> {
    let id = ChunkId::try_from(id.ok_or(WireError::Absent { field })?)?;
    in_range(id.set.0 != 0, 0u32, field, "a set from 1")?;
    Ok(id)
}

/// Node ids of members of one set: none is 0, at most [`MEMBERS_MAX`].
pub fn node_ids(ids: &[u32], field: &'static str) -> Result<Vec<NodeId>, WireError> {
    at_most(ids.len(), MEMBERS_MAX, field)?;
    ids.iter().map(|&id| node_id(id, field)).collect()
}

/// One node id: not 0.
pub fn node_id(id: u32, field: &'static str) -> Result<NodeId, WireError> {
    in_range(id != 0, id, field, "from 1")?;
    Ok(NodeId(id))
}

/// A UUID as the wire carries it: 16 bytes, most significant first.
pub fn uuid(bytes: &[u8], field: &'static str) -> Result<[u8; 16], WireError> {
    bytes.try_into().map_err(|_| WireError::WrongLength {
        field,
        len: bytes.len(),
        expected: 16,
    })
}

/// A client's session: a UUID that is not the coordinator's own (0).
pub fn session_id(bytes: &[u8]) -> Result<SessionId, WireError> {
    let id = u128::from_be_bytes(uuid(bytes, "Hello.session")?);
    in_range(
        id != SessionId::COORDINATOR.0,
        0u32,
        "Hello.session",
        "a UUID that is not nil",
    )?;
    Ok(SessionId(id))
}

/// The form of a session id on the wire.
pub fn session_id_bytes(id: SessionId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// A SHA-256: exactly 32 bytes.
pub fn sha256(bytes: &[u8], field: &'static str) -> Result<[u8; 32], WireError> {
    bytes.try_into().map_err(|_| WireError::WrongLength {
        field,
        len: bytes.len(),
        expected: 32,
    })
}
