//! Making what was written durable: fsync, fdatasync, fsyncdir, syncfs.

use super::{Caller, Vfs};
use dfs_core::error::FsResult;
use dfs_core::ids::Ino;

impl Vfs {
    /// Returns when everything written to the file is on the disks that the policy names and in the metadata log.
    /// Changes of metadata already are: each was answered after its record was durable.
    pub fn fsync(&self, caller: &Caller<'_>, ino: Ino, fh: Option<u64>, _datasync: bool) -> FsResult<()> {
        let handle = fh.map(|fh| self.handles.find(fh)).transpose()?;
        let inode = handle
            .as_ref()
            .map_or_else(|| self.inode(ino), |handle| handle.inode.clone());
        self.data.flush_and_wait(&inode, self.patience(caller))?;
        let losses = inode.state.lock().content.losses;
        handle.map_or(Ok(()), |handle| handle.check_losses(losses))
    }

    /// Names are durable when the call that changed them returns.
    pub fn fsyncdir(&self, _caller: &Caller<'_>, _ino: Ino) -> FsResult<()> {
        Ok(())
    }

    /// `fsync` of every file of this mount: the first error, after all were tried.
    pub fn syncfs(&self, caller: &Caller<'_>) -> FsResult<()> {
        let patience = self.patience(caller);
        let inodes = self.data.all_pending();
        self.data.flush(&inodes);
        let mut result = Ok(());
        for inode in inodes {
            result = result.and(self.data.flush_and_wait(&inode, patience));
        }
        result
    }
}
