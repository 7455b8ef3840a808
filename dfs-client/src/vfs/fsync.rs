//! Making what was written durable: fsync, fdatasync, fsyncdir, syncfs.

use super::{Caller, Vfs};
use dfs_core::error::FsResult;
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
        let losses = inode.state.lock().content.losses;
        handle.map_or(Ok(()), |handle| handle.check_losses(losses))
    }

    /// Returns when every change of the directory's names is durable, and all that was done here before the last one.
    pub fn fsyncdir(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<()> {
        self.data.tell_inode(&self.inode(ino), self.patience(caller))
    }

    /// `fsync` of every file of this mount: the first error, after all were tried.
    pub fn syncfs(&self, caller: &Caller<'_>) -> FsResult<()> {
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
