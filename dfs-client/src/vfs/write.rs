//! Writing files: into memory, under the exclusive lease.

use super::handle::Handle;
use super::{Caller, Vfs, WAIT_TICK, now};
use crate::inode::recall::Recalled;
use crate::wait::Patience;
use dfs_core::chunk::CHUNK_MAX;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::types::{LeaseMode, SIZE_MAX};
use std::time::Instant;

/// How a write is meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteHow {
    /// `O_*` of the handle at this moment: fcntl changes `O_APPEND`, and pwritev2 adds `O_DSYNC` for one call.
    pub flags: i32,
    /// Pages of a shared mapping: the handle is the kernel's guess and its flags mean nothing.
    pub from_cache: bool,
    pub kill_suidgid: bool,
}

impl WriteHow {
    fn has(self, flag: i32) -> bool {
        !self.from_cache && self.flags & flag != 0
    }
}

impl Vfs {
    /// Writes at `offset`, or at the end with `O_APPEND`; with `O_SYNC` or `O_DSYNC` it is durable on return.
    pub fn write(
        &self,
        caller: &Caller<'_>,
        _ino: Ino,
        fh: u64,
        offset: u64,
        data: &[u8],
        how: WriteHow,
    ) -> FsResult<usize> {
        self.check_writable()?;
        let handle = self.handles.find(fh)?;
        if data.is_empty() {
            return Ok(0);
        }
        let patience = self.patience(caller);
        if self.caches.budget.is_full() {
            if self.data.is_full() {
                return Err(FsError::NoSpace);
            }
            self.data.flush(&self.data.all_pending());
            self.caches.budget.wait(patience)?;
        }
        let (written, dirty) = loop {
            if let Some(done) = self.write_here(&handle, offset, data, how)? {
                break done;
            }
            self.wait_for_exclusive(&handle, patience)?;
        };
        self.data.note_pending(&handle.inode);
        if dirty >= u64::from(CHUNK_MAX) {
            self.data.flush(std::slice::from_ref(&handle.inode));
        }
        // O_SYNC includes O_DSYNC's bit.
        if how.has(libc::O_DSYNC) {
            self.data.flush_and_wait(&handle.inode, patience)?;
        }
        Ok(written)
    }

    /// Into memory: bytes written and bytes dirty. `None` without the lease.
    fn write_here(
        &self,
        handle: &Handle,
        offset: u64,
        data: &[u8],
        how: WriteHow,
    ) -> FsResult<Option<(usize, u64)>> {
        let mut state = handle.inode.state.lock();
        if !self.holds(&state, LeaseMode::Exclusive) || state.recalling > 0 {
            return Ok(None);
        }
        let Some(attr) = state.attr() else { return Ok(None) };
        handle.check_losses(state.content.losses)?;
        if let Some(error) = state.content.error {
            return Err(error);
        }
        let offset = if how.has(libc::O_APPEND) {
            // A handle opened for appending is direct; one that fcntl made so is cached.
            if offset != attr.size && handle.flags & libc::O_APPEND == 0 {
                let _ = self
                    .caches
                    .recalls
                    .send(Recalled::Misplaced(handle.inode.clone()));
            }
            attr.size
        } else {
            offset
        };
        let room = SIZE_MAX.saturating_sub(offset);
        if room == 0 {
            return Err(FsError::FileTooLarge);
        }
        let data = &data[..data.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let grown = state.content.dirty.write(offset, data);
        self.caches.budget.take(grown);
        state.content.since.get_or_insert_with(Instant::now);
        state.content.mtime = now();
        state.content.kill_suidgid |= how.kill_suidgid;
        let dirty = state.content.dirty.bytes();
        if std::mem::take(&mut state.fresh) {
            handle.inode.changed.notify_all();
        }
        Ok(Some((data.len(), dirty)))
    }

    fn wait_for_exclusive(&self, handle: &Handle, patience: Patience<'_>) -> FsResult<()> {
        {
            let mut state = handle.inode.state.lock();
            if state.recalling > 0 {
                let left = patience.left()?;
                state.busy += 1;
                handle.inode.changed.wait_for(&mut state, left.min(WAIT_TICK));
                state.busy -= 1;
                return Ok(());
            }
        }
        self.acquire(&handle.inode, LeaseMode::Exclusive, patience)
            .map(|_| ())
    }
}
