//! Leases: what a session holds, is granted, is asked to give back, gives back.

use super::error::WireError;
use super::values::lease_mode;
use crate::v1;
use dfs_core::ids::Ino;
use dfs_core::types::LeaseMode;

/// A lease that a resuming client says it holds: inode, mode, whether it has the inode open.
pub fn held_lease(lease: v1::HeldLease) -> Result<(Ino, LeaseMode, bool), WireError> {
    Ok((
        Ino(lease.ino),
        lease_mode(lease.mode, "HeldLease.mode")?,
        lease.open,
    ))
}

/// What the session holds on an inode from here on.
pub fn grant(grant: v1::Grant) -> Result<(Ino, LeaseMode), WireError> {
    Ok((Ino(grant.ino), lease_mode(grant.mode, "Grant.mode")?))
}

/// Inode, the most that may be kept, the recall's number, and whether the rest is lost already.
pub fn recall(recall: v1::Recall) -> Result<(Ino, LeaseMode, u64, bool), WireError> {
    Ok((
        Ino(recall.ino),
        lease_mode(recall.keep, "Recall.keep")?,
        recall.number,
        recall.taken,
    ))
}

/// Inode, what is still held, whether it is open, and the number of the recall it answers (0: none).
pub fn lease_ack(ack: v1::LeaseAck) -> Result<(Ino, LeaseMode, bool, u64), WireError> {
    Ok((
        Ino(ack.ino),
        lease_mode(ack.mode, "LeaseAck.mode")?,
        ack.open,
        ack.number,
    ))
}
