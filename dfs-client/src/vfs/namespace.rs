//! Changes of names: mknod, mkdir, symlink, unlink, rmdir, rename, link.

use super::{Caller, Entry, Vfs, check_name};
use crate::inode::Inode;
use crate::wait::Patience;
use dfs_core::chunk::CHUNK_MAX;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Make, Op, Rename, RenameMode, Reply, Unlink};
use dfs_core::types::{FileKind, LeaseMode, SYMLINK_MAX};
use std::sync::Arc;

impl Vfs {
    /// `mknod`, `mkdir`, `symlink`.
    #[expect(clippy::too_many_arguments, reason = "the kernel's three requests in one")]
    pub fn make(
        &self,
        caller: &Caller<'_>,
        parent: Ino,
        name: &[u8],
        kind: FileKind,
        mode: u32,
        umask: u32,
        rdev: u32,
        target: &[u8],
    ) -> FsResult<Entry> {
        self.check_writable()?;
        check_name(name)?;
        if target.len() > SYMLINK_MAX {
            return Err(FsError::NameTooLong);
        }
        let parent = self.inode(parent);
        let make = Make {
            parent: parent.ino,
            name: name.to_vec(),
            kind,
            mode: mode & 0o7777,
            umask: umask & 0o777,
            rdev,
            target: target.to_vec(),
            exclusive: true,
            who: caller.credentials(),
        };
        match self.change(&[&parent], Op::Make(make), self.patience(caller))? {
            Reply::Entry { attr, .. } => Ok(self.entry(&parent, name, attr)),
            _ => Err(FsError::Io),
        }
    }

    pub fn unlink(&self, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<()> {
        self.check_writable()?;
        check_name(name)?;
        let parent = self.inode(parent);
        let patience = self.patience(caller);
        let expect = self.expect(&parent, name, patience)?;
        let unlink = Unlink {
            parent: parent.ino,
            name: name.to_vec(),
            expect,
        };
        match self.change(&[&parent], Op::Unlink(unlink), patience)? {
            Reply::Removed { ino, .. } => {
                self.drop_unneeded(ino);
                Ok(())
            }
            _ => Err(FsError::Io),
        }
    }

    pub fn rmdir(&self, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<()> {
        self.check_writable()?;
        check_name(name)?;
        let parent = self.inode(parent);
        let patience = self.patience(caller);
        let held = self
            .expect(&parent, name, patience)?
            .is_some_and(|(_, held)| held);
        let op = Op::Rmdir {
            parent: parent.ino,
            name: name.to_vec(),
            held,
        };
        self.change(&[&parent], op, patience).map(|_| ())
    }

    pub fn rename(
        &self,
        caller: &Caller<'_>,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> FsResult<()> {
        self.check_writable()?;
        check_name(name)?;
        check_name(new_name)?;
        let (parent, new_parent) = (self.inode(parent), self.inode(new_parent));
        let patience = self.patience(caller);
        let expect = match mode {
            RenameMode::Replace => self.expect(&new_parent, new_name, patience)?,
            RenameMode::NoReplace | RenameMode::Exchange => None,
        };
        self.settle_before_move(&parent, name, &new_parent, patience)?;
        self.save_more(&parent, name, u64::from(CHUNK_MAX), patience)?;
        let rename = Rename {
            parent: parent.ino,
            name: name.to_vec(),
            new_parent: new_parent.ino,
            new_name: new_name.to_vec(),
            mode,
            expect,
        };
        let inodes = [&parent, &new_parent];
        let op = Op::Rename(rename);
        // Two that move directories into one another's at the same time are told apart by the coordinator only.
        let apart = parent.ino != new_parent.ino && self.moves_directory(&op);
        let here = match apart {
            true => None,
            false => self.change_here_or_take(&op, patience),
        };
        let renamed = match here {
            Some(result) => result?,
            None => {
                self.save_more(&parent, name, 0, patience)?;
                self.change_there(&inodes, op, patience)?
            }
        };
        match renamed {
            Reply::Renamed { replaced, .. } => {
                if let (Some((ino, _)), RenameMode::Replace) = (replaced, mode) {
                    self.drop_unneeded(ino);
                }
                Ok(())
            }
            _ => Err(FsError::Io),
        }
    }

    pub fn link(&self, caller: &Caller<'_>, ino: Ino, new_parent: Ino, new_name: &[u8]) -> FsResult<Entry> {
        self.check_writable()?;
        check_name(new_name)?;
        let (inode, parent) = (self.inode(ino), self.inode(new_parent));
        let op = Op::Link {
            ino: inode.ino,
            parent: parent.ino,
            name: new_name.to_vec(),
        };
        let patience = self.patience(caller);
        self.save_file(&inode, u64::from(CHUNK_MAX), patience)?;
        let linked = match self.change_here(&op) {
            Some(result) => result?,
            None => {
                self.save_file(&inode, 0, patience)?;
                self.change_there(&[&inode, &parent], op, patience)?
            }
        };
        match linked {
            Reply::Entry { attr, .. } => Ok(self.entry(&parent, new_name, attr)),
            _ => Err(FsError::Io),
        }
    }

    /// Whether a directory moves, as far as known here.
    fn moves_directory(&self, op: &Op) -> bool {
        let Op::Rename(rename) = op else { return false };
        let is_directory = |parent: Ino, name: &[u8]| {
            let ino = self.caches.table.find(parent)?.state.lock().name(name)??;
            let attr = self.caches.table.find(ino)?.state.lock().attr?;
            Some(attr.kind == FileKind::Directory)
        };
        is_directory(rename.parent, &rename.name).unwrap_or(true)
            || is_directory(rename.new_parent, &rename.new_name).unwrap_or(false)
    }

    /// Where names are told together with the content of their files: one with more than `most` bytes that are not
    /// committed is saved before it gets a name.
    fn save_more(&self, parent: &Arc<Inode>, name: &[u8], most: u64, patience: Patience<'_>) -> FsResult<()> {
        if !self.session.writes_back() {
            return Ok(());
        }
        let found = self.expect(parent, name, patience)?;
        match found.and_then(|(ino, _)| self.caches.table.find(ino)) {
            Some(inode) => self.save_file(&inode, most, patience),
            None => Ok(()),
        }
    }

    fn save_file(&self, inode: &Arc<Inode>, most: u64, patience: Patience<'_>) -> FsResult<()> {
        let more = inode.state.lock().content.bytes() > most;
        match more && self.session.writes_back() {
            true => self.data.flush_and_wait(inode, patience),
            false => Ok(()),
        }
    }

    /// Which inode a removed name means, and whether it is held here: then it lives on. The absence of the
    /// name is left to the coordinator to find.
    fn expect(
        &self,
        parent: &Arc<Inode>,
        name: &[u8],
        patience: Patience<'_>,
    ) -> FsResult<Option<(Ino, bool)>> {
        let known = {
            let state = parent.state.lock();
            if self.holds(&state, LeaseMode::Shared) {
                state.name(name)
            } else {
                None
            }
        };
        let ino = match known {
            Some(Some(ino)) => ino,
            Some(None) => return Ok(None),
            None => match self.call(
                &[parent],
                Op::Lookup {
                    parent: parent.ino,
                    name: name.to_vec(),
                },
                patience,
            ) {
                Ok(Reply::Entry { attr, .. }) => attr.ino,
                Ok(_) => return Err(FsError::Io),
                Err(FsError::NotFound) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        // What the trash takes is saved before it is let go.
        let trash = self.session.map().trash;
        let held = self.caches.table.find(ino).is_some_and(|inode| {
            let state = inode.state.lock();
            state.is_held() || trash && !state.content.is_clean()
        });
        Ok(Some((ino, held)))
    }

    /// What was written to a file that nobody can read any more need not be saved, unless the trash takes it.
    pub(super) fn drop_unneeded(&self, ino: Ino) {
        let Some(inode) = self.caches.table.find(ino) else {
            return;
        };
        if self.session.map().trash {
            return;
        }
        let mut state = inode.state.lock();
        if state.orphan && !state.is_held() && state.may_drop(self.caches.journal.confirmed()) {
            self.caches.budget.give_back(state.content.discard());
        }
    }
}
