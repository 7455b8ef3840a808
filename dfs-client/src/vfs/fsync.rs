//! Making what was written durable: fsync, fdatasync, fsyncdir, syncfs.

use super::handle::Handle;
use super::{Caller, Vfs};
use crate::inode::Inode;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;

impl Vfs {
    /// Returns when everything written to the file is on the disks that the policy names and in the metadata log.
    /// Changes of metadata that the coordinator made already are; those that were made here are told.
    pub fn fsync(&self, caller: &Caller<'_>, ino: Ino, fh: Option<u64>, _datasync: bool) -> FsResult<()> {
        let handle = fh.map(|fh| self.handles.find(fh)).transpose()?;
        let inode = handle
            .as_ref()
            .map_or_else(|| self.inode(ino), |handle| handle.inode.clone());
        let patience = self.patience(caller);
        let place = inode.state.lock().changed_here;
        self.data.save_named(place, patience)?;
        self.data.flush_and_wait(&inode, patience)?;
        self.data.tell_and_wait(place, patience)?;
        check_losses(&inode, handle.as_deref())
    }

    /// Returns when every change of the directory's names is durable, and all that was done here before the last one.
    pub fn fsyncdir(&self, caller: &Caller<'_>, ino: Ino, fh: u64) -> FsResult<()> {
        let handle = self.handles.find(fh)?;
        let inode = self.inode(ino);
        self.data.tell_inode(&inode, self.patience(caller))?;
        check_losses(&inode, Some(&handle))
    }

    /// `fsync` of every file of this mount: the first error, after all were tried.
    pub fn syncfs(&self, caller: &Caller<'_>) -> FsResult<()> {
        self.save_all(caller).and(self.caches.journal.report_losses())
    }

    /// The coordinator knows afterwards what this mount has done so far.
    pub(super) fn save_all(&self, caller: &Caller<'_>) -> FsResult<()> {
        let patience = self.patience(caller);
        let place = self.caches.journal.last();
        let inodes = self.data.all_pending();
        self.data.flush(&inodes);
        let mut result = self.data.tell_and_wait(place, patience);
        for inode in inodes {
            result = result.and(self.data.flush_and_wait(&inode, patience));
        }
        result
    }
}

/// What was lost while the handle was open, and what was lost before and nobody was told of.
fn check_losses(inode: &Inode, handle: Option<&Handle>) -> FsResult<()> {
    let content = &mut inode.state.lock().content;
    let untold = content.is_loss_untold();
    handle.map_or(Ok(()), |handle| handle.check_losses(content))?;
    content.reported = content.losses;
    if untold { Err(FsError::Io) } else { Ok(()) }
}
