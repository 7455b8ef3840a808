//! What replies do to the caches: the only place that fills them. Called in stream order before the caller of a
//! reply wakes, so that nothing a recall has taken away can come back. Does not block and calls no server.

use super::recall::Recalled;
use super::release::Releases;
use super::{Inode, State, Table, without_set_id};
use crate::data::stock::Stock;
use crate::data::{Budget, Promises};
use crate::journal::Journal;
use crate::locks::Locks;
use crate::session::{Body, Events};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Commit, Op, Rename, RenameMode, Reply};
use dfs_core::types::{Attr, DirEntry, FileKind, LeaseMode, Timestamp};
use dfs_proto::v1;
use std::sync::Arc;

/// Most leases and locks that the coordinator takes in one hello.
const RECLAIM_MAX: usize = 1 << 20;

/// Everything that lives under the session and dies with it.
pub(crate) struct Caches {
    pub table: Table,
    pub locks: Locks,
    pub stock: Stock,
    pub budget: Arc<Budget>,
    pub promises: Promises,
    pub releases: Releases,
    pub journal: Journal,
    /// To the threads that serve recalls.
    pub recalls: std::sync::mpsc::Sender<Recalled>,
}

impl Events for Caches {
    fn replied(
        &self,
        op: Option<&Op>,
        outcome: &FsResult<Reply>,
        grants: &[(Ino, LeaseMode)],
        touched: &[Attr],
        repeated: bool,
    ) {
        let confirmed = match op {
            Some(Op::Ship(_)) => self.shipped(outcome),
            _ => self.journal.confirmed(),
        };
        // A change made here goes from what it has read of an inode to what it notes of it without this in between.
        let _still = self.journal.still();
        for (ino, mode) in grants {
            self.table.get(*ino).state.lock().set_lease(*mode);
        }
        for attr in touched {
            self.journal.seen_time(attr.ctime);
            self.with(attr.ino, |state| state.set_attr(*attr, confirmed));
        }
        if let Some(op) = op {
            let was_touched = |ino: Ino| touched.iter().any(|attr| attr.ino == ino);
            match outcome {
                Ok(reply) => {
                    self.succeeded(op, reply, &was_touched, confirmed);
                    if repeated {
                        self.doubt(op, reply, touched, confirmed);
                    }
                }
                Err(error) => self.failed(op, *error, confirmed),
            }
        }
    }

    fn recalled(&self, ino: Ino, keep: LeaseMode, number: u64, taken: bool) {
        if number == 0 {
            self.releases.removed(ino);
            return;
        }
        // The mark is set here, in stream order; the work is done by a recall thread.
        let inode = self.table.find(ino);
        if let Some(inode) = &inode {
            let mut state = inode.state.lock();
            state.recalling += 1;
            state.recalled = Some(std::time::Instant::now());
            if taken {
                self.lower(inode.ino, &mut state, keep);
            }
            drop(state);
            inode.changed.notify_all();
        }
        let _ = self.recalls.send(Recalled::Lease {
            ino,
            inode,
            keep,
            number,
        });
    }

    fn promises_wanted(&self) {
        self.promises.wanted.notify_one();
    }

    fn before(&self, body: &mut Body) -> Vec<Op> {
        self.tell_before(body)
    }

    fn heard(&self, time: Option<Timestamp>, full: bool) {
        self.journal.heard(time, full);
    }

    fn is_refused(&self) -> bool {
        self.journal.is_refused()
    }

    fn ended(&self) {
        self.stock.clear();
        self.promises.clear();
        self.lose_journal();
        // Who believes that it has a lock must not go on writing without a word.
        for lock in self.locks.held() {
            self.with(lock.ino, |state| state.content.lose_for_openers());
        }
        self.locks.clear();
        let mut known = Vec::new();
        for inode in self.table.all() {
            let mut state = inode.state.lock();
            let names = std::mem::take(&mut state.names).into_keys().collect();
            self.lower(inode.ino, &mut state, LeaseMode::None);
            state.declared_open = false;
            state.orphan = false;
            drop(state);
            inode.changed.notify_all();
            known.push((inode, names));
        }
        let _ = self.recalls.send(Recalled::Everything(known));
    }

    fn distrusted(&self) {
        let _ = self.recalls.send(Recalled::Distrusted);
    }

    fn held(&self) -> (Vec<v1::HeldLease>, Vec<v1::Lock>) {
        let (mut leases, mut known) = (Vec::new(), Vec::new());
        let confirmed = self.journal.confirmed();
        for inode in self.table.all() {
            let mut state = inode.state.lock();
            state.declared_open |= state.opens > 0;
            // What was removed here and is not told yet is held until it is.
            let lease = match state.is_ahead(confirmed) {
                true => LeaseMode::Exclusive,
                false => state.lease,
            };
            if lease > LeaseMode::None || state.declared_open {
                let mode = v1::LeaseMode::from(lease).into();
                let held = v1::HeldLease {
                    ino: inode.ino.0,
                    mode,
                    open: state.declared_open,
                };
                let merely_known = lease == LeaseMode::None && state.opens == 0;
                if merely_known { &mut known } else { &mut leases }.push(held);
            }
        }
        let locks: Vec<v1::Lock> = self.locks.held().into_iter().map(Into::into).collect();
        known.truncate(RECLAIM_MAX.saturating_sub(leases.len() + locks.len()));
        leases.append(&mut known);
        (leases, locks)
    }
}

impl Caches {
    /// Lowers a lease; what is written and not committed is lost without an exclusive one, and its writers are told.
    pub fn lower(&self, ino: Ino, state: &mut State, keep: LeaseMode) -> LeaseMode {
        let mode = state.lease.min(keep);
        if mode < LeaseMode::Exclusive {
            let lost = state.content.lose();
            self.budget.give_back(lost);
            if lost > 0 {
                tracing::error!(
                    ino = ino.0,
                    bytes = lost,
                    "unsaved data was lost with its lease; its writers are told"
                );
            }
        }
        state.set_lease(mode);
        mode
    }

    pub fn with(&self, ino: Ino, change: impl FnOnce(&mut State)) {
        if let Some(inode) = self.table.find(ino) {
            change(&mut inode.state.lock());
        }
    }

    fn failed(&self, op: &Op, error: FsError, confirmed: u64) {
        match (op, error) {
            (Op::Lookup { parent, name }, FsError::NotFound) if name != b".." => {
                self.with(*parent, |state| state.set_name(name, None, confirmed));
            }
            (Op::GetXattr { ino, name }, FsError::NoAttribute) => {
                self.with(*ino, |state| state.set_xattr(name, None));
            }
            _ => {}
        }
    }

    /// What a success means for the caches. `confirmed` is the last change made here that it may have seen; all of them,
    /// for one that is made here.
    pub fn succeeded(&self, op: &Op, reply: &Reply, was_touched: &dyn Fn(Ino) -> bool, confirmed: u64) {
        match (op, reply) {
            (Op::Lookup { parent, name }, Reply::Entry { attr, .. }) => {
                self.entry(*parent, name, attr, confirmed)
            }
            (Op::Make(make), Reply::Entry { attr, created }) => {
                self.entry(make.parent, &make.name, attr, confirmed);
                self.made(attr, *created);
            }
            (Op::MakeTemp { .. }, Reply::Entry { attr, .. }) => {
                self.with(attr.ino, |state| {
                    state.set_attr(*attr, confirmed);
                    state.orphan = true;
                });
                self.made(attr, true);
            }
            (Op::Link { parent, name, .. }, Reply::Entry { attr, .. }) => {
                self.entry(*parent, name, attr, confirmed);
                self.with(attr.ino, |state| state.orphan = false);
            }
            (Op::Unlink(unlink), Reply::Removed { ino, orphan }) => {
                self.with(unlink.parent, |state| {
                    state.set_name(&unlink.name, None, confirmed)
                });
                self.removed(*ino, *orphan, was_touched(*ino));
            }
            (Op::Rmdir { parent, name, .. }, Reply::Removed { ino, orphan }) => {
                self.with(*parent, |state| state.set_name(name, None, confirmed));
                self.removed(*ino, *orphan, was_touched(*ino));
            }
            (Op::Rename(rename), Reply::Renamed { moved, replaced }) => {
                self.renamed(rename, *moved, *replaced, was_touched, confirmed);
            }
            (
                Op::ReadDir {
                    ino, after, alone, ..
                },
                Reply::Page { entries, end },
            ) => {
                self.listed(*ino, entries, *after == 0 && *end, confirmed);
                if *alone {
                    self.taken(entries);
                }
            }
            (Op::ReadLink { ino }, Reply::Target(target)) => {
                self.with(*ino, |state| state.target = Some(target.clone()));
            }
            (op, reply) => self.inode_succeeded(op, reply, confirmed),
        }
    }

    /// Operations on one inode.
    fn inode_succeeded(&self, op: &Op, reply: &Reply, confirmed: u64) {
        match (op, reply) {
            (Op::Acquire { ino, .. } | Op::GetAttr { ino }, Reply::Attr(attr)) => {
                self.journal.seen_time(attr.ctime);
                self.with(*ino, |state| state.set_attr(*attr, confirmed));
            }
            (Op::SetAttr { ino, changes }, Reply::Attr(attr)) => self.with(*ino, |state| {
                state.set_attr(*attr, confirmed);
                state.forget_xattrs();
                if changes.atime.is_some() {
                    state.atime = None;
                }
                if let Some(size) = changes.size {
                    self.budget.give_back(state.content.dirty.truncate(size));
                    state.cut(size);
                }
            }),
            (Op::SetXattr { ino, name, value, .. }, Reply::Done) => self.with(*ino, |state| {
                state.xattr_names = None;
                // The coordinator may keep an ACL in another form than it was given.
                if name.starts_with(b"system.") {
                    state.forget_xattrs();
                } else {
                    state.set_xattr(name, Some(value.clone()));
                }
            }),
            (Op::RemoveXattr { ino, name }, Reply::Done) => self.with(*ino, |state| {
                state.xattr_names = None;
                state.set_xattr(name, None);
            }),
            (Op::GetXattr { ino, name }, Reply::Value(value)) => {
                self.with(*ino, |state| state.set_xattr(name, Some(value.clone())));
            }
            (Op::ListXattr { ino }, Reply::Names(names)) => self.with(*ino, |state| {
                if state.lease > LeaseMode::None {
                    state.xattr_names = Some(names.clone());
                }
            }),
            (op, reply) => self.content_succeeded(op, reply, confirmed),
        }
    }

    fn content_succeeded(&self, op: &Op, reply: &Reply, confirmed: u64) {
        match (op, reply) {
            (Op::GetExtents { ino, offset, len }, Reply::Extents { extents, next }) => {
                self.with(*ino, |state| {
                    if state.lease > LeaseMode::None && !state.is_cut(confirmed) {
                        state.trim_extents();
                        extents
                            .iter()
                            .for_each(|extent| state.extents.map.insert(*extent));
                        state
                            .extents
                            .known
                            .insert(*offset, next.unwrap_or(offset.saturating_add(*len)));
                    }
                });
            }
            (Op::Commit(commit), Reply::Done) => self.committed(commit),
            (Op::Ship(shipment), Reply::Shipped { refused: None }) => {
                if let Some(commit) = &shipment.commit {
                    self.committed(commit);
                }
            }
            (Op::Allocate { ino, offset, len, .. }, Reply::Attr(attr)) => self.with(*ino, |state| {
                state.set_attr(*attr, confirmed);
                state.extents.forget_range(*offset, offset.saturating_add(*len));
            }),
            (Op::CopyRange { dst, dst_offset, .. }, Reply::Copied { len, attr }) => {
                self.with(*dst, |state| {
                    state.set_attr(*attr, confirmed);
                    state
                        .extents
                        .forget_range(*dst_offset, dst_offset.saturating_add(*len));
                });
            }
            _ => {}
        }
    }

    fn entry(&self, parent: Ino, name: &[u8], attr: &Attr, confirmed: u64) {
        self.journal.seen_time(attr.ctime);
        if name != b".." {
            self.with(parent, |state| state.set_name(name, Some(attr.ino), confirmed));
        }
        self.with(attr.ino, |state| {
            state.set_attr(*attr, confirmed);
            if name != b".." {
                state.set_parent(parent);
            }
        });
    }

    fn made(&self, attr: &Attr, created: bool) {
        if !created {
            return;
        }
        self.with(attr.ino, |state| match attr.kind {
            FileKind::File if state.lease > LeaseMode::None => state.extents.known.insert(0, u64::MAX),
            FileKind::Directory if state.lease > LeaseMode::None => state.complete = true,
            _ => {}
        });
    }

    /// A name of the inode was removed. It lives on as an orphan, or by another name: then its new attributes came
    /// along. Else it is gone, and with it what was written and the lease.
    fn removed(&self, ino: Ino, orphan: bool, was_touched: bool) {
        let confirmed = self.journal.confirmed();
        let kept = self.table.find(ino).is_some_and(|inode| {
            let state = inode.state.lock();
            !state.may_drop(confirmed) && !state.content.is_clean()
        });
        if orphan || kept && !was_touched {
            let inode = self.table.get(ino);
            let due = {
                let mut state = inode.state.lock();
                state.orphan = true;
                state.owes_release()
            };
            if due {
                self.releases.push(ino);
            }
        } else if !was_touched {
            self.with(ino, |state| {
                self.budget.give_back(state.content.discard());
                state.set_lease(LeaseMode::None);
            });
        }
    }

    fn renamed(
        &self,
        rename: &Rename,
        moved: Ino,
        replaced: Option<(Ino, bool)>,
        was_touched: &dyn Fn(Ino) -> bool,
        confirmed: u64,
    ) {
        let left = match (rename.mode, replaced) {
            (RenameMode::Exchange, Some((other, _))) => {
                self.with(other, |state| {
                    state.set_parent(rename.parent);
                    state.found_as(rename.parent, &rename.name);
                });
                Some(other)
            }
            (_, Some((gone, orphan))) => {
                self.removed(gone, orphan, was_touched(gone));
                None
            }
            (_, None) => None,
        };
        let same = rename.parent == rename.new_parent && rename.name == rename.new_name;
        if !same {
            self.with(rename.parent, |state| {
                state.set_name(&rename.name, left, confirmed)
            });
        }
        self.with(rename.new_parent, |state| {
            state.set_name(&rename.new_name, Some(moved), confirmed)
        });
        self.with(moved, |state| {
            state.set_parent(rename.new_parent);
            state.found_as(rename.new_parent, &rename.new_name);
        });
    }

    fn listed(&self, directory: Ino, entries: &[DirEntry], whole: bool, confirmed: u64) {
        self.with(directory, |state| {
            if whole && state.lease > LeaseMode::None && !state.is_ahead(confirmed) {
                state.complete = true;
            }
            entries
                .iter()
                .for_each(|entry| state.set_name(&entry.name, Some(entry.ino), confirmed));
        });
        for entry in entries {
            if let Some(attr) = entry.attr {
                self.with(entry.ino, |state| {
                    state.set_attr(attr, confirmed);
                    state.set_parent(directory);
                });
            }
        }
    }

    /// Whoever takes directories to change them goes on with what is in them.
    fn taken(&self, entries: &[DirEntry]) {
        let directories = entries.iter().filter(|entry| entry.kind == FileKind::Directory);
        for entry in directories {
            self.with(entry.ino, |state| {
                if state.lease == LeaseMode::Exclusive {
                    state.asked = state.asked.max(1);
                }
            });
        }
    }

    fn committed(&self, commit: &Commit) {
        for file in &commit.files {
            self.with(file.ino, |state| {
                if state.lease > LeaseMode::None {
                    state.trim_extents();
                    file.extents.iter().for_each(|extent| {
                        state.extents.map.insert(*extent);
                        state.extents.known.insert(extent.offset, extent.end());
                    });
                }
                if file.atime.is_some() {
                    state.atime = None;
                }
                let end = file.extents.iter().map(|extent| extent.end()).max();
                if let (Some(attr), Some(end)) = (&mut state.attr, end) {
                    attr.size = attr.size.max(end);
                }
                if file.kill_suidgid {
                    state.forget_xattrs();
                    // What came along does not count where more was changed here since.
                    if let Some(attr) = &mut state.attr {
                        attr.mode = without_set_id(attr.mode);
                    }
                }
            });
        }
    }
}

/// An inode with a count in its state that is taken back when dropped: the kernel may hold locks of it.
pub(crate) struct Busy(Arc<Inode>);

impl Busy {
    pub fn new(inode: Arc<Inode>) -> Busy {
        inode.state.lock().busy += 1;
        Busy(inode)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state.lock().busy -= 1;
    }
}
