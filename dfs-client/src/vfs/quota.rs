//! Room below a quota: before a write is accepted, the coordinator promises the bytes that it can add to the file.

use super::Vfs;
use crate::inode::Inode;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use std::sync::Arc;

impl Vfs {
    /// Has the bytes of a write promised. When the quota has no room for all of them, it is looked up how many the
    /// file would really grow by: overwriting is free. That number is returned then.
    pub(super) fn promise(
        &self,
        inode: &Arc<Inode>,
        quota: Ino,
        (offset, len): (u64, u64),
        patience: Patience<'_>,
    ) -> FsResult<Option<u64>> {
        let promises = &self.caches.promises;
        match promises.ask(&self.session, quota, len, patience) {
            Err(FsError::QuotaExceeded) => {}
            result => return result.map(|()| None),
        }
        // What is on its way may need less than it was promised.
        self.data.flush_and_wait(inode, patience)?;
        self.data.give_back_all_unneeded();
        let growth = len - self.covered(inode, offset, len, patience)?;
        promises.ask(&self.session, quota, growth, patience)?;
        Ok(Some(growth))
    }

    /// Bytes of the range that the file's extents have already.
    fn covered(&self, inode: &Inode, offset: u64, len: u64, patience: Patience<'_>) -> FsResult<u64> {
        let end = offset.saturating_add(len);
        let mut covered = 0;
        let mut place = offset;
        while place < end {
            let op = Op::GetExtents {
                ino: inode.ino,
                offset: place,
                len: end - place,
            };
            let Reply::Extents { extents, next } = self.session.call(op, patience)? else {
                return Err(FsError::Io);
            };
            for extent in extents {
                let (from, to) = (extent.offset.max(place), extent.end().min(end));
                covered += to.saturating_sub(from);
            }
            match next {
                Some(next) => place = next.max(place + 1),
                None => break,
            }
        }
        Ok(covered.min(len))
    }

    /// A file that is about to leave its directory for another one, which may be in another quota: what was written
    /// to it is committed where it was promised.
    pub(super) fn settle_before_move(
        &self,
        parent: &Inode,
        name: &[u8],
        new_parent: &Inode,
        patience: Patience<'_>,
    ) -> FsResult<()> {
        if parent.ino == new_parent.ino {
            return Ok(());
        }
        let (ino, from) = {
            let state = parent.state.lock();
            let ino = state.names.get(name).copied().flatten();
            (ino, state.attr.map(|attr| attr.quota))
        };
        let to = new_parent.state.lock().attr.map(|attr| attr.quota);
        match ino.and_then(|ino| self.caches.table.find(ino)) {
            Some(inode) if from.is_none() || from != to => self.data.flush_and_wait(&inode, patience),
            _ => Ok(()),
        }
    }
}
