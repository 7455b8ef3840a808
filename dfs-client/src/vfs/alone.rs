//! Taking what is about to be changed: whoever changes one entry of a directory after another gets those that nobody else
//! holds with one question, so that the next changes are made here. Called by `vfs` when a change could not be made here.

use super::Vfs;
use crate::inode::{Inode, State};
use crate::wait::Patience;
use dfs_core::ids::Ino;
use dfs_core::keys;
use dfs_core::op::Op;
use dfs_core::types::{FileKind, LeaseMode};
use std::sync::Arc;

/// Entries taken at a time: as many as one shipment has steps.
const TAKEN_MAX: u32 = 1024;
/// What others hold of a directory is not asked for again before so many changes.
const FUTILE: u32 = 64;

impl Vfs {
    /// Whether it is worth a second try to make the change here, after what it lacks was asked for.
    pub(super) fn take_alone(&self, op: &Op, patience: Patience<'_>) -> bool {
        if !self.session.writes_back() || self.session.map().trash {
            return false;
        }
        match op {
            Op::Unlink(unlink) => self.take_entry(unlink.parent, &unlink.name, patience),
            Op::Rmdir { parent, name, .. } => self.take_entry(*parent, name, patience),
            Op::Rename(rename) => {
                let old = self.take_entry(rename.parent, &rename.name, patience);
                let new = self.take_entry(rename.new_parent, &rename.new_name, patience);
                old || new
            }
            Op::SetAttr { ino, .. } => self
                .caches
                .table
                .find(*ino)
                .is_some_and(|inode| self.take_by_parent(&inode, patience)),
            _ => false,
        }
    }

    /// The directory and what the name means in it.
    fn take_entry(&self, parent: Ino, name: &[u8], patience: Patience<'_>) -> bool {
        let Some(directory) = self.caches.table.find(parent) else {
            return false;
        };
        let took = self.take_by_parent(&directory, patience);
        let known = directory.state.lock().name(name).flatten();
        let Some(child) = known.and_then(|ino| self.caches.table.find(ino)) else {
            return took;
        };
        took | self.take(&directory, &child, name, patience)
    }

    /// The inode, by the directory in which it was found.
    fn take_by_parent(&self, inode: &Arc<Inode>, patience: Patience<'_>) -> bool {
        let (parent, name) = {
            let mut state = inode.state.lock();
            if state.lease == LeaseMode::Exclusive {
                return false;
            }
            if state.attr.is_some_and(|attr| attr.kind == FileKind::Directory) {
                state.asked = state.asked.saturating_add(1);
            }
            let Some(parent) = state.parent else { return false };
            let name = state.known_as.iter().rev().find(|(known, _)| *known == parent);
            (parent, name.map_or_else(Box::default, |(_, name)| name.clone()))
        };
        let parent = self.caches.table.find(parent);
        parent.is_some_and(|parent| self.take(&parent, inode, &name, patience))
    }

    /// Asks for the entries of the directory, from this one on where there are many: whether this one is held alone now.
    fn take(&self, directory: &Arc<Inode>, child: &Arc<Inode>, name: &[u8], patience: Patience<'_>) -> bool {
        let lacks = |state: &State| state.lease < LeaseMode::Exclusive && state.recalling == 0;
        if !lacks(&child.state.lock()) {
            return false;
        }
        let size = {
            let mut state = directory.state.lock();
            if state.lease < LeaseMode::Exclusive || state.recalling > 0 {
                return false;
            }
            let due = state.asked > state.futile_until;
            state.asked = state.asked.saturating_add(1);
            match state.attr {
                Some(attr) if due => attr.size,
                _ => return false,
            }
        };
        let after = match size <= u64::from(TAKEN_MAX) {
            true => 0,
            false => keys::cookie(keys::name_hash(name), 0) - 1,
        };
        let op = Op::ReadDir {
            ino: directory.ino,
            after,
            limit: TAKEN_MAX,
            attrs: true,
            alone: true,
        };
        let asked = self.call(&[directory], op, patience);
        if let Err(error) = &asked {
            tracing::debug!(ino = directory.ino.0, %error, "entries could not be taken");
        }
        let taken = asked.is_ok() && child.state.lock().lease == LeaseMode::Exclusive;
        if !taken {
            let mut state = directory.state.lock();
            state.futile_until = state.asked.saturating_add(FUTILE);
        }
        taken
    }
}
