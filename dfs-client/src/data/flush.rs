//! From sealed content to committed extents: upload, the file's turn, commit. Failures keep the data and are tried
//! again; only a lost lease loses it, and then every writer is told.

use super::Data;
use super::seal::{Batch, Part};
use crate::channel::Backoff;
use crate::figures;
use crate::inode::Inode;
use crate::inode::content::Content;
use crate::observe::request;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{ChunkId, Ino};
use dfs_core::op::{AttrChanges, Commit, FileCommit, NewChunk, Op, Reply, SetTime};
use dfs_core::types::LeaseMode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Dirty data waits at most this long.
const AGE_MAX: Duration = Duration::from_secs(5);
/// How often the flusher looks.
const TICK: Duration = Duration::from_millis(500);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// After a refusal for lack of space, closing a file waits for its data for so long, so that the writer learns.
const FULL_PERIOD: Duration = Duration::from_secs(10);
/// Waits look at their caller's cancellation this often.
const WAIT_TICK: Duration = Duration::from_millis(50);

impl Data {
    /// Writes were added to a file: it is flushed in time.
    pub fn note_pending(&self, inode: &Arc<Inode>) {
        self.pending
            .lock()
            .entry(inode.ino)
            .or_insert_with(|| inode.clone());
    }

    /// Flushes what is old, or everything when memory is short, until the mount ends.
    pub async fn run_flusher(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wanted = tokio::select! {
                _ = tick.tick() => false,
                () = self.caches.promises.wanted.notified() => true,
            };
            self.flush_aged();
            self.caches.promises.return_unused(&self.session, wanted);
            for ino in self.caches.table.sweep(self.caches.journal.confirmed()) {
                self.session.tell_held(ino, LeaseMode::None, false);
            }
        }
    }

    fn flush_aged(self: &Arc<Self>) {
        let crowded = self.caches.budget.used() > super::budget::DIRTY_MAX / 2;
        let inodes: Vec<Arc<Inode>> = self.pending.lock().values().cloned().collect();
        let mut due = Vec::new();
        for inode in inodes {
            let mut state = inode.state.lock();
            self.give_back_unneeded(&mut state.content);
            let old = state
                .content
                .since
                .is_some_and(|since| since.elapsed() >= AGE_MAX);
            let done = state.content.is_clean() && state.atime.is_none();
            let idle_atime = state.content.is_clean() && state.atime.is_some();
            drop(state);
            if old || crowded {
                due.push(inode);
            } else if idle_atime {
                self.tell_atime(&inode);
            } else if done {
                self.forget_pending(&inode);
            }
        }
        self.flush(&due);
    }

    /// Bytes of a quota that a file took and needs no more.
    fn give_back_unneeded(&self, content: &mut Content) {
        let (quota, bytes) = content.unneeded();
        self.caches.promises.give_back(quota, bytes);
    }

    /// The same for all files, at once.
    pub fn give_back_all_unneeded(&self) {
        for inode in self.all_pending() {
            self.give_back_unneeded(&mut inode.state.lock().content);
        }
    }

    fn forget_pending(&self, inode: &Inode) {
        let mut pending = self.pending.lock();
        // Looked at again under the lock: a writer may have come between.
        let mut state = inode.state.lock();
        self.give_back_unneeded(&mut state.content);
        if state.content.is_clean() && state.atime.is_none() {
            pending.remove(&inode.ino);
        }
    }

    /// Access times that reads moved go together where they may be changed here.
    fn tell_atime(&self, inode: &Inode) {
        let Some(op) = self.atime_to_tell(inode) else {
            return;
        };
        let here = self.session.writes_back() && self.session.trusted();
        if !here || self.caches.execute_here(&op, self.session.map().trash).is_none() {
            self.session.send(op);
        }
    }

    /// The operation that tells the coordinator of an access time that reads moved.
    pub fn atime_to_tell(&self, inode: &Inode) -> Option<Op> {
        let mut state = inode.state.lock();
        let atime = state
            .atime
            .filter(|_| !state.is_ahead(self.caches.journal.confirmed()))?;
        let Some(attr) = &mut state.attr else {
            state.atime = None;
            return None;
        };
        attr.atime = atime;
        let ctime = Some(attr.ctime);
        state.atime = None;
        let changes = AttrChanges {
            atime: Some(SetTime::At(atime)),
            ctime,
            ..AttrChanges::default()
        };
        Some(Op::SetAttr {
            ino: inode.ino,
            changes,
        })
    }

    /// Every file with anything that is not committed.
    pub fn all_pending(&self) -> Vec<Arc<Inode>> {
        self.pending.lock().values().cloned().collect()
    }

    /// Whether a lack of space was met lately.
    pub fn is_full(&self) -> bool {
        (self.started.elapsed().as_millis() as u64) < self.full_until.load(Ordering::Relaxed)
    }

    /// Flushes the file and waits until everything written before the call is committed.
    pub fn flush_and_wait(self: &Arc<Self>, inode: &Arc<Inode>, patience: Patience<'_>) -> FsResult<()> {
        let begun = Instant::now();
        let result = self.flush_to_the_end(inode, patience);
        figures::waited("flush", begun, String::new);
        self.spent_behind(begun);
        result
    }

    /// Says where the time of a wait for work behind its callers went.
    pub fn spent_behind(&self, begun: Instant) {
        let profile = &self.session.figures().profile;
        if profile.is_on() {
            figures::spent(&profile.behind(begun));
        }
    }

    fn flush_to_the_end(self: &Arc<Self>, inode: &Arc<Inode>, patience: Patience<'_>) -> FsResult<()> {
        let (failures, mut target) = {
            let state = inode.state.lock();
            if state.content.is_clean() {
                return Ok(());
            }
            (state.content.failures, None)
        };
        loop {
            self.flush(std::slice::from_ref(inode));
            self.hurry.notify_waiters();
            let mut state = inode.state.lock();
            if state.content.dirty.is_empty() || target.is_none() && state.content.hold == 0 {
                target.get_or_insert(state.content.sealed());
            }
            loop {
                if target.is_some_and(|target| state.content.landed(target)) {
                    return Ok(());
                }
                if let Some(error) = state.content.error.filter(|_| state.content.failures != failures) {
                    return Err(error);
                }
                let left = match patience.left() {
                    Ok(left) => left,
                    Err(FsError::TimedOut) => return Err(FsError::Io),
                    Err(error) => return Err(error),
                };
                inode.changed.wait_for(&mut state, left.min(WAIT_TICK));
                if target.is_none() && state.content.hold == 0 {
                    break;
                }
            }
        }
    }

    /// Waits until nothing of the file is on its way; what is dirty stays.
    pub fn wait_for_flights(&self, inode: &Inode, patience: Patience<'_>) -> FsResult<()> {
        let mut state = inode.state.lock();
        while !state.content.flights.is_empty() {
            let left = patience.left()?;
            inode.changed.wait_for(&mut state, left.min(WAIT_TICK));
        }
        Ok(())
    }

    /// Brings a sealed batch to its commit.
    pub(super) async fn carry(self: Arc<Self>, mut batch: Batch) {
        let begun = Instant::now();
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST, None);
        let mut chunk: Option<NewChunk> = None;
        while self.still_wanted(&batch) {
            let error = match self.attempt(&mut batch, &mut chunk).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if is_final(error) && chunk.is_some() {
                return self.lose(&batch.parts, error);
            }
            if error == FsError::WouldBlock {
                // Nobody who surely has the chunk is a member of its set any more: it is written anew.
                if let Some(old) = chunk.take() {
                    self.caches.stock.forget(old.id.set);
                }
            }
            self.failed(&batch, error, begun);
            let pause = backoff.delay().unwrap_or(RETRY_MOST);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.hurry.notified() => tokio::time::sleep(RETRY_FIRST).await,
            }
        }
    }

    async fn attempt(self: &Arc<Self>, batch: &mut Batch, chunk: &mut Option<NewChunk>) -> FsResult<()> {
        if chunk.is_none() {
            let _permit = self.uploads.acquire().await.map_err(|_| FsError::Io)?;
            let uploaded = self.upload_counted(batch).await?;
            self.keep(uploaded.id, batch);
            *chunk = Some(uploaded);
        }
        let Some(new) = chunk.as_ref() else {
            return Err(FsError::Io);
        };
        self.turn(batch).await;
        let inodes: Vec<Arc<Inode>> = batch.parts.iter().map(|part| part.inode.clone()).collect();
        self.wait_for_named(&inodes).await;
        let request = request::transfer(self.session.id(), new.id);
        tracing::debug!(request, files = batch.parts.len(), "committing");
        match self.commit(&batch.parts, new.id, vec![new.clone()]).await {
            // One file's lease is gone: the others must not suffer for it.
            Err(FsError::Stale) if batch.parts.len() > 1 => self.commit_apart(batch, new).await,
            result => result,
        }
    }

    async fn commit_apart(&self, batch: &Batch, chunk: &NewChunk) -> FsResult<()> {
        let mut chunks = vec![chunk.clone()];
        for part in &batch.parts {
            match self
                .commit(std::slice::from_ref(part), chunk.id, chunks.clone())
                .await
            {
                Ok(()) => chunks.clear(),
                Err(error) if is_final(error) => self.lose(std::slice::from_ref(part), error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn commit(&self, parts: &[Part], id: ChunkId, chunks: Vec<NewChunk>) -> FsResult<()> {
        let mut lost = Vec::new();
        {
            let lost = &mut lost;
            let reply = self.session.ask_built(|| commit(parts, id, chunks, lost)).await?;
            // It went with what was done here, which stands.
            if let Some(Reply::Shipped { refused: Some(error) }) = reply {
                return Err(error);
            }
        }
        for part in parts {
            let lost = lost.contains(&part.inode.ino).then_some(FsError::Io);
            self.landed(part, lost);
        }
        self.landed.notify_waiters();
        Ok(())
    }

    /// Waits until every earlier flight of the batch's files has been committed.
    async fn turn(&self, batch: &Batch) {
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable();
            let first = |part: &Part| part.inode.state.lock().content.landed(part.flight.number - 1);
            if batch.parts.iter().all(first) {
                return;
            }
            landed.await;
        }
    }

    /// Whether any of the files still waits for the batch: a lost session has dropped them.
    fn still_wanted(&self, batch: &Batch) -> bool {
        let wanted = |part: &Part| !part.inode.state.lock().content.landed(part.flight.number);
        batch.parts.iter().any(wanted)
    }

    /// The flight is over: its bytes are in extents, or lost.
    fn landed(&self, part: &Part, lost: Option<FsError>) {
        let mut state = part.inode.state.lock();
        let was_there = state.content.land(part.flight.number);
        if lost.is_some() && was_there {
            state.content.losses += 1;
        }
        if was_there && lost.is_none() {
            state.content.error = None;
        }
        let (quota, bytes) = state.content.unneeded();
        match lost {
            None => self.caches.promises.use_up(quota, bytes),
            Some(_) => self.caches.promises.give_back(quota, bytes),
        }
        drop(state);
        if was_there {
            self.caches.budget.give_back(part.flight.bytes);
        }
        part.inode.changed.notify_all();
    }

    fn lose(&self, parts: &[Part], error: FsError) {
        for part in parts {
            self.session.figures().lost_bytes.add(part.flight.bytes);
            tracing::error!(ino = part.inode.ino.0, bytes = part.flight.bytes, %error,
                "the coordinator refused a commit; the data is lost and reported to its writers");
            self.landed(part, Some(error));
        }
        self.landed.notify_waiters();
    }

    /// The data is kept; whoever waits for it learns why it is not safe yet. Passing trouble becomes an error only
    /// when it lasts.
    fn failed(&self, batch: &Batch, error: FsError, begun: Instant) {
        let full = matches!(error, FsError::NoSpace | FsError::QuotaExceeded);
        if full {
            let until = self.started.elapsed() + FULL_PERIOD;
            self.full_until.store(until.as_millis() as u64, Ordering::Relaxed);
        } else if begun.elapsed() < self.timeout {
            return;
        }
        for part in &batch.parts {
            let mut state = part.inode.state.lock();
            if !state.content.landed(part.flight.number) {
                state.content.error = Some(if full { error } else { FsError::Io });
                state.content.failures += 1;
            }
            drop(state);
            part.inode.changed.notify_all();
        }
    }
}

/// Refusals of a commit that repeating cannot change.
fn is_final(error: FsError) -> bool {
    !matches!(
        error,
        FsError::NoSpace | FsError::QuotaExceeded | FsError::TimedOut | FsError::WouldBlock
    )
}

/// The commit as it is right at its place in the session's order; `lost` gets the files whose lease is gone.
fn commit(parts: &[Part], id: ChunkId, chunks: Vec<NewChunk>, lost: &mut Vec<Ino>) -> Option<Op> {
    let mut files = Vec::with_capacity(parts.len());
    for Part { inode, flight, at } in parts {
        let state = inode.state.lock();
        if state.content.landed(flight.number) || state.lease < LeaseMode::Exclusive {
            lost.push(inode.ino);
            continue;
        }
        files.push(FileCommit {
            ino: inode.ino,
            extents: flight.extents(id, *at),
            mtime: state.content.mtime,
            atime: state.atime,
            kill_suidgid: flight.kill_suidgid,
        });
    }
    (!files.is_empty()).then_some(Op::Commit(Commit { chunks, files }))
}
