//! Extents change to a chunk that holds a copy of their bytes, so that chunks with little live content and files of
//! very many extents can be rewritten. What changed since it was read is left as it is.

use super::commit::add_chunk;
use super::content::read_extent;
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::ChunkId;
use crate::keys;
use crate::op::{Move, Relocate, Reply};
use crate::rows::ExtentRow;
use crate::types::Extent;

/// A chunk that no move could use is garbage when the operation finishes. Times and sizes do not change; leases are
/// recalled all the same, since clients keep extents as long as they hold one.
pub(super) fn relocate(tx: &mut Tx<'_>, relocate: &Relocate) -> Outcome<Reply> {
    let Some(chunk) = &relocate.chunk else {
        return Err(FsError::Invalid.into());
    };
    add_chunk(tx, chunk)?;
    for moved in &relocate.moves {
        move_one(tx, moved, chunk.id, chunk.len)?;
    }
    Ok(Reply::Done)
}

fn move_one(tx: &mut Tx<'_>, moved: &Move, chunk: ChunkId, chunk_len: u32) -> Outcome<()> {
    let (Some(first), Some(last)) = (moved.old.first(), moved.old.last()) else {
        return Err(FsError::Invalid.into());
    };
    let joined = moved.old.windows(2).all(|pair| pair[0].end() == pair[1].offset);
    let len = last.end() - first.offset;
    if !joined || u64::from(moved.chunk_offset) + len > u64::from(chunk_len) {
        return Err(FsError::Invalid.into());
    }
    if tx.peek(moved.ino)?.is_none_or(|row| row.content != moved.content) {
        return Ok(());
    }
    for extent in &moved.old {
        let key = keys::extent(moved.ino, moved.content, extent.end());
        let now = tx.get::<ExtentRow>(&key)?;
        if now.map(|row| read_extent(&key, &row.encode())).transpose()? != Some(*extent) {
            return Ok(());
        }
    }
    let new = Extent {
        offset: first.offset,
        len,
        chunk,
        chunk_offset: moved.chunk_offset,
    };
    tx.apply_edit(moved.ino, moved.content, (moved.old.clone(), vec![new]))
}
