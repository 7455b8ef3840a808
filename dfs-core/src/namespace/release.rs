//! The last close of removed inodes in a session.

use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::op::{RELEASE_MAX, Reply};

/// Inodes that are no orphans, or not of this session, are passed over: a release may come twice.
pub(super) fn release(tx: &mut Tx<'_>, inos: &[Ino]) -> Outcome<Reply> {
    if inos.len() > RELEASE_MAX {
        return Err(FsError::Invalid.into());
    }
    let session = tx.ctx.session;
    for ino in inos {
        tx.release_orphan(*ino, session)?;
    }
    Ok(Reply::Done)
}
