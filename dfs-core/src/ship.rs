//! Shipments: how a session tells what it has done by itself. Part of the operations of `op`.

use crate::ids::Ino;
use crate::op::{Commit, Op};
use crate::types::Timestamp;
use serde::{Deserialize, Serialize};

/// Most steps of one shipment: its effects must stay a small part of a log record.
pub const SHIP_STEPS_MAX: usize = 1024;

/// What a session has done by itself under exclusive leases, in its order: all of it takes effect, or nothing. Needs
/// the exclusive lease on each inode that it changes, and a shared one on what it looks at. Reply: `Shipped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ship {
    pub steps: Vec<Step>,
    /// Content of files, some of them made above. When it is refused for itself, the steps stand all the same.
    pub commit: Option<Commit>,
}

/// One change of names or attributes that was done already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When: what the changed inodes show.
    pub at: Timestamp,
    /// The number that a `Make` gave, from a range of the session; else 0.
    pub ino: Ino,
    pub op: Op,
}
