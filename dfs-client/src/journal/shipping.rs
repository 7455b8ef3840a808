//! Telling the coordinator what was done here: in time, when many changes wait, before anything that depends on them,
//! and when somebody waits for it. The content of files that got a name goes before the name or with it; while it cannot be
//! saved, the name and what came after it wait, unless somebody needs them.

use super::{INOS, Journal};
use crate::data::Data;
use crate::inode::apply::Caches;
use crate::inode::{Inode, Needs, State, needs};
use crate::session::Body;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply, Ship};
use dfs_core::types::LeaseMode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(100);
/// Content that names wait for is waited for so long before it is looked what can be told without it.
const CONTENT_WAIT: Duration = Duration::from_secs(10);
/// Waits look at their caller's cancellation this often.
const WAIT_TICK: Duration = Duration::from_millis(50);
/// A coordinator that gives no numbers now is asked again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Tells in time and keeps numbers at hand, until the mount ends.
pub(crate) async fn run(data: Arc<Data>) {
    let journal = &data.caches.journal;
    let mut ask_from = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = journal.wanted.notified() => {}
        }
        if journal.lacks_inos() && Instant::now() >= ask_from {
            ask_from = Instant::now() + RETRY;
            match data.session.ask(Op::AllocInos { count: INOS }).await {
                Ok(Reply::InoRange { first, count }) => {
                    journal.give_inos(first, count);
                    ask_from = Instant::now();
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "no inode numbers for changes made here"),
            }
        }
        if journal.is_due() {
            tell(&data, journal.last()).await;
        }
    }
}

/// Tells what waits up to `place`, with the content of files that are closed.
async fn tell(data: &Arc<Data>, place: u64) {
    let journal = &data.caches.journal;
    let find = |inos: Vec<Ino>| inos.into_iter().filter_map(|ino| data.caches.table.find(ino));
    let ready = |inode: &Arc<Inode>| {
        let state = inode.state.lock();
        !state.content.dirty.is_empty() && state.opens == 0
    };
    data.flush(&find(journal.files_waiting()).filter(ready).collect::<Vec<_>>());
    let mut saving = Saving::begin(find(journal.named_up_to(place)));
    let until = Instant::now() + CONTENT_WAIT;
    while !saving.is_done(data) && Instant::now() < until {
        tokio::time::sleep(WAIT_TICK / 5).await;
    }
    let place = place.min(journal.before_named(|ino| saving.waits_for(ino)));
    let next = || data.caches.next_shipment(place).map(Op::Ship);
    while let Ok(Some(_)) = data.session.ask_built(next).await {}
}

/// Files whose content of the moment when this began is to be saved; what is written later is not waited for.
struct Saving(Vec<(Arc<Inode>, Option<u64>)>);

impl Saving {
    fn begin(inodes: impl Iterator<Item = Arc<Inode>>) -> Saving {
        Saving(inodes.filter(is_unsaved).map(|inode| (inode, None)).collect())
    }

    /// Has the content sent, and looks whether all of it has been committed.
    fn is_done(&mut self, data: &Arc<Data>) -> bool {
        let unsealed = self.0.iter().filter(|(_, target)| target.is_none());
        let unsealed: Vec<Arc<Inode>> = unsealed.map(|(inode, _)| inode.clone()).collect();
        data.flush(&unsealed);
        self.0.retain_mut(|(inode, target)| {
            let content = &inode.state.lock().content;
            if content.hold == 0 || content.dirty.is_empty() {
                target.get_or_insert(content.sealed());
            }
            target.is_none_or(|target| !content.landed(target))
        });
        self.0.is_empty()
    }

    fn waits_for(&self, ino: Ino) -> bool {
        self.0.iter().any(|(inode, _)| inode.ino == ino)
    }
}

fn is_unsaved(inode: &Arc<Inode>) -> bool {
    !inode.state.lock().content.is_clean()
}

impl Data {
    /// Returns when the coordinator has made durable all that was done here up to `place`.
    pub fn tell_and_wait(self: &Arc<Self>, place: u64, patience: Patience<'_>) -> FsResult<()> {
        let journal = &self.caches.journal;
        if journal.confirmed() >= place {
            return Ok(());
        }
        let losses = journal.losses();
        self.save_named(place, patience)?;
        while self
            .session
            .send_built(|| self.caches.next_shipment(place).map(Op::Ship))
        {}
        let begun = Instant::now();
        let told = journal.wait_for(place, patience);
        self.spent_behind(begun);
        told?;
        match journal.losses() == losses {
            true => Ok(()),
            false => Err(FsError::Io),
        }
    }

    /// Files with content that is not saved whose new names would be told before the content of these: it tells that they
    /// were made, and all that was done before.
    pub fn named_before(&self, inodes: &[Arc<Inode>]) -> Vec<Arc<Inode>> {
        let journal = &self.caches.journal;
        let needed = inodes.iter().map(|inode| inode.state.lock().content_needs());
        let place = needed.max().unwrap_or(0);
        if place <= journal.confirmed() {
            return Vec::new();
        }
        let named = journal.named_up_to(place);
        let named = named.into_iter().filter_map(|ino| self.caches.table.find(ino));
        named.filter(is_unsaved).collect()
    }

    /// Waits until the content of all those that are on their way apart from these is committed.
    pub async fn wait_for_named(self: &Arc<Self>, inodes: &[Arc<Inode>]) {
        let mut named = self.named_before(inodes);
        named.retain(|named| !inodes.iter().any(|own| own.ino == named.ino));
        let mut saving = Saving::begin(named.into_iter());
        let until = Instant::now() + CONTENT_WAIT;
        while !saving.is_done(self) && Instant::now() < until {
            tokio::time::sleep(WAIT_TICK / 10).await;
        }
    }

    /// Commits the content of files that got a name in what waits up to `place`.
    pub fn save_named(self: &Arc<Self>, place: u64, patience: Patience<'_>) -> FsResult<()> {
        let journal = &self.caches.journal;
        if journal.confirmed() >= place {
            return Ok(());
        }
        let named = journal.named_up_to(place);
        let named = named.into_iter().filter_map(|ino| self.caches.table.find(ino));
        let unsaved: Vec<Arc<Inode>> = named.filter(is_unsaved).collect();
        self.flush(&unsaved);
        for inode in unsaved {
            self.flush_and_wait(&inode, patience)?;
        }
        Ok(())
    }

    /// Like `tell_inode` where content cannot be saved: names go before it.
    pub fn tell_names(self: &Arc<Self>, inode: &Inode, patience: Patience<'_>) -> FsResult<()> {
        let journal = &self.caches.journal;
        let place = inode.state.lock().changed_here;
        while self
            .session
            .send_built(|| self.caches.next_shipment(place).map(Op::Ship))
        {}
        journal.wait_for(place, patience)
    }

    /// Returns when all that was done here to the inode's names and attributes is durable.
    pub fn tell_inode(self: &Arc<Self>, inode: &Inode, patience: Patience<'_>) -> FsResult<()> {
        let place = inode.state.lock().changed_here;
        self.tell_and_wait(place, patience)
    }
}

impl Journal {
    fn wait_for(&self, place: u64, patience: Patience<'_>) -> FsResult<()> {
        let mut entries = self.entries.lock();
        while self.confirmed() < place {
            let left = match patience.left() {
                Err(FsError::TimedOut) if self.is_full() => return Err(FsError::NoSpace),
                left => left?,
            };
            self.told.wait_for(&mut entries, left.min(WAIT_TICK));
        }
        Ok(())
    }
}

impl Caches {
    /// What must be told before a call that is about to be sent; a commit goes with what its files need, as one change.
    /// Called at the call's place in the session's order.
    pub fn tell_before(&self, body: &mut Body) -> Vec<Op> {
        let needs = match body {
            Body::Op(op) => needs(op),
            Body::Lock(lock, _) => Needs::Births(vec![lock.ino]),
        };
        let newest = |inos: Vec<Ino>, place: fn(&State) -> u64| {
            let found = inos.into_iter().filter_map(|ino| self.table.find(ino));
            found.map(|inode| place(&inode.state.lock())).max().unwrap_or(0)
        };
        let confirmed = self.journal.confirmed();
        let place = match needs {
            Needs::Births(inos) => newest(inos, |state| state.born_here),
            Needs::Sizes(inos) => newest(inos, |state| state.born_here.max(state.size_here)),
            Needs::Changes(inos) => newest(inos, |state| state.changed_here),
            Needs::Content(inos) => newest(inos, State::content_needs),
            Needs::Everything => self.journal.last(),
        };
        if place <= confirmed {
            return Vec::new();
        }
        let mut shipments = Vec::new();
        while let Some(shipment) = self.next_shipment(place) {
            shipments.push(shipment);
        }
        if let Body::Op(op) = body
            && let Op::Commit(commit) = op.as_ref()
            && let Some(mut last) = shipments.pop()
        {
            last.commit = Some(commit.clone());
            *body = Body::op(Op::Ship(last));
        }
        shipments.into_iter().map(Op::Ship).collect()
    }

    fn next_shipment(&self, place: u64) -> Option<Ship> {
        self.journal
            .next(place, |ino, removed_at| self.let_go_before_told(ino, removed_at))
    }

    /// Whether the inode that was removed at that place is held no more, neither by the kernel nor with content on its way,
    /// and was not changed since. Then the coordinator frees it with the removal, instead of keeping it until it is released.
    fn let_go_before_told(&self, ino: Ino, removed_at: u64) -> bool {
        let Some(inode) = self.table.find(ino) else {
            return false;
        };
        let mut state = inode.state.lock();
        let gone = state.orphan
            && state.changed_here == removed_at
            && !state.is_held()
            && state.recalling == 0
            && state.content.is_clean();
        if gone {
            state.orphan = false;
            state.declared_open = false;
            state.set_lease(LeaseMode::None);
        }
        gone
    }

    /// The oldest shipment was answered: up to where everything is durable now.
    pub fn shipped(&self, outcome: &FsResult<Reply>) -> u64 {
        match outcome {
            Ok(_) => self.journal.confirm(),
            Err(error) => {
                tracing::error!(%error, "the coordinator refused what was done here; it is lost and reported");
                self.journal.refused.store(true, Ordering::Release);
            }
        }
        self.journal.confirmed()
    }

    /// What was done here and is not durable is lost, and whoever syncs it is told.
    pub fn lose_journal(&self) {
        self.journal.refused.store(false, Ordering::Release);
        let confirmed = self.journal.confirmed();
        for ino in self.journal.lose() {
            self.with(ino, |state| {
                if state.born_here > confirmed {
                    // Nobody can open again what was made in vain.
                    self.budget.give_back(state.content.discard());
                    state.content.lose_for_openers();
                } else {
                    state.content.losses += 1;
                }
            });
        }
    }
}
