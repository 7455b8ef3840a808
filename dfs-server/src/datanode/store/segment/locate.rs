//! Blocks that are sent as they are: the network takes them from the system's cache of the segment's file, and no thread
//! copies them. What changes them on the way, a disk or a delete, the reader's checksums show.

use super::super::{Blocks, Content, Located, StoreError};
use super::Inner;
use super::read::{Run, run};
use dfs_core::chunk::BLOCK_SIZE;
use dfs_core::ids::ChunkId;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::os::unix::fs::FileExt;

/// Shorter runs are read: a call more costs as much as copying them.
const LEAST: u32 = 2 * BLOCK_SIZE;

pub fn locate(inner: &Inner, chunk: ChunkId, first: u32, count: u32) -> Result<Located, StoreError> {
    if count.saturating_mul(BLOCK_SIZE) < LEAST {
        let Blocks { first, payload, crcs } = inner.read(chunk, first, count)?;
        let content = Content::Here(payload);
        return Ok(Located { first, content, crcs });
    }
    let place = inner.trusted(chunk)?;
    let header = inner.header(chunk, place)?;
    let Run { first, at, len, crcs } = run(&header, place, first, count);
    let segment = inner.segment(place.segment)?;
    let file = inner.file(&segment)?;
    if len > 0 {
        // The whole run is asked of the disk, and its last byte waited for: so the time that the disk took is known, and
        // one that fails says so before a byte was promised.
        if let Err(error) = posix_fadvise(
            &*file,
            at as i64,
            len.into(),
            PosixFadviseAdvice::POSIX_FADV_WILLNEED,
        ) {
            tracing::debug!(%error, "a run was not asked for at once");
        }
        let last = file.read_exact_at(&mut [0], at + u64::from(len) - 1);
        last.map_err(|e| inner.read_error(chunk, place, &e))?;
    }
    let content = Content::InFile {
        file,
        offset: at,
        len,
    };
    Ok(Located { first, content, crcs })
}
