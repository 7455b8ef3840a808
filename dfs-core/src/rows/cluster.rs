//! Rows of the datanodes, their replica sets and the plans that move copies. The first version of node
//! and set rows, which knew no change of members, is still read, and the second of sets.

use super::{Row, decode_body, encode_row, split_version, unknown_version};
use crate::ids::NodeId;
use crate::types::Timestamp;
use crate::view::ViewError;
use serde::{Deserialize, Serialize};

/// The versions of node and set rows that this code writes.
const NODE_VERSION: u8 = 2;
const SET_VERSION: u8 = 3;
/// Plans whose rows are kept, the newest ones: what an operator looks back at.
pub const PLANS_KEPT: usize = 32;

/// Whether a datanode takes part. Stored: new ones are added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Takes new chunks.
    Active,
    /// Serves what it has, takes nothing new; its places in sets go to others.
    Draining,
    /// Gone for good; it is not let in again.
    Removed,
    /// Silent for so long that its places in sets go to others.
    Dead,
}

/// A datanode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    pub uuid: [u8; 16],
    pub address: String,
    pub zone: String,
    pub state: NodeState,
    /// When it got into this state.
    pub since: Timestamp,
}

#[derive(Deserialize)]
struct NodeRow1 {
    uuid: [u8; 16],
    address: String,
    zone: String,
    state: NodeState,
}

/// A replica set. A member is full, or joining (new chunks are written to it, old ones are being copied), or
/// leaving (replaced by one that joins: a source until the move is done).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRow {
    /// Rises with each change of the members.
    pub epoch: u64,
    /// Full, joining and leaving ones, sorted.
    pub members: Vec<NodeId>,
    pub joining: Vec<Joining>,
    /// Members of before that may still have copies; these are deleted after the usual delay.
    pub former: Vec<Former>,
    /// Full members that were filled in a move.
    pub joined: Vec<Joined>,
}

/// A member that is being filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    pub node: NodeId,
    /// The member that leaves once this one has everything.
    pub replaces: Option<NodeId>,
    /// Chunks below this sequence number were copied, or noted as missing here.
    pub next: u64,
    /// Chunks from this number on were given out when the member had joined: commits say whether it has them.
    pub until: u64,
    /// The plan that this move belongs to.
    pub plan: u64,
}

/// A member of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    pub node: NodeId,
    pub since: Timestamp,
}

/// A member that is there since a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub node: NodeId,
    /// Chunks below this number were given out before.
    pub until: u64,
}

#[derive(Deserialize)]
struct SetRow1 {
    epoch: u64,
    members: Vec<NodeId>,
}

#[derive(Deserialize)]
struct SetRow2 {
    epoch: u64,
    members: Vec<NodeId>,
    joining: Vec<Joining>,
    former: Vec<Former>,
}

impl SetRow {
    /// A new set: all members are full.
    pub fn new(members: Vec<NodeId>) -> SetRow {
        SetRow {
            epoch: 1,
            members,
            ..SetRow::default()
        }
    }

    pub fn is_joining(&self, node: NodeId) -> bool {
        self.joining.iter().any(|joining| joining.node == node)
    }

    /// Whether a chunk's number was given out before the member joined: what was written to the node then may be from an
    /// earlier membership, and was deleted since.
    pub fn is_before(&self, node: NodeId, seq: u64) -> bool {
        let joining = self.joining.iter().map(|joining| (joining.node, joining.until));
        let mut since = joining.chain(self.joined.iter().map(|joined| (joined.node, joined.until)));
        since.any(|(member, until)| member == node && seq < until)
    }

    pub fn is_leaving(&self, node: NodeId) -> bool {
        self.joining.iter().any(|joining| joining.replaces == Some(node))
    }

    /// Members that new chunks are written to: all but those that leave.
    pub fn writers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members
            .iter()
            .copied()
            .filter(|node| !self.is_leaving(*node))
    }

    /// Members that have every chunk that is not noted as missing at them: all but those that join.
    pub fn holders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members
            .iter()
            .copied()
            .filter(|node| !self.is_joining(*node))
    }

    /// Members that neither join nor leave.
    pub fn full(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.writers().filter(|node| !self.is_joining(*node))
    }
}

/// Why copies move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PlanKind {
    /// A dead node is replaced.
    Replace,
    /// A node is emptied.
    Drain,
    /// Nodes are filled evenly.
    Rebalance,
}

/// How far a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlanState {
    Running,
    Done,
    Aborted,
}

/// A plan that moves copies; what is still to move follows from the rows of nodes and sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRow {
    pub kind: PlanKind,
    /// The node that is replaced or emptied.
    pub node: Option<NodeId>,
    pub state: PlanState,
    pub begun: Timestamp,
    pub ended: Timestamp,
    /// Moves begun and ended.
    pub moves: u64,
    pub moves_done: u64,
    /// Copied so far.
    pub chunks: u64,
    pub bytes: u64,
}

impl NodeRow {
    /// Version byte and content.
    pub fn encode(&self) -> Vec<u8> {
        encode_row(NODE_VERSION, self)
    }

    /// The row in `bytes`; `key` is for the error's text.
    pub fn decode(key: &[u8], bytes: &[u8]) -> Result<NodeRow, ViewError> {
        match split_version(key, bytes)? {
            (NODE_VERSION, body) => decode_body(key, body),
            (1, body) => decode_body(key, body).map(|row: NodeRow1| NodeRow {
                uuid: row.uuid,
                address: row.address,
                zone: row.zone,
                state: row.state,
                since: Timestamp::default(),
            }),
            (version, _) => Err(unknown_version(key, version)),
        }
    }
}

impl SetRow {
    /// Version byte and content.
    pub fn encode(&self) -> Vec<u8> {
        encode_row(SET_VERSION, self)
    }

    /// The row in `bytes`; `key` is for the error's text.
    pub fn decode(key: &[u8], bytes: &[u8]) -> Result<SetRow, ViewError> {
        match split_version(key, bytes)? {
            (SET_VERSION, body) => decode_body(key, body),
            (2, body) => decode_body(key, body).map(|row: SetRow2| SetRow {
                epoch: row.epoch,
                members: row.members,
                joining: row.joining,
                former: row.former,
                joined: Vec::new(),
            }),
            (1, body) => decode_body(key, body).map(|row: SetRow1| SetRow {
                epoch: row.epoch,
                members: row.members,
                ..SetRow::default()
            }),
            (version, _) => Err(unknown_version(key, version)),
        }
    }
}

impl Row for NodeRow {
    fn encode(&self) -> Vec<u8> {
        NodeRow::encode(self)
    }

    fn decode(key: &[u8], bytes: &[u8]) -> Result<NodeRow, ViewError> {
        NodeRow::decode(key, bytes)
    }
}

impl Row for SetRow {
    fn encode(&self) -> Vec<u8> {
        SetRow::encode(self)
    }

    fn decode(key: &[u8], bytes: &[u8]) -> Result<SetRow, ViewError> {
        SetRow::decode(key, bytes)
    }
}
