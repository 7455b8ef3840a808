//! Writing files: into memory, under the exclusive lease.

use super::handle::Handle;
use super::{Caller, Vfs, WAIT_TICK};
use crate::figures;
use crate::inode::recall::Recalled;
use crate::inode::{Inode, PageWait};
use crate::profile::Stage;
use crate::wait::Patience;
use dfs_core::chunk::CHUNK_MAX;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::types::{LeaseMode, SIZE_MAX};
use std::time::Instant;

/// The kernel's.
const PAGE: u64 = 4096;

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

/// What came of an attempt to write into memory.
enum Written {
    /// Bytes written, and bytes dirty in the file.
    Done(usize, u64),
    NoLease,
    /// The file has moved to another quota, and what was written before belongs to the old one.
    OtherQuota,
    /// So many bytes are not promised by the quota.
    NoPromise {
        quota: Ino,
        offset: u64,
        len: u64,
    },
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
        let mut granted = None;
        let (written, dirty) = loop {
            match self.write_here(&handle, offset, data, how, &mut granted)? {
                Written::Done(written, dirty) => break (written, dirty),
                Written::NoLease => {
                    let len = data.len() as u64;
                    self.wait_for_exclusive(&handle, offset, len, how, patience)?;
                }
                Written::OtherQuota => self.data.flush_and_wait(&handle.inode, patience)?,
                Written::NoPromise { quota, offset, len } => {
                    granted = self.promise(&handle.inode, quota, (offset, len), patience)?;
                }
            }
        };
        self.data.note_pending(&handle.inode);
        if dirty >= u64::from(CHUNK_MAX) {
            self.data.flush(std::slice::from_ref(&handle.inode));
        }
        // O_SYNC includes O_DSYNC's bit.
        if how.has(libc::O_DSYNC) {
            self.data.flush_and_wait(&handle.inode, patience)?;
            self.data.tell_inode(&handle.inode, patience)?;
        }
        Ok(written)
    }

    /// Into memory. `granted` is what the write can grow the file by, where that was looked up.
    fn write_here(
        &self,
        handle: &Handle,
        offset: u64,
        data: &[u8],
        how: WriteHow,
        granted: &mut Option<u64>,
    ) -> FsResult<Written> {
        let mut state = handle.inode.state.lock();
        // What the kernel writes back for a recall belongs before it, and so does the first use of a lease.
        if !self.holds(&state, LeaseMode::Exclusive) || state.is_going() && !how.from_cache {
            return Ok(Written::NoLease);
        }
        let Some(attr) = state.attr() else {
            return Ok(Written::NoLease);
        };
        handle.check_losses(&mut state.content)?;
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
        let len = data.len() as u64;
        if attr.quota != Ino(0) {
            let quota = attr.quota;
            if state.content.quota != quota && !state.content.is_clean() {
                return Ok(Written::OtherQuota);
            }
            if !self.caches.promises.take(quota, granted.unwrap_or(len)) {
                return Ok(Written::NoPromise { quota, offset, len });
            }
            state.content.quota = quota;
        }
        let grown = state.content.dirty.write(offset, data);
        if attr.quota != Ino(0) {
            let taken = granted.unwrap_or(len);
            let needed = taken.min(grown);
            state.content.taken += needed;
            self.caches.promises.give_back(attr.quota, taken - needed);
        }
        self.caches.budget.take(grown);
        state.content.since.get_or_insert_with(Instant::now);
        state.content.mtime = self.now();
        state.content.after = state.attrs_here;
        state.content.kill_suidgid |= how.kill_suidgid;
        let dirty = state.content.dirty.bytes();
        if state.fresh > 0 {
            state.fresh -= 1;
            handle.inode.changed.notify_all();
        }
        Ok(Written::Done(data.len(), dirty))
    }

    fn wait_for_exclusive(
        &self,
        handle: &Handle,
        offset: u64,
        len: u64,
        how: WriteHow,
        patience: Patience<'_>,
    ) -> FsResult<()> {
        let held = HeldPages::of_write(handle, offset, offset.saturating_add(len), how.from_cache);
        if handle.inode.state.lock().is_going() {
            return self.wait_for_recall(&held, patience);
        }
        handle.inode.state.lock().acquirers += 1;
        let acquired = self.acquire(&handle.inode, LeaseMode::Exclusive, patience);
        handle.inode.state.lock().acquirers -= 1;
        acquired.map(drop)
    }

    /// Waits a moment for a recall to be over.
    pub(super) fn wait_for_recall(&self, held: &HeldPages<'_>, patience: Patience<'_>) -> FsResult<()> {
        let left = patience.left()?;
        let mut state = held.inode.state.lock();
        if state.recalling > 0 {
            let begun = Instant::now();
            held.inode.changed.wait_for(&mut state, left.min(WAIT_TICK));
            figures::spent_in(Stage::Lease, begun.elapsed());
        }
        Ok(())
    }
}

/// Pages that the kernel may hold locked while a call waits here: a recall does not wait for them.
pub(super) struct HeldPages<'a> {
    inode: &'a Inode,
    wait: Option<PageWait>,
}

impl<'a> HeldPages<'a> {
    /// The kernel holds the pages that it fills.
    pub fn of_read(handle: &'a Handle, offset: u64, end: u64) -> HeldPages<'a> {
        HeldPages::new(handle, offset, end, true)
    }

    /// Of a write the kernel holds the page that is not whole, unless it was there: the last, or a first one, which
    /// comes alone. Of what it writes back it holds all.
    fn of_write(handle: &'a Handle, offset: u64, end: u64, written_back: bool) -> HeldPages<'a> {
        let (from, end) = if written_back {
            (offset, end)
        } else if !end.is_multiple_of(PAGE) {
            (end - end % PAGE, end)
        } else if !offset.is_multiple_of(PAGE) {
            (offset, offset.next_multiple_of(PAGE))
        } else {
            (end, end)
        };
        HeldPages::new(handle, from, end, written_back)
    }

    fn new(handle: &'a Handle, from: u64, end: u64, surely_held: bool) -> HeldPages<'a> {
        let inode = &*handle.inode;
        let wait = (from < end && (surely_held || !handle.direct)).then(|| PageWait {
            start: from - from % PAGE,
            end: end.next_multiple_of(PAGE),
            surely_held,
        });
        if let Some(wait) = wait {
            let mut state = inode.state.lock();
            state.page_waits.push(wait);
            state.page_waits.sort_unstable();
        }
        HeldPages { inode, wait }
    }
}

impl Drop for HeldPages<'_> {
    fn drop(&mut self) {
        let Some(wait) = self.wait else { return };
        let mut state = self.inode.state.lock();
        if let Some(place) = state.page_waits.iter().position(|other| *other == wait) {
            state.page_waits.remove(place);
        }
    }
}
