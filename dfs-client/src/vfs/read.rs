//! Reading files.

use super::handle::Handle;
use super::write::HeldPages;
use super::{Caller, Vfs};
use crate::config::Atime;
use crate::data::{Manner, Piece, pieces};
use crate::inode::recall::Recalled;
use crate::inode::{Inode, State};
use crate::wait::Patience;
use bytes::Bytes;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Attr, Extent, LeaseMode, SIZE_MAX};
use std::sync::Arc;
use std::time::Duration;

/// Holes are slices of this.
static ZEROS: [u8; 128 << 10] = [0; 128 << 10];
/// How often a reader through the kernel's pages asks again for the lease that somebody else waits for, and how soon.
/// A session with too many leases is never given another.
const REFUSALS_MAX: usize = 1000;
const REFUSED_PAUSE: Duration = Duration::from_millis(2);
/// Access times move at least this often (as `relatime`).
const ATIME_AGE: i64 = 24 * 3600;

impl Vfs {
    /// `size` bytes from `offset` on, as slices in order; fewer at the end of the file. `into_pages`: the kernel fills
    /// pages with them, which it keeps. It also does so for mappings of a file that is open for direct I/O.
    pub fn read(
        &self,
        caller: &Caller<'_>,
        _ino: Ino,
        fh: u64,
        offset: u64,
        size: u32,
        into_pages: bool,
    ) -> FsResult<Vec<Bytes>> {
        let handle = self.handles.find(fh)?;
        let patience = self.patience(caller);
        let end = offset.saturating_add(u64::from(size)).min(SIZE_MAX);
        let wanted = self.plan(&handle, (offset, end), into_pages, patience)?;
        let mut out = Vec::with_capacity(wanted.len() + 2);
        // Everything is asked for before the first is waited for.
        let mut under_way = Vec::new();
        let manner = (self.data).manner(&handle.inode, &handle.readahead.lock(), into_pages);
        let pages = manner == Manner::Pages;
        for piece in wanted {
            under_way.push(match piece {
                Piece::Chunk { chunk, offset, len } => Err(self.data.read_chunk(chunk, offset, len, pages)),
                piece => Ok(piece),
            });
        }
        let passing = {
            let mut reader = handle.readahead.lock();
            self.data
                .read_ahead(&handle.inode, &mut reader, offset, u64::from(size));
            into_pages && reader.is_streaming()
        };
        let mut asked = under_way.iter().filter_map(|piece| piece.as_ref().err());
        if manner == Manner::Dense && asked.any(|read| read.is_missing()) {
            self.data.missed(&handle.inode, offset);
        }
        for read in under_way.iter_mut().filter_map(|piece| piece.as_mut().err()) {
            read.passing = passing;
            read.settle(&self.data);
        }
        for piece in under_way {
            match piece {
                Err(read) => read.finish(&self.data, patience, &mut out)?,
                Ok(Piece::Here(data)) => out.push(data),
                Ok(Piece::Zeros(len)) => zeros(len, &mut out),
                Ok(Piece::Chunk { .. }) => return Err(FsError::Io),
            }
        }
        Ok(out)
    }

    fn plan(
        &self,
        handle: &Handle,
        (offset, end): (u64, u64),
        into_pages: bool,
        patience: Patience<'_>,
    ) -> FsResult<Vec<Piece>> {
        let inode = &handle.inode;
        let mut refused = 0;
        loop {
            if let Some(wanted) = self.plan_here(handle, offset, end) {
                return Ok(wanted);
            }
            let held = HeldPages::of_read(handle, offset, if into_pages { end } else { offset });
            if inode.state.lock().closing {
                self.wait_for_recall(&held, patience)?;
                continue;
            }
            let (attr, extents) = self.load(inode, offset, end, patience)?;
            // Where others write, a lease can be gone before it was of use, several times in a row.
            let Some((attr, extents)) = attr.zip(extents) else {
                patience.left()?;
                continue;
            };
            // The kernel would keep the pages, and no recall would ever take them back.
            if into_pages && refused < REFUSALS_MAX {
                refused += 1;
                std::thread::sleep(REFUSED_PAUSE.min(patience.left()?));
                continue;
            }
            if into_pages {
                let _ = self.caches.recalls.send(Recalled::Misplaced(inode.clone()));
            }
            return Ok(plan_once(attr, extents, offset, end));
        }
    }

    /// The plan from memory.
    fn plan_here(&self, handle: &Handle, offset: u64, end: u64) -> Option<Vec<Piece>> {
        let mut state = handle.inode.state.lock();
        if !self.holds(&state, LeaseMode::Shared) || state.closing {
            return None;
        }
        let attr = state.attr()?;
        let end = end.min(attr.size);
        if offset >= end {
            return Some(Vec::new());
        }
        if !state.extents.known.covers(offset, end) {
            return None;
        }
        state.fills += 1;
        let moved = self.move_atime(handle, &mut state, &attr);
        let wanted = pieces(&state, offset, end);
        drop(state);
        if moved {
            self.data.note_pending(&handle.inode);
        }
        Some(wanted)
    }

    /// Asks for the lease where it is missing and for the extents. Both are returned only when no lease was
    /// granted; else they are in the inode's state.
    pub(super) fn load(
        &self,
        inode: &Arc<Inode>,
        offset: u64,
        end: u64,
        patience: Patience<'_>,
    ) -> FsResult<(Option<Attr>, Option<Vec<Extent>>)> {
        let held = {
            let state = inode.state.lock();
            self.holds(&state, LeaseMode::Shared) && state.attr.is_some()
        };
        // The whole rest of the file: most have few extents, and pages of them are bounded by the coordinator.
        let extents = Op::GetExtents {
            ino: inode.ino,
            offset,
            len: SIZE_MAX - offset,
        };
        if held {
            self.session.call(extents, patience)?;
            return Ok((None, None));
        }
        let acquire = Op::Acquire {
            ino: inode.ino,
            mode: LeaseMode::Shared,
        };
        let _busy = crate::inode::apply::Busy::new(inode.clone());
        let (first, second) = self.session.call_both(acquire, extents, patience)?;
        let leased = self.holds(&inode.state.lock(), LeaseMode::Shared);
        match (first, second?) {
            _ if leased => Ok((None, None)),
            (Reply::Attr(attr), Reply::Extents { extents, next }) => {
                if next.is_some_and(|next| next < end.min(attr.size)) {
                    return Err(FsError::Io);
                }
                Ok((Some(attr), Some(extents)))
            }
            _ => Err(FsError::Io),
        }
    }

    /// Whether the read moved the access time.
    fn move_atime(&self, handle: &Handle, state: &mut State, attr: &Attr) -> bool {
        let never = self.config.read_only || self.config.atime == Atime::Noatime;
        if never || handle.flags & libc::O_NOATIME != 0 {
            return false;
        }
        if attr.atime > attr.mtime && attr.atime > attr.ctime {
            let now = self.now();
            if now.secs - attr.atime.secs < ATIME_AGE {
                return false;
            }
        }
        state.atime = Some(self.now());
        true
    }
}

/// The plan from what the coordinator said just now, without keeping anything.
pub(super) fn plan_once(attr: Attr, extents: Vec<Extent>, offset: u64, end: u64) -> Vec<Piece> {
    let mut state = State::default();
    extents
        .into_iter()
        .for_each(|extent| state.extents.map.insert(extent));
    let end = end.min(attr.size);
    if offset < end {
        pieces(&state, offset, end)
    } else {
        Vec::new()
    }
}

fn zeros(mut len: u64, out: &mut Vec<Bytes>) {
    while len > 0 {
        let part = len.min(ZEROS.len() as u64);
        out.push(Bytes::from_static(&ZEROS[..part as usize]));
        len -= part;
    }
}
