//! The file system as the kernel's door calls it: synchronous, hits answered from memory in the calling thread,
//! misses bounded by the mount's time-out and the caller's cancellation. One file per group of operations; the
//! state is in `inode`, the content in `data`, the order of everything in `session`.

mod alone;
mod attr;
mod dir;
mod fsync;
mod handle;
mod lock;
mod lookup;
mod mount;
mod namespace;
mod open;
mod quota;
mod read;
mod report;
mod space;
mod statfs;
mod types;
mod warm;
mod write;
mod xattr;

pub use crate::data::CacheCounters;
pub use types::*;
pub use write::WriteHow;

use crate::config::MountConfig;
use crate::data::Data;
use crate::inode::apply::{Busy, Caches};
use crate::inode::{Inode, Needs, State, needs};
use crate::session::Session;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Attr, FileKind, LeaseMode, NAME_MAX, Timestamp};
use handle::Handles;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A directory with more entries is not read whole in order to change it here.
const LEARN_MAX: u64 = 1000;
/// How long a wait on an inode lasts before it looks at its caller's cancellation.
const WAIT_TICK: Duration = Duration::from_millis(50);

/// A mounted volume, or a directory of one.
pub struct Vfs {
    config: MountConfig,
    session: Arc<Session>,
    caches: Arc<Caches>,
    data: Arc<Data>,
    handles: Handles,
    kernel: Arc<RwLock<Option<Arc<dyn KernelCache>>>>,
    /// The inode that the kernel calls 1.
    root: Ino,
    figures: Mutex<Option<statfs::Figures>>,
    warming: warm::Warming,
    /// `None` when shut down.
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    tasks: tokio::runtime::Handle,
}

impl Vfs {
    /// The volume's inode behind a number of the kernel.
    fn inward(&self, ino: Ino) -> Ino {
        if ino == Ino::ROOT { self.root } else { ino }
    }

    /// The kernel's number for an inode of the volume.
    fn outward(&self, ino: Ino) -> Ino {
        if ino == self.root { Ino::ROOT } else { ino }
    }

    fn shown(&self, attr: Attr) -> Attr {
        Attr {
            ino: self.outward(attr.ino),
            ..attr
        }
    }

    fn inode(&self, ino: Ino) -> Arc<Inode> {
        self.caches.table.get(self.inward(ino))
    }

    fn patience<'a>(&self, caller: &Caller<'a>) -> Patience<'a> {
        Patience::new(self.config.timeout, caller.cancel)
    }

    /// The time for what is kept here for a while: the coordinator's, which all mounts share.
    fn now(&self) -> Timestamp {
        self.caches.journal.time().unwrap_or_else(wall_clock)
    }

    fn check_writable(&self) -> FsResult<()> {
        if self.config.read_only {
            Err(FsError::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Whether what a lease of this mode protects may be answered from memory.
    fn holds(&self, state: &State, mode: LeaseMode) -> bool {
        state.lease >= mode && self.session.trusted()
    }

    /// To be told when the calling thread has written its answer to the kernel.
    pub fn answered(&self) {
        crate::inode::answered();
    }

    fn attr_ttl(&self, inode: &Arc<Inode>, state: &mut State) -> Ttl {
        // Blocks and times of a file with uncommitted content still move by themselves.
        if self.holds(state, LeaseMode::Shared) && state.recalling == 0 && state.content.is_clean() {
            state.fills += 1;
            if self.kernel.read().is_some() {
                state.answering += 1;
                crate::inode::answering(inode);
            }
            self.config.attr_ttl
        } else {
            Ttl::ZERO
        }
    }

    fn attr_with_ttl(&self, inode: &Arc<Inode>, state: &mut State, otherwise: Attr) -> (Attr, Ttl) {
        let attr = self.shown(state.attr().unwrap_or(otherwise));
        (attr, self.attr_ttl(inode, state))
    }

    /// Asks for a lease: the attributes, whether or not it was granted.
    fn acquire(&self, inode: &Arc<Inode>, mode: LeaseMode, patience: Patience<'_>) -> FsResult<Attr> {
        let _busy = Busy::new(inode.clone());
        let reply = self.session.call(Op::Acquire { ino: inode.ino, mode }, patience);
        let Reply::Attr(attr) = reply? else {
            return Err(FsError::Io);
        };
        let state = inode.state.lock();
        let ahead = state.is_ahead(self.caches.journal.confirmed());
        Ok(state.attr.filter(|_| ahead).unwrap_or(attr))
    }

    /// Changes names or attributes of `inodes`: here when leases allow it, else by the coordinator.
    fn change(&self, inodes: &[&Arc<Inode>], op: Op, patience: Patience<'_>) -> FsResult<Reply> {
        match self.change_here_or_take(&op, patience) {
            Some(result) => result,
            None => self.change_there(inodes, op, patience),
        }
    }

    /// As `change_here`, once more if what it lacks could be had.
    fn change_here_or_take(&self, op: &Op, patience: Patience<'_>) -> Option<FsResult<Reply>> {
        self.change_here(op)
            .or_else(|| self.take_alone(op, patience).then(|| self.change_here(op))?)
    }

    fn change_here(&self, op: &Op) -> Option<FsResult<Reply>> {
        if !self.session.writes_back() || !self.session.trusted() {
            return None;
        }
        self.caches.execute_here(op, self.session.map().trash)
    }

    /// Meanwhile nothing about these inodes is changed here: the answer is what counts.
    fn change_there(&self, inodes: &[&Arc<Inode>], op: Op, patience: Patience<'_>) -> FsResult<Reply> {
        let _changing = self.caches.journal.leave_to_others(inodes);
        let reply = self.call(inodes, op, patience)?;
        for inode in inodes {
            self.learn(inode, patience);
        }
        Ok(reply)
    }

    /// Reads the whole of a small directory that is held alone now, so that names in it can be made here.
    fn learn(&self, directory: &Inode, patience: Patience<'_>) {
        let small = {
            let state = directory.state.lock();
            let small = |attr: Attr| attr.kind == FileKind::Directory && attr.size <= LEARN_MAX;
            state.lease == LeaseMode::Exclusive && !state.complete && state.attr.is_some_and(small)
        };
        if small {
            let op = Op::ReadDir {
                ino: directory.ino,
                after: 0,
                limit: LEARN_MAX as u32,
                attrs: true,
                alone: false,
            };
            if let Err(error) = self.session.call(op, patience) {
                tracing::debug!(ino = directory.ino.0, %error, "a directory could not be read ahead");
            }
        }
    }

    /// Names go before their content only where it cannot be saved.
    fn save_named(&self, place: u64, patience: Patience<'_>) -> FsResult<()> {
        match self.data.save_named(place, patience) {
            Err(FsError::Interrupted) => Err(FsError::Interrupted),
            Err(error) => {
                tracing::warn!(%error, "names are told before their content, which cannot be saved at present");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Performs an operation for which the kernel may hold locks of `inodes`.
    fn call(&self, inodes: &[&Arc<Inode>], op: Op, patience: Patience<'_>) -> FsResult<Reply> {
        // What was done here is told before it.
        let changed = inodes.iter().map(|inode| inode.state.lock().changed_here);
        let place = match needs(&op) {
            Needs::Everything => self.caches.journal.last(),
            _ => changed.max().unwrap_or(0),
        };
        self.save_named(place, patience)?;
        let _busy: Vec<Busy> = inodes.iter().map(|inode| Busy::new((*inode).clone())).collect();
        self.session.call(op, patience)
    }
}

fn check_name(name: &[u8]) -> FsResult<()> {
    if name.len() > NAME_MAX {
        Err(FsError::NameTooLong)
    } else {
        Ok(())
    }
}

/// This machine's clock.
fn wall_clock() -> Timestamp {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp {
            secs: since.as_secs() as i64,
            nanos: since.subsec_nanos(),
        },
        Err(_) => Timestamp::default(),
    }
}
