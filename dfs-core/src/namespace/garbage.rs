//! What the coordinator learns about chunks: garbage that is gone, copies that are missing or found.

use super::tx::{Outcome, Tx};
use crate::ids::{ChunkId, NodeId};
use crate::keys;
use crate::op::Reply;
use crate::rows::{MissingRow, SetRow};

pub(super) fn forget(tx: &mut Tx<'_>, chunks: &[ChunkId]) -> Outcome<Reply> {
    for chunk in chunks {
        tx.delete(keys::garbage(*chunk));
    }
    Ok(Reply::Done)
}

/// A chunk that is no longer known has nothing to repair, nor has a node that is no member.
pub(super) fn set_missing(tx: &mut Tx<'_>, id: ChunkId, node: NodeId, missing: bool) -> Outcome<Reply> {
    let Some(mut row) = tx.chunk(id)? else {
        return Ok(Reply::Done);
    };
    let key = keys::missing(id, node);
    let known = tx.get::<MissingRow>(&key)?.is_some();
    if known == missing || (missing && !is_member(tx, id, node)?) {
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

/// A set without a row is one of a model: every node counts.
fn is_member(tx: &Tx<'_>, id: ChunkId, node: NodeId) -> Outcome<bool> {
    let set = tx.get::<SetRow>(&keys::set(id.set))?;
    Ok(set.is_none_or(|set| set.members.contains(&node)))
}
