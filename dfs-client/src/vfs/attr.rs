//! Attributes: getattr, setattr, and the one way in which a file's size is set.

use super::{Caller, Ttl, Vfs};
use crate::inode::Inode;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{AttrChanges, Op, Reply, SetTime};
use dfs_core::types::{Attr, LeaseMode, SIZE_MAX};
use std::sync::Arc;

impl Vfs {
    pub fn getattr(&self, caller: &Caller<'_>, ino: Ino, _fh: Option<u64>) -> FsResult<(Attr, Ttl)> {
        let inode = self.inode(ino);
        {
            let mut state = inode.state.lock();
            if self.holds(&state, LeaseMode::Shared)
                && let Some(attr) = state.attr()
            {
                return Ok((self.shown(attr), self.attr_ttl(&inode, &mut state)));
            }
        }
        let attr = self.acquire(&inode, LeaseMode::Shared, self.patience(caller))?;
        let mut state = inode.state.lock();
        Ok(self.attr_with_ttl(&inode, &mut state, attr))
    }

    pub fn setattr(
        &self,
        caller: &Caller<'_>,
        ino: Ino,
        _fh: Option<u64>,
        changes: AttrChanges,
    ) -> FsResult<(Attr, Ttl)> {
        self.check_writable()?;
        let inode = self.inode(ino);
        let patience = self.patience(caller);
        let attr = match changes.size {
            Some(_) => self.set_size(&inode, changes, patience)?,
            None => self.set_others(&inode, changes, patience)?,
        };
        let mut state = inode.state.lock();
        Ok(self.attr_with_ttl(&inode, &mut state, attr))
    }

    fn set_others(&self, inode: &Arc<Inode>, changes: AttrChanges, patience: Patience<'_>) -> FsResult<Attr> {
        if self.must_flush_before(inode, &changes) {
            self.data.flush_and_wait(inode, patience)?;
        }
        let op = Op::SetAttr {
            ino: inode.ino,
            changes,
        };
        if let Some(result) = self.change_here_or_take(&op, patience) {
            let attr = attr_of(result?)?;
            if changes.mtime.is_some() {
                inode.state.lock().content.mtime = attr.mtime;
            }
            return Ok(attr);
        }
        let _changing = self.caches.journal.leave_to_others(&[inode]);
        let op = || {
            // Content that is committed later must not bring an older modification time back.
            if let Some(mtime) = changes.mtime {
                let mut state = inode.state.lock();
                state.content.mtime = match mtime {
                    SetTime::Now => self.now(),
                    SetTime::At(time) => time,
                };
            }
            Op::SetAttr {
                ino: inode.ino,
                changes,
            }
        };
        attr_of(self.session.call_built(op, patience)?)
    }

    /// Whether a later commit would undo the change: it clears set-id bits, or carries a time of the future into
    /// the change time.
    fn must_flush_before(&self, inode: &Inode, changes: &AttrChanges) -> bool {
        let state = inode.state.lock();
        let content = &state.content;
        if content.is_clean() {
            return false;
        }
        let kills = content.kill_suidgid || content.flights.iter().any(|flight| flight.kill_suidgid);
        let future = matches!(changes.mtime, Some(SetTime::At(time)) if time > self.now());
        kills && (changes.mode.is_some() || changes.uid.is_some() || changes.gid.is_some()) || future
    }

    /// Sets the size. Nothing new is sealed meanwhile and nothing is on its way, so that no commit can bring
    /// bytes back; what is dirty beyond the size goes when the coordinator has said yes.
    pub(super) fn set_size(
        &self,
        inode: &Arc<Inode>,
        changes: AttrChanges,
        patience: Patience<'_>,
    ) -> FsResult<Attr> {
        if changes.size.is_some_and(|size| size > SIZE_MAX) {
            return Err(FsError::FileTooLarge);
        }
        if let Some(attr) = self.set_size_here(inode, changes, patience)? {
            return Ok(attr);
        }
        // While something is held nothing is saved.
        let (changed, stuck) = {
            let state = inode.state.lock();
            (state.changed_here, state.content.error.is_some())
        };
        if !stuck {
            self.save_named(changed, patience)?;
        }
        let _hold = Hold::new(inode);
        if let Some(size) = changes.size {
            // On a full volume truncating must work, and must not wait for what it cuts away.
            self.caches
                .budget
                .give_back(inode.state.lock().content.discard_stuck(size));
        }
        self.data.wait_for_flights(inode, patience)?;
        let op = || {
            let mut state = inode.state.lock();
            state.content.mtime = self.now();
            Op::SetAttr {
                ino: inode.ino,
                changes,
            }
        };
        let _changing = self.caches.journal.leave_to_others(&[inode]);
        let _busy = crate::inode::apply::Busy::new(inode.clone());
        attr_of(self.session.call_built(op, patience)?)
    }

    /// Sets the size by itself where it holds the file alone. On a full volume the coordinator is told at once: others wait
    /// for the room.
    fn set_size_here(
        &self,
        inode: &Arc<Inode>,
        changes: AttrChanges,
        patience: Patience<'_>,
    ) -> FsResult<Option<Attr>> {
        let alone = {
            let state = inode.state.lock();
            self.holds(&state, LeaseMode::Exclusive) && state.content.error.is_none()
        };
        if !alone || !self.session.writes_back() || self.data.is_full() {
            return Ok(None);
        }
        let _hold = Hold::new(inode);
        self.data.wait_for_flights(inode, patience)?;
        let op = Op::SetAttr {
            ino: inode.ino,
            changes,
        };
        let Some(result) = self.change_here(&op) else {
            return Ok(None);
        };
        let attr = attr_of(result?)?;
        let mut state = inode.state.lock();
        state.content.mtime = attr.mtime;
        Ok(Some(state.attr().unwrap_or(attr)))
    }
}

pub(super) fn attr_of(reply: Reply) -> FsResult<Attr> {
    match reply {
        Reply::Attr(attr) => Ok(attr),
        _ => Err(FsError::Io),
    }
}

/// While it lives nothing new of the file is sealed.
pub(super) struct Hold<'a>(&'a Inode);

impl<'a> Hold<'a> {
    pub fn new(inode: &'a Inode) -> Hold<'a> {
        inode.state.lock().content.hold += 1;
        Hold(inode)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.state.lock().content.hold -= 1;
        self.0.changed.notify_all();
    }
}
