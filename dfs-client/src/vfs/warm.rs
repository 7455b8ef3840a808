//! Bringing content of files into the caches ahead of its readers, for `dfs warmup`. Moves no access time and fills no
//! page of the kernel.

use super::{Caller, Vfs};
use crate::data::{Piece, pieces};
use crate::inode::Inode;
use crate::ioctl::{WARM_STEP, WarmAsk, Warmed};
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::types::{FileKind, LeaseMode, SIZE_MAX};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls at a time: a quarter of the threads that serve the kernel, so that everybody else is served meanwhile.
const WARMS_MAX: usize = 32;

/// Counts the calls that are under way.
#[derive(Default)]
pub(super) struct Warming(AtomicUsize);

/// One of them, until dropped.
struct Turn<'a>(&'a Warming);

impl Warming {
    fn turn(&self) -> FsResult<Turn<'_>> {
        let room = |count| (count < WARMS_MAX).then_some(count + 1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(Turn(self)),
            Err(_) => Err(FsError::WouldBlock),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Vfs {
    /// Brings at most `WARM_STEP` bytes of the file, from `ask.offset` on, into the caches. `WouldBlock` when too many do.
    pub fn warm(&self, caller: &Caller<'_>, ino: Ino, ask: WarmAsk) -> FsResult<Warmed> {
        let _turn = self.warming.turn()?;
        let patience = self.patience(caller);
        let inode = self.inode(ino);
        let end = ask.offset.saturating_add(ask.len.min(WARM_STEP)).min(SIZE_MAX);
        let store = self.data.store();
        let mut warmed = Warmed {
            end,
            capacity: store.capacity,
            on_disk: store.on_disk,
            ..Warmed::default()
        };
        if ask.len == 0 {
            warmed.evicted = store.evicted;
            return Ok(warmed);
        }
        for piece in self.content_of(&inode, ask.offset, end, patience)? {
            match piece {
                Piece::Chunk { chunk, offset, len } => {
                    let warmth = self.data.warm_chunk(chunk, (offset, len), ask.check, patience)?;
                    warmed.content += u64::from(len);
                    warmed.before += warmth.before;
                    warmed.cached += warmth.cached;
                }
                // Written here and not committed yet: it is put into the caches when it is.
                Piece::Here(content) => {
                    warmed.content += content.len() as u64;
                    warmed.before += content.len() as u64;
                    warmed.cached += content.len() as u64;
                }
                Piece::Zeros(_) => {}
            }
        }
        warmed.evicted = self.data.store().evicted;
        Ok(warmed)
    }

    /// What the range of a file consists of, up to the file's end; nothing of what is no file.
    fn content_of(
        &self,
        inode: &Arc<Inode>,
        offset: u64,
        end: u64,
        patience: Patience<'_>,
    ) -> FsResult<Vec<Piece>> {
        loop {
            {
                let state = inode.state.lock();
                if let Some(attr) = state.attr().filter(|_| self.holds(&state, LeaseMode::Shared)) {
                    let end = end.min(attr.size);
                    if attr.kind != FileKind::File || offset >= end {
                        return Ok(Vec::new());
                    }
                    if state.extents.known.covers(offset, end) {
                        return Ok(pieces(&state, offset, end));
                    }
                }
            }
            let (attr, extents) = self.load(inode, offset, end, patience)?;
            if let Some((attr, extents)) = attr.zip(extents) {
                return Ok(super::read::plan_once(attr, extents, offset, end));
            }
            patience.left()?;
        }
    }
}
