//! Names to inodes: lookup, forget, readlink.

use super::{Caller, Entry, Found, Ttl, Vfs, check_name};
use crate::inode::{Inode, State};
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Attr, LeaseMode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a name is looked up again because what it meant was gone before the coordinator knew of us.
const ROUNDS: usize = 8;
/// A directory that others wanted so lately is likely to be recalled while a listing of it is on its way.
const CONTENDED: Duration = Duration::from_secs(5);

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
        let patience = self.patience(caller);
        for _ in 0..ROUNDS {
            match self.call(&[&parent], op.clone(), patience) {
                Ok(Reply::Entry { attr, .. }) => {
                    if let Some(entry) = self.living_entry(&parent, name, attr, patience)? {
                        return Ok(Found::Entry(entry));
                    }
                }
                Ok(_) => return Err(FsError::Io),
                Err(FsError::NotFound) => {
                    return Ok(Found::Absent {
                        ttl: self.name_ttl(&parent, name, None),
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Err(FsError::Stale)
    }

    /// The entry that a lookup returned, if its inode is sure to live as long as the kernel knows it. Without a
    /// lease it may have lost its name before the coordinator learned that it is held here.
    fn living_entry(
        &self,
        parent: &Inode,
        name: &[u8],
        attr: Attr,
        patience: Patience<'_>,
    ) -> FsResult<Option<Entry>> {
        let (entry, told) = self.entered(parent, name, attr);
        if told {
            return Ok(Some(entry));
        }
        let outcome = self.session.call(Op::GetAttr { ino: attr.ino }, patience);
        if matches!(&outcome, Ok(Reply::Attr(attr)) if attr.nlink > 0) {
            return Ok(Some(entry));
        }
        self.forgotten(attr.ino, 1);
        match outcome {
            Ok(_) | Err(FsError::Stale) => Ok(None),
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
            let ino = state.name(name)?;
            if ino.is_none() {
                // Noted, so that a recall takes it back by name.
                state.set_name(name, None, u64::MAX);
                if !state.names.contains_key(name) {
                    return Some(Found::Absent { ttl: Ttl::ZERO });
                }
            }
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
        state.found_as(parent.ino, name);
        let attr_ttl = self.attr_ttl(&child, &mut state);
        Some(Found::Entry(Entry {
            attr: self.shown(attr),
            attr_ttl,
            entry_ttl: self.config.entry_ttl,
        }))
    }

    /// The entry that the coordinator just returned, counted as a lookup.
    pub(super) fn entry(&self, parent: &Inode, name: &[u8], attr: Attr) -> Entry {
        self.entered(parent, name, attr).0
    }

    /// The entry, and whether the coordinator knew before that its inode is held here, or asks first.
    fn entered(&self, parent: &Inode, name: &[u8], attr: Attr) -> (Entry, bool) {
        let child: Arc<Inode> = self.caches.table.get(attr.ino);
        let ((shown, attr_ttl), untold) = {
            let mut state = child.state.lock();
            state.lookups += 1;
            state.found_as(parent.ino, name);
            (self.attr_with_ttl(&child, &mut state, attr), state.is_untold())
        };
        if untold {
            self.declare(&child);
        }
        let entry = Entry {
            attr: shown,
            attr_ttl,
            entry_ttl: self.name_ttl(parent, name, Some(attr.ino)),
        };
        (entry, !untold)
    }

    /// Tells the coordinator that the inode is held here although no lease makes it ask.
    pub(super) fn declare(&self, inode: &Inode) {
        self.session.acknowledge(inode.ino, 0, || {
            let mut state = inode.state.lock();
            state.declared_open |= state.is_held();
            Some((state.lease, state.declared_open))
        });
    }

    /// How long the kernel may keep the name, or its absence: only if a recall would take it back by name.
    fn name_ttl(&self, parent: &Inode, name: &[u8], ino: Option<Ino>) -> Ttl {
        self.kept_name_ttl(&mut parent.state.lock(), name, ino)
    }

    /// The same for a name in a listing.
    pub(super) fn listed_name_ttl(&self, parent: &Inode, name: &[u8], ino: Ino) -> Ttl {
        let mut state = parent.state.lock();
        if state.recalled.is_some_and(|at| at.elapsed() < CONTENDED) {
            return Ttl::ZERO;
        }
        let ttl = self.kept_name_ttl(&mut state, name, Some(ino));
        if !ttl.is_zero() {
            // A recall waits for the listing to arrive.
            state.listed = Some(Instant::now());
        }
        ttl
    }

    fn kept_name_ttl(&self, state: &mut State, name: &[u8], ino: Option<Ino>) -> Ttl {
        let kept = state.names.get(name) == Some(&ino);
        if kept && self.holds(state, LeaseMode::Shared) && state.recalling == 0 {
            state.fills += 1;
            self.config.entry_ttl
        } else {
            Ttl::ZERO
        }
    }

    /// The kernel forgets `nlookup` of the lookups that it was given.
    pub fn forget(&self, ino: Ino, nlookup: u64) {
        self.forgotten(self.inward(ino), nlookup);
    }

    /// Like `forget`, of an inode of the volume.
    pub(super) fn forgotten(&self, ino: Ino, nlookup: u64) {
        if self
            .caches
            .table
            .forget(ino, nlookup, self.caches.journal.confirmed())
        {
            self.drop_unneeded(ino);
            self.caches.releases.push(ino);
        }
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
