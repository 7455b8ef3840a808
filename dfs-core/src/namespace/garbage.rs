//! What the coordinator learns about chunks: garbage that is gone, copies that are missing or found.

use super::tx::{Outcome, Tx};
use crate::ids::{ChunkId, NodeId};
use crate::keys;
use crate::op::Reply;
use crate::rows::MissingRow;

pub(super) fn forget(tx: &mut Tx<'_>, chunks: &[ChunkId]) -> Outcome<Reply> {
    for chunk in chunks {
        tx.delete(keys::garbage(*chunk));
    }
    Ok(Reply::Done)
}

/// A chunk that is no longer known has nothing to repair.
pub(super) fn set_missing(tx: &mut Tx<'_>, id: ChunkId, node: NodeId, missing: bool) -> Outcome<Reply> {
    let Some(mut row) = tx.chunk(id)? else {
        return Ok(Reply::Done);
    };
    let key = keys::missing(id, node);
    let known = tx.get::<MissingRow>(&key)?.is_some();
    if known == missing {
        return Ok(Reply::Done);
    }
    if missing {
        let since = tx.ctx.now;
        tx.put(key, &MissingRow { since });
        row.missing += 1;
    } else {
        tx.delete(key);
        row.missing = row.missing.saturating_sub(1);
    }
    tx.put_chunk(id, row)?;
    Ok(Reply::Done)
}
