//! Giving leases back: threads of their own flush what is dirty, empty the kernel's caches and acknowledge. A
//! request of the kernel never waits here, and these threads hold no lock while the kernel invalidates: it may
//! have to wait for requests that it sent us.

use super::Inode;
use crate::data::Data;
use crate::session::Session;
use crate::vfs::KernelCache;
use crate::wait::Patience;
use dfs_core::ids::Ino;
use dfs_core::types::LeaseMode;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Recalls served at a time: one that waits for a flush must not hold up the others.
pub(crate) const THREADS: usize = 4;
/// A thread that was granted a lease may use it once before it is given back, if it does so soon.
const FIRST_USE: Duration = Duration::from_millis(30);
/// The coordinator takes the lease away after its term anyway; flushing for longer is in vain.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(9);
/// How often the kernel's caches are emptied anew because they were filled meanwhile.
const ROUNDS: usize = 8;
/// When a local call on the inode waits for another client, the kernel may hold the very lock that invalidation
/// needs, and that client may be waiting for us: then invalidation is waited for only this long and ends later.
const BUSY_PATIENCE: Duration = Duration::from_millis(50);
const INVALIDATE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) enum Recalled {
    Lease {
        ino: Ino,
        inode: Option<Arc<Inode>>,
        keep: LeaseMode,
        number: u64,
    },
    /// The session was lost: nothing in the kernel's caches is protected any more.
    Everything,
    /// An append landed elsewhere than where the kernel has cached it.
    Misplaced(Arc<Inode>),
    /// The mount ends; each thread takes one.
    Stop,
}

/// What the recall threads work with.
pub(crate) struct Recaller {
    pub session: Arc<Session>,
    pub data: Arc<Data>,
    /// The mount, once there is one; inode numbers are translated behind it.
    pub kernel: Arc<RwLock<Option<Arc<dyn KernelCache>>>>,
}

impl Recaller {
    /// Starts the threads. Each ends with a `Stop`.
    pub fn start(self: Arc<Self>, recalls: Receiver<Recalled>) -> std::io::Result<()> {
        let recalls = Arc::new(Mutex::new(recalls));
        for number in 0..THREADS {
            let (recaller, recalls) = (self.clone(), recalls.clone());
            std::thread::Builder::new()
                .name(format!("dfs-recall-{number}"))
                .spawn(move || {
                    loop {
                        let next = recalls.lock().recv();
                        match next {
                            Ok(Recalled::Stop) | Err(_) => return,
                            Ok(recalled) => recaller.serve(recalled),
                        }
                    }
                })?;
        }
        Ok(())
    }

    fn serve(&self, recalled: Recalled) {
        match recalled {
            Recalled::Lease {
                ino,
                inode: None,
                number,
                ..
            } => {
                self.session.acknowledge(ino, number, || (LeaseMode::None, false));
            }
            Recalled::Lease {
                inode: Some(inode),
                keep,
                number,
                ..
            } => {
                let begun = Instant::now();
                self.give_back(&inode, keep, number);
                self.session.figures().recalls.since(begun);
            }
            Recalled::Misplaced(inode) => {
                self.invalidate(&inode, Vec::new(), INVALIDATE_TIMEOUT);
            }
            Recalled::Stop => {}
            Recalled::Everything => {
                for inode in self.data.caches.table.all() {
                    self.invalidate(&inode, Vec::new(), INVALIDATE_TIMEOUT);
                }
            }
        }
    }

    fn give_back(&self, inode: &Arc<Inode>, keep: LeaseMode, number: u64) {
        self.let_use_once(inode);
        if keep < LeaseMode::Exclusive {
            self.flush(inode);
        }
        if keep == LeaseMode::None {
            self.empty_kernel(inode);
        }
        self.session.acknowledge(inode.ino, number, || {
            let mut state = inode.state.lock();
            state.recalling = state.recalling.saturating_sub(1);
            let mode = state.lease.min(keep);
            if mode < LeaseMode::Exclusive {
                let lost = state.content.lose();
                self.data.caches.budget.give_back(lost);
                if lost > 0 {
                    tracing::error!(
                        ino = inode.ino.0,
                        bytes = lost,
                        "a recalled lease took unsaved data with it"
                    );
                }
            }
            state.set_lease(mode);
            let open = state.is_held();
            state.declared_open |= open;
            (mode, open)
        });
        inode.changed.notify_all();
    }

    fn let_use_once(&self, inode: &Inode) {
        let until = Instant::now() + FIRST_USE;
        let mut state = inode.state.lock();
        while state.fresh && !inode.changed.wait_until(&mut state, until).timed_out() {}
        state.fresh = false;
    }

    fn flush(&self, inode: &Arc<Inode>) {
        let patience = Patience::new(FLUSH_TIMEOUT, None);
        if let Err(error) = self.data.flush_and_wait(inode, patience) {
            tracing::warn!(ino = inode.ino.0, %error, "a recalled file could not be flushed");
        }
        if let Some(op) = self.data.atime_to_tell(inode) {
            self.session.send(op);
        }
    }

    /// Empties the kernel's caches of the inode until nothing was filled in meanwhile: an answer given before
    /// an invalidation began is waited for by the kernel itself, one given later asks for another round.
    fn empty_kernel(&self, inode: &Arc<Inode>) {
        for _ in 0..ROUNDS {
            let (names, fills, busy) = {
                let state = inode.state.lock();
                (state.names.keys().cloned().collect(), state.fills, state.busy > 0)
            };
            let wait = if busy { BUSY_PATIENCE } else { INVALIDATE_TIMEOUT };
            let done = self.invalidate(inode, names, wait);
            if !done || inode.state.lock().fills == fills {
                return;
            }
        }
    }

    /// Invalidates in a thread that may outlast the wait: whether it ended in time.
    fn invalidate(&self, inode: &Arc<Inode>, names: Vec<Vec<u8>>, wait: Duration) -> bool {
        let Some(kernel) = self.kernel.read().clone() else {
            return true;
        };
        if inode.state.lock().lookups == 0 {
            return true;
        }
        let ino = inode.ino;
        let (done, ended) = channel();
        let deed = move || {
            for name in &names {
                kernel.invalidate_entry(ino, name);
            }
            kernel.invalidate_inode(ino);
            let _ = done.send(());
        };
        if let Err(error) = std::thread::Builder::new()
            .name("dfs-invalidate".to_string())
            .spawn(deed)
        {
            tracing::error!(%error, "no thread to invalidate the kernel's caches");
            return false;
        }
        !matches!(ended.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
    }
}
