//! Freeing queued content step by step.

use super::tx::{Outcome, Tx};
use crate::keys::{self, Key};
use crate::op::Reply;
use crate::rows::PurgeRow;

/// Frees at most `limit` extents (at least one) of the first content in the queue.
pub(super) fn purge(tx: &mut Tx<'_>, limit: u32) -> Outcome<Reply> {
    let limit = limit.max(1) as usize;
    let queue = tx.scan::<PurgeRow>(&keys::prefix::purges(), 2)?;
    let Some((key, _)) = queue.first() else {
        return Ok(Reply::Progress { more: false });
    };
    let mut more = queue.len() > 1;
    if let Some(Key::Purge { ino, content }) = keys::parse(key) {
        let found = tx.touching(ino, content, 0, u64::MAX, limit)?;
        tx.free_extents(ino, content, &found)?;
        if found.len() == limit {
            return Ok(Reply::Progress { more: true });
        }
    } else {
        more = true;
    }
    tx.delete(key.clone());
    Ok(Reply::Progress { more })
}
