//! Telling the coordinator what is no longer held here: inodes that the kernel has forgotten and no handle has
//! open. A task of the mount does it behind everybody's back, many inodes at a time, so that whoever removes
//! files waits for nothing more than the removal.

use super::Inode;
use super::apply::Caches;
use crate::data::Data;
use crate::session::Session;
use crate::vfs::KernelCache;
use crate::wait::Patience;
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
use dfs_core::op::Op;
use dfs_core::types::LeaseMode;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The kernel forgets the files of one `rm -r` one after another: they are gathered for this long.
const GATHER: Duration = Duration::from_millis(20);
/// Most inodes in one release, below `RELEASE_MAX`: the coordinator frees them in one step, and others wait for it.
const BATCH: usize = 256;

/// Saving what was written to removed files, for the trash, may take so long; then it is dropped with them.
const SAVE_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether a removal that was made here was told.
const UNTOLD: Duration = Duration::from_millis(50);

/// A coordinator that takes no release now is asked again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Inodes that may have to be released; whether they must is looked at when it is their turn.
#[derive(Default)]
pub(crate) struct Releases {
    queue: Mutex<Vec<Ino>>,
    filled: tokio::sync::Notify,
    /// Inodes that lost their last name on another mount.
    removed: Mutex<Vec<Ino>>,
    any_removed: tokio::sync::Notify,
}

impl Releases {
    pub fn push(&self, ino: Ino) {
        self.queue.lock().push(ino);
        self.filled.notify_one();
    }

    /// The inode, which is held here, lost its last name on another mount.
    pub fn removed(&self, ino: Ino) {
        self.removed.lock().push(ino);
        self.any_removed.notify_one();
    }

    async fn next(&self) -> Vec<Ino> {
        loop {
            if !self.queue.lock().is_empty() {
                tokio::time::sleep(GATHER).await;
                let mut queue = self.queue.lock();
                let count = queue.len().min(BATCH);
                let mut batch: Vec<Ino> = queue.drain(..count).collect();
                batch.sort_unstable();
                batch.dedup();
                return batch;
            }
            self.filled.notified().await;
        }
    }
}

/// Has the kernel drop the names of what others removed: it would keep a name, and the inode with it, until it is
/// short of memory.
pub(crate) async fn drop_removed(caches: Arc<Caches>, kernel: Arc<RwLock<Option<Arc<dyn KernelCache>>>>) {
    loop {
        caches.releases.any_removed.notified().await;
        let removed = std::mem::take(&mut *caches.releases.removed.lock());
        let Some(kernel) = kernel.read().clone() else {
            continue;
        };
        let caches = caches.clone();
        // The kernel may have to wait for requests on the directories that it sent us.
        let deed = move || {
            for inode in removed.iter().filter_map(|ino| caches.table.find(*ino)) {
                let names = std::mem::take(&mut inode.state.lock().known_as);
                for (parent, name) in names {
                    kernel.drop_entry(parent, &name);
                }
            }
        };
        if tokio::task::spawn_blocking(deed).await.is_err() {
            tracing::error!("names of removed files stay in the kernel's cache");
        }
    }
}

/// Releases what comes into the queue, one batch after another, until the mount ends.
pub(crate) async fn run(data: Arc<Data>) {
    let (session, caches) = (&data.session, &data.caches);
    loop {
        let batch = caches.releases.next().await;
        let inodes: Vec<Arc<Inode>> = batch.iter().filter_map(|ino| caches.table.find(*ino)).collect();
        if session.map().trash {
            save(&data, &inodes).await;
        }
        release(session, caches, inodes).await;
        for ino in batch {
            caches.table.forget(ino, 0, caches.journal.confirmed());
        }
    }
}

/// Commits what was written to files that the trash takes when they are released.
async fn save(data: &Arc<Data>, inodes: &[Arc<Inode>]) {
    let unsaved = |inode: &&Arc<Inode>| {
        let state = inode.state.lock();
        state.has_no_name() && !state.is_held() && !state.content.is_clean()
    };
    let unsaved: Vec<Arc<Inode>> = inodes.iter().filter(unsaved).cloned().collect();
    if unsaved.is_empty() {
        return;
    }
    let until = Instant::now() + SAVE_MAX;
    data.flush(&unsaved);
    let data = data.clone();
    let deed = move || {
        for inode in unsaved {
            let left = until.saturating_duration_since(Instant::now());
            if let Err(error) = data.flush_and_wait(&inode, Patience::new(left, None)) {
                tracing::warn!(ino = inode.ino.0, %error,
                    "a removed file comes to the trash without what was written to it last");
            }
        }
    };
    if tokio::task::spawn_blocking(deed).await.is_err() {
        tracing::error!("removed files may come to the trash without what was written to them last");
    }
}

async fn release(session: &Session, caches: &Caches, inodes: Vec<Arc<Inode>>) {
    // What was removed here is released after the removal was told, which has a time of its own.
    let confirmed = caches.journal.confirmed();
    let (later, inodes): (Vec<_>, Vec<_>) = inodes
        .into_iter()
        .partition(|inode| inode.state.lock().is_ahead(confirmed));
    if !later.is_empty() {
        tokio::time::sleep(UNTOLD).await;
        later.iter().for_each(|inode| caches.releases.push(inode.ino));
    }
    let inodes: Vec<Arc<Inode>> = inodes
        .into_iter()
        .filter(|inode| {
            let (due, told) = {
                let state = inode.state.lock();
                (state.owes_release(), state.declared_open)
            };
            if due && told {
                withdraw(session, inode);
            }
            due
        })
        .collect();
    if inodes.is_empty() {
        return;
    }
    let outcome = session
        .ask_built(|| {
            let inos = inodes
                .iter()
                .filter(|inode| let_go(caches, inode))
                .map(|inode| inode.ino)
                .collect();
            Some(Op::Release { inos })
        })
        .await;
    match outcome {
        Ok(_) => {}
        Err(FsError::TimedOut | FsError::WouldBlock) => {
            tokio::time::sleep(RETRY).await;
            for inode in inodes {
                inode.state.lock().orphan = true;
                caches.releases.push(inode.ino);
            }
        }
        // The session has ended, and with it what it held.
        Err(error) => tracing::debug!(%error, "removed files were freed with the session"),
    }
}

/// Takes back what the coordinator was told, unless the inode is held again.
fn withdraw(session: &Session, inode: &Inode) {
    session.acknowledge(inode.ino, 0, || {
        let mut state = inode.state.lock();
        state.declared_open = state.is_held();
        Some((state.lease, state.declared_open))
    });
}

/// The end of an inode without a name here, whose lease goes with it at the coordinator; whether it is still not held.
fn let_go(caches: &Caches, inode: &Inode) -> bool {
    let mut state = inode.state.lock();
    if state.is_held() {
        return false;
    }
    if state.has_no_name() {
        state.orphan = false;
        caches.budget.give_back(state.content.discard());
        state.set_lease(LeaseMode::None);
    }
    drop(state);
    inode.changed.notify_all();
    true
}
