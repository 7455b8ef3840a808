//! `copy_file_range`: the target shares the source's chunks, no byte moves.

use super::content::range_end;
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::extents::clip;
use crate::ids::Ino;
use crate::op::Reply;
use crate::types::Extent;

/// Most extents copied by one operation; the caller sees a short copy and asks on.
const COPY_EXTENTS_MAX: usize = 16_384;

/// `src` and `dst` are each an inode and an offset.
pub(super) fn copy(tx: &mut Tx<'_>, src: (Ino, u64), dst: (Ino, u64), len: u64) -> Outcome<Reply> {
    let source = tx.file(src.0)?;
    let (content, size) = (source.content, source.size);
    tx.file(dst.0)?;
    if src.1.checked_add(len).is_none() || dst.1.checked_add(len).is_none() {
        return Err(FsError::Overflow.into());
    }
    let mut len = len.min(size.saturating_sub(src.1));
    if len == 0 {
        return Ok(Reply::Copied {
            len: 0,
            attr: tx.attr(dst.0)?,
        });
    }
    if src.0 == dst.0 && dst.1 < src.1 + len && src.1 < dst.1 + len {
        return Err(FsError::Invalid.into());
    }
    range_end(dst.1, len)?;
    let mut found = tx.touching(src.0, content, src.1, src.1 + len, COPY_EXTENTS_MAX + 1)?;
    if found.len() > COPY_EXTENTS_MAX {
        found.truncate(COPY_EXTENTS_MAX);
        len = found.last().map_or(len, |last| last.end() - src.1);
    }
    let copies: Vec<Extent> = found
        .iter()
        .filter_map(|extent| clip(extent, src.1, src.1 + len))
        .map(|extent| Extent {
            offset: extent.offset - src.1 + dst.1,
            ..extent
        })
        .collect();
    // The references rise before the target's old content goes: it may share the same chunks.
    for extent in &copies {
        tx.refer(extent)?;
    }
    tx.cut(dst.0, dst.1, dst.1 + len)?;
    for extent in &copies {
        tx.lay(dst.0, *extent)?;
        tx.unrefer(extent)?;
    }
    let now = tx.time;
    let row = tx.change(dst.0)?;
    row.size = row.size.max(dst.1 + len);
    row.mtime = now;
    row.ctime = now;
    tx.drop_capability(dst.0)?;
    Ok(Reply::Copied {
        len,
        attr: tx.attr(dst.0)?,
    })
}
