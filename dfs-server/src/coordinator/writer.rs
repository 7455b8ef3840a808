//! The log writer's thread: appends records to the log, tells the executor, applies them to the store. It owns
//! the log. While it syncs one record, the executor gathers the next.

use super::inbox::{Completion, Inbox, WriterError};
use super::log::MetadataLog;
use super::state::{StateError, Store};
use dfs_core::ids::Index;
use dfs_core::record::Record;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often and how long a full disk is waited for: far beyond the time that freeing the reserve takes.
const FULL_TRIES: u32 = 50;
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// What the writer is asked.
pub enum Job {
    Append(Arc<Record>),
    /// Forget the log up to here: a durable checkpoint is newer.
    Trim(Index),
}

/// Counts for status and tests.
#[derive(Default)]
pub struct WriterCounts {
    /// Appends, each with its own sync.
    pub syncs: AtomicU64,
    /// The oldest index that the log holds.
    pub first: AtomicU64,
}

/// Where the executor's records go. Each job's end is told as a `Completion`, in order.
pub trait Appender: Send {
    /// Hands over a job and does not wait.
    fn give(&self, job: Job);

    /// Appends so far, each with its own sync.
    fn syncs(&self) -> u64;
}

/// The running thread; it ends when this is dropped and the work is done.
pub struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pub counts: Arc<WriterCounts>,
}

impl Writer {
    /// Starts the thread.
    pub fn start(log: Box<dyn MetadataLog>, store: Store, inbox: Inbox) -> std::io::Result<Writer> {
        let (jobs, queue) = channel();
        let counts = Arc::new(WriterCounts::default());
        counts.first.store(log.first().0, Ordering::Relaxed);
        let own = counts.clone();
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || {
            if let Err(error) = work(log, &store, &inbox, &queue, &own) {
                inbox.complete(Completion::Failed(error));
            }
            if let Err(error) = store.persist() {
                tracing::warn!(%error, "the state was not written out; the next start replays more of the log");
            }
        })?;
        Ok(Writer {
            jobs: Some(jobs),
            thread: Some(thread),
            counts,
        })
    }
}

impl Appender for Writer {
    /// The end is told through the inbox; a writer that stopped has told why.
    fn give(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            tracing::debug!("the log writer has stopped");
        }
    }

    fn syncs(&self) -> u64 {
        self.counts.syncs.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log writer panicked");
        }
    }
}

/// Applies a record that is durable in the log. A full disk is waited for: the watch over the space gives up
/// its reserve within moments, and the executor takes only shrinking work meanwhile.
fn apply(store: &Store, record: &Record) -> Result<(), StateError> {
    let mut tries = 0;
    loop {
        match store.apply([record]) {
            Err(StateError::Full(path)) if tries < FULL_TRIES => {
                tries += 1;
                tracing::warn!(path = %path.display(), "the state's disk is full; trying again");
                std::thread::sleep(FULL_PAUSE);
            }
            other => return other,
        }
    }
}

fn work(
    mut log: Box<dyn MetadataLog>,
    store: &Store,
    inbox: &Inbox,
    queue: &Receiver<Job>,
    counts: &WriterCounts,
) -> Result<(), WriterError> {
    while let Ok(job) = queue.recv() {
        match job {
            Job::Append(record) => {
                log.append(&[&record])?;
                counts.syncs.fetch_add(1, Ordering::Relaxed);
                inbox.complete(Completion::Durable(record.index));
                apply(store, &record)?;
                inbox.complete(Completion::Applied(record.index));
            }
            Job::Trim(up_to) => {
                log.trim(up_to)?;
                counts.first.store(log.first().0, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}
