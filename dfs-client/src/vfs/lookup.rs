//! Names to inodes: lookup, forget, readlink.

use super::{Caller, Entry, Found, Ttl, Vfs, check_name};
use crate::inode::Inode;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Attr, LeaseMode};
use std::sync::Arc;

impl Vfs {
    /// The entry `name` of `parent`. A found entry counts as a lookup.
    pub fn lookup(&self, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<Found> {
        check_name(name)?;
        let parent = self.inode(parent);
        if let Some(found) = self.lookup_here(&parent, name) {
            return Ok(found);
        }
        let op = Op::Lookup {
            parent: parent.ino,
            name: name.to_vec(),
        };
        match self.call(&[&parent], op, self.patience(caller)) {
            Ok(Reply::Entry { attr, .. }) => Ok(Found::Entry(self.entry(&parent, name, attr))),
            Ok(_) => Err(FsError::Io),
            Err(FsError::NotFound) => Ok(Found::Absent {
                ttl: self.name_ttl(&parent, name, None),
            }),
            Err(error) => Err(error),
        }
    }

    /// The answer from memory.
    fn lookup_here(&self, parent: &Inode, name: &[u8]) -> Option<Found> {
        let ino = {
            let mut state = parent.state.lock();
            if !self.holds(&state, LeaseMode::Shared) || state.recalling > 0 {
                return None;
            }
            let ino = *state.names.get(name)?;
            state.fills += 1;
            ino
        };
        let Some(ino) = ino else {
            return Some(Found::Absent {
                ttl: self.config.entry_ttl,
            });
        };
        let child = self.caches.table.find(ino)?;
        let mut state = child.state.lock();
        if !self.holds(&state, LeaseMode::Shared) {
            return None;
        }
        let attr = state.attr()?;
        state.lookups += 1;
        state.fills += 1;
        let attr_ttl = self.attr_ttl(&state);
        Some(Found::Entry(Entry {
            attr: self.shown(attr),
            attr_ttl,
            entry_ttl: self.config.entry_ttl,
        }))
    }

    /// The entry that the coordinator just returned, counted as a lookup.
    pub(super) fn entry(&self, parent: &Inode, name: &[u8], attr: Attr) -> Entry {
        let child: Arc<Inode> = self.caches.table.get(attr.ino);
        let (shown, attr_ttl) = {
            let mut state = child.state.lock();
            state.lookups += 1;
            state.fills += 1;
            self.attr_with_ttl(&state, attr)
        };
        Entry {
            attr: shown,
            attr_ttl,
            entry_ttl: self.name_ttl(parent, name, Some(attr.ino)),
        }
    }

    /// How long the kernel may keep the name, or its absence: only if a recall would take it back by name.
    fn name_ttl(&self, parent: &Inode, name: &[u8], ino: Option<Ino>) -> Ttl {
        let mut state = parent.state.lock();
        let kept = state.names.get(name) == Some(&ino);
        if kept && self.holds(&state, LeaseMode::Shared) && state.recalling == 0 {
            state.fills += 1;
            self.config.entry_ttl
        } else {
            Ttl::ZERO
        }
    }

    /// The kernel forgets `nlookup` of the lookups that it was given.
    pub fn forget(&self, ino: Ino, nlookup: u64) {
        self.caches.table.forget(self.inward(ino), nlookup);
    }

    /// Target of a symbolic link.
    pub fn readlink(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<Vec<u8>> {
        let inode = self.inode(ino);
        if let Some(target) = &inode.state.lock().target {
            return Ok(target.clone());
        }
        match self
            .session
            .call(Op::ReadLink { ino: inode.ino }, self.patience(caller))?
        {
            Reply::Target(target) => Ok(target),
            _ => Err(FsError::Io),
        }
    }
}
