//! The second level under the block cache: blocks of chunks in a file on a local disk, which outlive the mount.
//! `data` asks it before it asks datanodes. Nothing read from it is believed without its CRC-32C; whatever goes
//! wrong with the disk ends the cache, never a call. One writer thread owns the file's growth and its slots.

mod entry;
mod index;
mod media;
#[cfg(test)]
mod tests;
mod writer;

use super::cache::BlockKey;
use crate::config::DiskCacheConfig;
use crate::wait::Patience;
use bytes::Bytes;
use dfs_core::chunk::{BLOCK_SIZE, crc32c};
use dfs_core::error::FsResult;
use index::{Index, Place};
use media::{CacheFile, Media};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Blocks that wait to be written, 32 MiB: four chunks; what comes while so many wait is not kept.
const QUEUE_MAX: usize = 512;
/// Reads at a time; a disk that hangs holds so many threads and no more.
const READS_MAX: usize = 32;
/// A mount waits so long for the index of what is there; a larger one comes into use when it is read.
const LOAD_WAIT: Duration = Duration::from_secs(1);
/// An unmount waits so long for the blocks that wait.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// A disk that was too slow for a reader is left alone for so long.
const REST: Duration = Duration::from_secs(10);
/// Between two looks at how far the writer has come.
const WRITER_TICK: Duration = Duration::from_millis(2);
/// Bad blocks that are logged; a disk that has more would fill the log.
const BAD_LOGGED: u64 = 8;

/// A block on its way to the writer.
type Job = (BlockKey, Bytes);

/// What happened so far.
#[derive(Default)]
pub(crate) struct Happened {
    pub written_bytes: AtomicU64,
    pub dropped_bytes: AtomicU64,
    pub evicted_blocks: AtomicU64,
    pub bad_blocks: AtomicU64,
}

/// What the threads share.
struct Shared {
    /// Whose blocks these are: the cluster.
    owner: Vec<u8>,
    /// For people.
    place: PathBuf,
    extents_max: u32,
    media: OnceLock<Box<dyn Media>>,
    index: Mutex<Index>,
    /// Given up, or closed.
    off: AtomicBool,
    happened: Happened,
    /// Blocks that were put into the queue, and those that the writer has dealt with.
    queued: AtomicU64,
    dealt: AtomicU64,
}

/// A mount's blocks on a local disk.
pub(crate) struct DiskCache {
    shared: Arc<Shared>,
    queue: Mutex<Option<SyncSender<Job>>>,
    /// Ends when the writer has ended.
    ended: Mutex<Receiver<()>>,
    reads: Arc<Semaphore>,
    started: Instant,
    /// Milliseconds after `started` until which the disk is left alone.
    rest_until: AtomicU64,
}

impl DiskCache {
    /// The cache for a volume of a cluster. Never fails: what is wrong is logged, and nothing is cached.
    pub fn start(config: &DiskCacheConfig, cluster: &[u8], volume: &str) -> DiskCache {
        let name = cluster
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        let directory = config.dir.join(format!("{name}-{volume}"));
        let open = {
            let directory = directory.clone();
            move || CacheFile::open(&directory).map(|file| Box::new(file) as Box<dyn Media>)
        };
        Self::with(open, directory, config.size, cluster)
    }

    fn with(
        open: impl FnOnce() -> std::io::Result<Box<dyn Media>> + Send + 'static,
        place: PathBuf,
        size: u64,
        owner: &[u8],
    ) -> DiskCache {
        let shared = Arc::new(Shared {
            owner: owner.to_vec(),
            place,
            // Slot numbers are 32 bits wide.
            extents_max: (size / entry::EXTENT_BYTES).min(u64::from(u32::MAX / entry::EXTENT_SLOTS)) as u32,
            media: OnceLock::new(),
            index: Mutex::default(),
            off: AtomicBool::new(false),
            happened: Happened::default(),
            queued: AtomicU64::new(0),
            dealt: AtomicU64::new(0),
        });
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let (loaded, ready) = sync_channel(1);
        let (end, ended) = sync_channel(0);
        let writer = shared.clone();
        let spawned = std::thread::Builder::new()
            .name("dfs-cache-write".to_string())
            .spawn(move || {
                let _end: SyncSender<()> = end;
                writer.run(open, jobs, loaded);
            });
        if let Err(error) = spawned {
            shared.give_up("no thread", &error);
        }
        // The directory may be on a disk that hangs.
        if ready.recv_timeout(LOAD_WAIT) == Err(RecvTimeoutError::Timeout) {
            tracing::info!(place = %shared.place.display(), "the disk cache is large or slow; it comes into use later");
        }
        DiskCache {
            shared,
            queue: Mutex::new(Some(queue)),
            ended: Mutex::new(ended),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            started: Instant::now(),
            rest_until: AtomicU64::new(0),
        }
    }

    pub fn contains(&self, key: &BlockKey) -> bool {
        !self.shared.off.load(Ordering::Relaxed) && self.shared.index.lock().contains(key)
    }

    /// Leave to read, unless the disk is slow or busy: then datanodes are quicker.
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let rests = (self.started.elapsed().as_millis() as u64) < self.rest_until.load(Ordering::Relaxed);
        if rests {
            return None;
        }
        self.reads.clone().try_acquire_owned().ok()
    }

    /// A read took too long.
    pub fn rest(&self) {
        let until = (self.started.elapsed() + REST).as_millis() as u64;
        let before = self.rest_until.fetch_max(until, Ordering::Relaxed);
        if before == 0 {
            tracing::warn!(place = %self.shared.place.display(),
                "the disk of the cache is slow; datanodes are asked instead whenever it is");
        }
    }

    /// A block's content, verified. Blocks on the disk.
    pub fn read(&self, key: &BlockKey) -> Option<Bytes> {
        self.shared.read(key)
    }

    /// Keeps a block, in the background; not when too many wait.
    pub fn keep(&self, key: BlockKey, content: Bytes) {
        if self.shared.off.load(Ordering::Relaxed) || content.is_empty() || self.contains(&key) {
            return;
        }
        let bytes = content.len() as u64;
        if self.offer((key, content)).is_err() {
            self.shared
                .happened
                .dropped_bytes
                .fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Whether blocks are kept at all.
    pub fn works(&self) -> bool {
        !self.shared.off.load(Ordering::Relaxed) && self.shared.media.get().is_some()
    }

    /// Bytes that it holds when it is full.
    pub fn capacity(&self) -> u64 {
        u64::from(self.shared.extents_max) * u64::from(entry::EXTENT_SLOTS) * u64::from(BLOCK_SIZE)
    }

    pub fn evicted(&self) -> u64 {
        self.shared.happened.evicted_blocks.load(Ordering::Relaxed)
    }

    /// Keeps a block, waiting for room in the queue. Does nothing when nothing is kept any more.
    pub fn keep_surely(&self, key: BlockKey, content: Bytes, patience: Patience<'_>) -> FsResult<()> {
        let mut job = (key, content);
        while self.works() && !job.1.is_empty() && !self.contains(&key) {
            job = match self.offer(job) {
                Err(TrySendError::Full(back)) => back,
                Ok(()) | Err(TrySendError::Disconnected(_)) => break,
            };
            std::thread::sleep(WRITER_TICK.min(patience.left()?));
        }
        Ok(())
    }

    /// Counted under the lock, so that whoever waits for a count waits for its own block too.
    fn offer(&self, job: Job) -> Result<(), TrySendError<Job>> {
        let queue = self.queue.lock();
        let Some(sender) = queue.as_ref() else {
            return Err(TrySendError::Disconnected(job));
        };
        sender.try_send(job)?;
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Returns when the writer has dealt with what was queued until now.
    pub fn wait_for_writer(&self, patience: Patience<'_>) -> FsResult<()> {
        let queued = self.shared.queued.load(Ordering::Relaxed);
        while self.works() && self.shared.dealt.load(Ordering::Relaxed) < queued {
            std::thread::sleep(WRITER_TICK.min(patience.left()?));
        }
        Ok(())
    }

    /// Writes what waits, within a bound, and lets the next mount have the file.
    pub fn close(&self) {
        if self.queue.lock().take().is_none() {
            return;
        }
        let ended = self.ended.lock().recv_timeout(CLOSE_WAIT);
        if ended == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(place = %self.shared.place.display(), "the disk of the cache is slow; blocks are dropped");
        }
        self.shared.off.store(true, Ordering::Relaxed);
    }

    pub fn happened(&self) -> &Happened {
        &self.shared.happened
    }

    /// Blocks held now.
    pub fn blocks(&self) -> usize {
        self.shared.index.lock().blocks()
    }
}

impl Shared {
    fn read(&self, key: &BlockKey) -> Option<Bytes> {
        if self.off.load(Ordering::Relaxed) {
            return None;
        }
        let media = self.media.get()?;
        let place = self.index.lock().find(key)?;
        let mut content = vec![0; place.len as usize];
        match media.read_at(&mut content, entry::content_at(place.slot)) {
            Ok(()) if crc32c(&content) == place.crc => return Some(content.into()),
            Ok(()) => self.drop_bad(key, place),
            // Somebody cut the file.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => self.drop_bad(key, place),
            Err(error) => self.give_up("it cannot be read", &error),
        }
        None
    }

    /// Forgets a block that does not match its checksum, unless its slot was just given to another.
    fn drop_bad(&self, key: &BlockKey, place: Place) {
        if !self.index.lock().forget(key, place) {
            return;
        }
        let before = self.happened.bad_blocks.fetch_add(1, Ordering::Relaxed);
        if before < BAD_LOGGED {
            tracing::warn!(place = %self.place.display(), slot = place.slot, chunk = %key.0, block = key.1,
                "a cached block does not match its checksum; it is dropped and fetched again");
        }
    }

    /// Ends the cache for this mount, with one line in the log.
    fn give_up(&self, what: &str, error: &std::io::Error) {
        if !self.off.swap(true, Ordering::Relaxed) {
            tracing::error!(place = %self.place.display(), %error,
                "no disk cache until the next mount: {what}; everything else goes on");
        }
    }
}
