//! What this mount knows under leases, as the rows that the core's functions read. What it does not know is an error:
//! then the coordinator is asked.

use crate::inode::apply::Caches;
use dfs_core::ids::Ino;
use dfs_core::keys::{self, Key};
use dfs_core::rows::{DentryRow, InodeRow};
use dfs_core::types::LeaseMode;
use dfs_core::view::{View, ViewError};
use std::ops::ControlFlow;

pub(super) struct Known<'a> {
    pub caches: &'a Caches,
    /// The volume has a trash, and what is removed goes there.
    pub trash: bool,
}

fn unknown() -> ViewError {
    ViewError::Store("not known here".to_owned())
}

impl Known<'_> {
    fn inode(&self, ino: Ino) -> Result<InodeRow, ViewError> {
        let inode = self.caches.table.find(ino).ok_or_else(unknown)?;
        let state = inode.state.lock();
        let attr = state.attr.filter(|_| state.lease >= LeaseMode::Shared);
        let attr = attr.ok_or_else(unknown)?;
        Ok(InodeRow {
            kind: attr.kind,
            mode: attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            size: attr.size,
            // Its extents are the coordinator's to free.
            blocks: 0,
            atime: attr.atime,
            mtime: attr.mtime,
            ctime: attr.ctime,
            btime: attr.btime,
            version: attr.version,
            content_epoch: attr.content_epoch,
            // A directory whose way up is not known leads to an inode that is not known.
            parent: state.parent.unwrap_or(Ino(0)),
            content: 0,
            xattrs: attr.xattrs,
            target: Vec::new(),
            quota: attr.quota,
            charged: 0,
            home: Ino(0),
            place: 0,
        })
    }

    fn entry(&self, parent: Ino, name: &[u8]) -> Result<Option<DentryRow>, ViewError> {
        let directory = self.caches.table.find(parent).ok_or_else(unknown)?;
        let ino = {
            let state = directory.state.lock();
            if state.lease < LeaseMode::Shared {
                return Err(unknown());
            }
            state.name(name).ok_or_else(unknown)?
        };
        let Some(ino) = ino else { return Ok(None) };
        let kind = self.inode(ino)?.kind;
        Ok(Some(DentryRow { ino, kind }))
    }
}

impl View for Known<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match keys::parse(key) {
            Some(Key::Inode(ino)) => Ok(Some(self.inode(ino)?.encode())),
            Some(Key::Dentry { parent, name, .. }) => Ok(self.entry(parent, &name)?.map(|row| row.encode())),
            Some(Key::Setting(_) | Key::Trash { .. }) if !self.trash => Ok(None),
            _ => Err(unknown()),
        }
    }

    fn scan(
        &self,
        _start: &[u8],
        _end: &[u8],
        _visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ViewError> {
        Err(unknown())
    }
}
