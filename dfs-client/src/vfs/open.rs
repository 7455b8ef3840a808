//! Opening and closing files: open, create, tmpfile, flush, release.

use super::handle::Handle;
use super::lock::give_back;
use super::{Caller, Entry, Opened, Vfs, check_name};
use crate::inode::Inode;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::lock::{Lock, LockKind, LockType};
use dfs_core::op::{AttrChanges, Make, Op, Reply};
use dfs_core::types::{FileKind, LeaseMode};
use std::sync::Arc;

impl Vfs {
    /// Opens an inode. With `O_TRUNC` its content goes; `kill_suidgid` then clears set-id bits.
    pub fn open(&self, caller: &Caller<'_>, ino: Ino, flags: i32, kill_suidgid: bool) -> FsResult<Opened> {
        let inode = self.inode(ino);
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        if writes {
            self.check_writable()?;
        }
        let patience = self.patience(caller);
        // Counted before anything is asked, so that an unlink meanwhile knows of it.
        inode.state.lock().opens += 1;
        let prepared = self.prepare(&inode, flags, kill_suidgid, patience);
        if let Err(error) = prepared {
            self.closed(&inode);
            return Err(error);
        }
        Ok(self.opened(&inode, flags))
    }

    fn prepare(
        &self,
        inode: &Arc<Inode>,
        flags: i32,
        kill_suidgid: bool,
        patience: Patience<'_>,
    ) -> FsResult<()> {
        if flags & libc::O_TRUNC != 0 {
            let changes = AttrChanges {
                size: Some(0),
                kill_suidgid,
                ..AttrChanges::default()
            };
            self.set_size(inode, changes, patience)?;
        }
        let held = {
            let state = inode.state.lock();
            self.holds(&state, LeaseMode::Shared) && state.attr.is_some()
        };
        if !held {
            self.acquire(inode, LeaseMode::Shared, patience)?;
        }
        Ok(())
    }

    /// A handle on an inode that already counts the open.
    fn opened(&self, inode: &Arc<Inode>, flags: i32) -> Opened {
        let (leased, losses, untold) = {
            let state = inode.state.lock();
            // Without a lease no recall would let the coordinator know that it is open here.
            let untold = state.is_untold();
            (
                self.holds(&state, LeaseMode::Shared) && state.recalling == 0,
                state.content.losses,
                untold,
            )
        };
        if untold {
            self.declare(inode);
        }
        // Without a lease nobody would empty the kernel's pages: then it keeps none. Appends are placed by the size
        // that counts, not by the one that the kernel believes: cached, it would keep them at the wrong place and
        // cut one into two at a page's end.
        let appends = flags & libc::O_APPEND != 0 && flags & libc::O_ACCMODE != libc::O_RDONLY;
        let direct = !leased || appends;
        let handle = Handle::new(inode.clone(), flags, direct, losses);
        inode.state.lock().writers += u32::from(handle.writes_pages());
        Opened {
            fh: self.handles.insert(handle),
            keep_cache: leased,
            direct_io: direct,
            cache_dir: false,
        }
    }

    /// `open(O_CREAT)` of a name that the kernel does not know.
    pub fn create(
        &self,
        caller: &Caller<'_>,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> FsResult<(Entry, Opened)> {
        self.check_writable()?;
        check_name(name)?;
        let parent = self.inode(parent);
        let patience = self.patience(caller);
        let make = Make {
            parent: parent.ino,
            name: name.to_vec(),
            kind: FileKind::File,
            mode: mode & 0o7777,
            umask: umask & 0o777,
            rdev: 0,
            target: Vec::new(),
            exclusive: flags & libc::O_EXCL != 0,
            who: caller.credentials(),
        };
        let Reply::Entry { attr, created } = self.change(&[&parent], Op::Make(make), patience)? else {
            return Err(FsError::Io);
        };
        let inode = self.caches.table.get(attr.ino);
        inode.state.lock().opens += 1;
        if !created && let Err(error) = self.prepare(&inode, flags, false, patience) {
            self.closed(&inode);
            return Err(error);
        }
        Ok((self.entry(&parent, name, attr), self.opened(&inode, flags)))
    }

    /// `open(O_TMPFILE)`: a file without a name.
    pub fn tmpfile(
        &self,
        caller: &Caller<'_>,
        parent: Ino,
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> FsResult<(Entry, Opened)> {
        self.check_writable()?;
        let parent = self.inode(parent);
        let (mode, umask) = (mode & 0o7777, umask & 0o777);
        let op = Op::MakeTemp {
            parent: parent.ino,
            mode,
            umask,
            who: caller.credentials(),
        };
        let Reply::Entry { attr, .. } = self.call(&[&parent], op, self.patience(caller))? else {
            return Err(FsError::Io);
        };
        let inode = self.caches.table.get(attr.ino);
        {
            let mut state = inode.state.lock();
            state.opens += 1;
            state.orphan = true;
        }
        Ok((self.entry(&parent, b"", attr), self.opened(&inode, flags)))
    }

    /// `close(2)` of one descriptor: reports what went wrong with writes so far, drops the process's POSIX locks.
    pub fn flush(&self, caller: &Caller<'_>, ino: Ino, fh: u64, lock_owner: u64) -> FsResult<()> {
        let handle = self.handles.find(fh)?;
        let inode = &handle.inode;
        let patience = self.patience(caller);
        if self
            .caches
            .locks
            .holds(self.inward(ino), LockKind::Posix, lock_owner)
        {
            self.unlock_all(inode.ino, LockKind::Posix, lock_owner, patience);
        }
        // While the volume is full the writer learns at close what others would learn at fsync.
        if self.data.is_full() && handle.flags & libc::O_ACCMODE != libc::O_RDONLY {
            self.data.flush_and_wait(inode, patience)?;
        }
        let content = &inode.state.lock().content;
        // Told by fsync all the same: who closes may be a child that has just been started, which nobody asks.
        match handle.owes_report(content) {
            true => Err(FsError::Io),
            false => content.error.map_or(Ok(()), Err),
        }
    }

    /// The last descriptor of an open file is closed.
    pub fn release(&self, _ino: Ino, fh: u64) {
        let Some(handle) = self.handles.remove(fh) else {
            return;
        };
        let inode = &handle.inode;
        self.locks_end(inode.ino, fh);
        if self.caches.locks.holds(inode.ino, LockKind::Flock, fh) {
            let patience = self.patience(&Caller::default());
            self.unlock_all(inode.ino, LockKind::Flock, fh, patience);
        }
        inode.state.lock().writers -= u32::from(handle.writes_pages());
        self.closed(inode);
    }

    /// One open less.
    pub(super) fn closed(&self, inode: &Arc<Inode>) {
        let due = {
            let mut state = inode.state.lock();
            state.opens = state.opens.saturating_sub(1);
            state.owes_release()
        };
        self.drop_unneeded(inode.ino);
        if due {
            self.caches.releases.push(inode.ino);
        }
    }

    fn unlock_all(&self, ino: Ino, kind: LockKind, owner: u64, patience: Patience<'_>) {
        let lock = Lock {
            ino,
            owner,
            kind,
            typ: LockType::Unlock,
            start: 0,
            end: u64::MAX,
            pid: 0,
        };
        if let Err(error) = self.unlock(lock, patience) {
            tracing::debug!(ino = ino.0, %error, "locks of a closed file are given back later");
            give_back(&self.session, &self.caches, lock);
        }
    }
}
