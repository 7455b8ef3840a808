//! Giving leases back: threads of their own flush what is dirty, empty the kernel's caches and acknowledge. A
//! request of the kernel never waits here, and these threads hold no lock while the kernel invalidates: it may
//! have to wait for requests that it sent us.
//!
//! What keeps this free of circles: a recall waits for no lock of the kernel whose holder waits for an answer of ours that
//! may wait for the recall. A call that waits for a lease, or for a recall to end, is therefore counted in the inode's state
//! before it does (`busy`, and `page_waits` where the kernel has pages locked for it), whatever handle it came by; and
//! `pages` leaves locked pages out while there is any such call.

use super::Inode;
use crate::data::Data;
use crate::session::Session;
use crate::vfs::KernelCache;
use crate::wait::Patience;
use dfs_core::ids::Ino;
use dfs_core::types::LeaseMode;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Recalls served at a time: one that waits for a flush must not hold up the others.
pub(crate) const THREADS: usize = 4;
/// Writers that were granted a lease may use it once before it is given back, if they do so soon.
const FIRST_USE: Duration = Duration::from_millis(30);
/// A recall is answered within this many lease terms, flushed or not: after three the coordinator takes the lease.
const BOUND_TERMS: u32 = 2;
/// The kernel's caches are emptied this often while they may be filled again meanwhile; then who reads has to wait.
const OPEN_ROUNDS: usize = 3;
/// When a local call on the inode waits for another client, the kernel may hold the very lock that dropping a name
/// needs, and that client may be waiting for us. Then, or after so long, all names are dropped at once, without it.
const NAMES_PATIENCE: Duration = Duration::from_millis(100);
/// A listing that was answered before is taken in by then, unless the directory's lock tells it.
const LISTING_ARRIVAL: Duration = Duration::from_millis(200);
/// How often it is looked whether a call has come that waits.
pub(super) const LOOK: Duration = Duration::from_millis(5);
/// A kernel that can only drop names one by one is waited for this long while it may hold the directory's lock.
const OLD_KERNEL_PATIENCE: Duration = Duration::from_millis(50);
/// More names than these are dropped all at once.
const NAMES_ONE_BY_ONE: usize = 512;
/// Without a recall nobody waits for the kernel.
const INVALIDATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers to the kernel are written at once; one that was not after so long belongs to a request that has died.
const ARRIVAL: Duration = Duration::from_secs(1);

/// All pages of a file: a length of 0 goes to the end.
pub(super) const WHOLE: (u64, u64) = (0, 0);

pub(crate) enum Recalled {
    Lease {
        ino: Ino,
        inode: Option<Arc<Inode>>,
        keep: LeaseMode,
        number: u64,
    },
    /// The session was lost: nothing in the kernel's caches is protected any more; the names that were.
    Everything(Vec<(Arc<Inode>, Vec<Vec<u8>>)>),
    /// Nothing in the kernel's caches is protected at present.
    Distrusted,
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
                self.session
                    .acknowledge(ino, number, || Some((LeaseMode::None, false)));
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
                self.invalidate(&inode, Vec::new(), vec![WHOLE], INVALIDATE_TIMEOUT);
            }
            Recalled::Stop => {}
            Recalled::Everything(known) => self.empty_all(known),
            Recalled::Distrusted => {
                let known = self.data.caches.table.all().into_iter();
                self.empty_all(known.map(|inode| (inode, Vec::new())).collect());
            }
        }
    }

    fn empty_all(&self, known: Vec<(Arc<Inode>, Vec<Vec<u8>>)>) {
        let listed = known
            .iter()
            .filter_map(|(inode, _)| inode.state.lock().listed)
            .max();
        let dropped = self.drop_all_names();
        for (inode, mut names) in known {
            if dropped {
                names.clear();
            } else {
                names.extend(inode.state.lock().names.keys().cloned());
            }
            self.invalidate(&inode, names, vec![WHOLE], INVALIDATE_TIMEOUT);
        }
        if let_arrive(listed) {
            self.drop_all_names();
        }
    }

    /// The kernel first: it writes what was stored into mappings, and that is flushed then. What it was given after
    /// it had dropped everything asks for another round.
    fn give_back(&self, inode: &Arc<Inode>, keep: LeaseMode, number: u64) {
        self.let_use_once(inode);
        let until = Instant::now() + self.session.lease_term() * BOUND_TERMS;
        let mut acknowledged = false;
        for round in 0.. {
            // What could not be told in time may have taken effect unheard: nothing of before is shown any more.
            let late = Instant::now() >= until;
            let keep = if late { LeaseMode::None } else { keep };
            inode.state.lock().closing = round >= OPEN_ROUNDS;
            let empty_until = until.max(Instant::now() + self.session.lease_term() / 2);
            let fills = self.empty_kernel(inode, keep, empty_until);
            if keep < LeaseMode::Exclusive {
                self.tell(inode, until);
                self.flush(inode, until);
            }
            let confirmed = self.data.caches.journal.confirmed();
            self.session.acknowledge(inode.ino, number, || {
                // A change that has seen the lease is noted before the lease goes, and then told first.
                let _still = self.data.caches.journal.still();
                let mut state = inode.state.lock();
                let filled = fills.is_some_and(|fills| fills != state.fills);
                let unsaved =
                    keep < LeaseMode::Exclusive && (!state.content.is_clean() || state.is_ahead(confirmed));
                if (filled || unsaved) && !late {
                    return None;
                }
                acknowledged = true;
                state.closing = false;
                state.recalling = state.recalling.saturating_sub(1);
                let mode = self.data.caches.lower(inode.ino, &mut state, keep);
                let open = state.is_held();
                state.declared_open |= open;
                Some((mode, open))
            });
            if acknowledged {
                break;
            }
            if round >= OPEN_ROUNDS {
                std::thread::sleep(LOOK);
            }
        }
        inode.changed.notify_all();
    }

    fn let_use_once(&self, inode: &Inode) {
        let until = Instant::now() + FIRST_USE;
        let mut state = inode.state.lock();
        while state.fresh > 0 && !inode.changed.wait_until(&mut state, until).timed_out() {}
        state.fresh = 0;
    }

    /// What was done here to names and attributes is told first.
    fn tell(&self, inode: &Arc<Inode>, until: Instant) {
        let left = || until.saturating_duration_since(Instant::now());
        let told = self.data.tell_inode(inode, Patience::new(left() / 2, None));
        let told = told.or_else(|_| self.data.tell_names(inode, Patience::new(left(), None)));
        if let Err(error) = told {
            tracing::warn!(ino = inode.ino.0, %error, "what was done here could not be told before its lease goes");
        }
    }

    fn flush(&self, inode: &Arc<Inode>, until: Instant) {
        // Others whose leases are wanted, too: many small files go in one piece.
        let wanted = |inode: &Arc<Inode>| {
            let state = inode.state.lock();
            state.recalling > 0 && !state.content.dirty.is_empty()
        };
        let together: Vec<Arc<Inode>> = self.data.all_pending().into_iter().filter(wanted).collect();
        self.data.flush(&together);
        let left = until.saturating_duration_since(Instant::now());
        if let Err(error) = self.data.flush_and_wait(inode, Patience::new(left, None)) {
            tracing::warn!(ino = inode.ino.0, %error, "a recalled file could not be flushed");
        }
        if let Some(op) = self.data.atime_to_tell(inode) {
            self.session.send(op);
        }
    }

    /// Has the kernel drop what the lease protected. An answer given before is waited for by the kernel itself; the
    /// count of those given later must not have moved when the lease goes. `None` when nothing had to be dropped.
    fn empty_kernel(&self, inode: &Arc<Inode>, keep: LeaseMode, until: Instant) -> Option<u64> {
        let (fills, names, busy, listed) = {
            let mut state = inode.state.lock();
            let arrived = Instant::now() + ARRIVAL;
            while state.answering > 0 && !inode.changed.wait_until(&mut state, arrived).timed_out() {}
            // Pages of a file that is written here may be dirty by a mapping: they are to be seen by others.
            if keep == LeaseMode::Exclusive || keep == LeaseMode::Shared && state.writers == 0 {
                return None;
            }
            let names: Vec<Vec<u8>> = if keep == LeaseMode::None {
                state.names.keys().cloned().collect()
            } else {
                Vec::new()
            };
            (state.fills, names, state.busy > 0, state.listed)
        };
        let left = until.saturating_duration_since(Instant::now());
        if names.is_empty() {
            self.empty_pages(inode, until);
        } else {
            self.empty_directory(inode, names, busy, listed, left);
        }
        Some(fills)
    }

    /// Few names are dropped one by one, unless the kernel may hold the directory's lock for a call of ours that waits. Of
    /// many only one is: it waits for that lock as well, which a listing has until the kernel has taken it in.
    fn empty_directory(
        &self,
        inode: &Arc<Inode>,
        mut names: Vec<Vec<u8>>,
        busy: bool,
        listed: Option<Instant>,
        left: Duration,
    ) {
        let many = names.len() > NAMES_ONE_BY_ONE;
        let parts = if many { Vec::new() } else { vec![WHOLE] };
        let dropped = if many { names[..1].to_vec() } else { names.clone() };
        let patience = NAMES_PATIENCE.min(left);
        let locked = busy || !self.invalidate(inode, dropped, parts, patience);
        if !locked && !many {
            return;
        }
        if locked {
            let_arrive(listed);
        }
        if self.drop_all_names() {
            // Attributes take no lock.
            names.clear();
        }
        let patience = match (names.is_empty(), locked) {
            (true, _) => left,
            (false, true) => OLD_KERNEL_PATIENCE,
            (false, false) => patience,
        };
        self.invalidate(inode, names, vec![WHOLE], patience);
    }

    /// Whether the kernel could drop every name of the mount at once.
    fn drop_all_names(&self) -> bool {
        let kernel = self.kernel.read().clone();
        kernel.is_none_or(|kernel| kernel.drop_all_names())
    }

    /// Invalidates in a thread that may outlast the wait: whether it ended in time. A part of length 0 goes to the end.
    fn invalidate(
        &self,
        inode: &Arc<Inode>,
        names: Vec<Vec<u8>>,
        parts: Vec<(u64, u64)>,
        wait: Duration,
    ) -> bool {
        self.begin(inode, names, parts)
            .is_none_or(|ended| ended.within(wait))
    }
}

/// Gives a listing that was answered the time to arrive, if it needs any: the kernel keeps its names as if they had been told
/// after all were dropped.
fn let_arrive(listed: Option<Instant>) -> bool {
    let left = listed.map(|listed| LISTING_ARRIVAL.saturating_sub(listed.elapsed()));
    let left = left.filter(|left| !left.is_zero());
    left.map(std::thread::sleep).is_some()
}
