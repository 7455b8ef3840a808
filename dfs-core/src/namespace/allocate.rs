//! `fallocate`: reserving, zeroing and freeing parts of a file.

use super::content::range_end;
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::{ChunkId, Ino};
use crate::op::{AllocateMode, Reply};
use crate::types::Extent;

pub(super) fn allocate(
    tx: &mut Tx<'_>,
    ino: Ino,
    mode: AllocateMode,
    offset: u64,
    len: u64,
) -> Outcome<Reply> {
    let content = tx.file(ino)?.content;
    if len == 0 {
        return Err(FsError::Invalid.into());
    }
    let end = range_end(offset, len)?;
    let keep_size = match mode {
        AllocateMode::Reserve { keep_size } => {
            for (start, end) in holes(tx, ino, content, offset, end)? {
                tx.lay(ino, zeros(start, end))?;
            }
            keep_size
        }
        AllocateMode::ZeroRange { keep_size } => {
            tx.lay(ino, zeros(offset, end))?;
            keep_size
        }
        AllocateMode::PunchHole => {
            tx.cut(ino, offset, end)?;
            true
        }
    };
    let now = tx.time;
    let row = tx.change(ino)?;
    let grows = !keep_size && end > row.size;
    if grows {
        row.size = end;
    }
    if grows || !matches!(mode, AllocateMode::Reserve { .. }) {
        row.mtime = now;
    }
    row.ctime = now;
    tx.drop_capability(ino)?;
    Ok(Reply::Attr(tx.attr(ino)?))
}

fn zeros(start: u64, end: u64) -> Extent {
    Extent {
        offset: start,
        len: end - start,
        chunk: ChunkId::ZEROS,
        chunk_offset: 0,
    }
}

/// The parts of the range that no extent covers.
fn holes(tx: &Tx<'_>, ino: Ino, content: u64, start: u64, end: u64) -> Outcome<Vec<(u64, u64)>> {
    let mut holes = Vec::new();
    let mut place = start;
    for extent in tx.touching(ino, content, start, end, usize::MAX)? {
        if extent.offset > place {
            holes.push((place, extent.offset));
        }
        place = extent.end();
    }
    if place < end {
        holes.push((place, end));
    }
    Ok(holes)
}
