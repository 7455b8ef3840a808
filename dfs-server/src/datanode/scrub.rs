//! Scrub: reads every chunk that is here once within a period, in id order, evenly spread over it, from a thread
//! with the lowest priority for the disk. What it finds bad is out of service at once and told with the heartbeat.
//! The position survives restarts. `Datanode` starts it; it knows the store by its trait.

use super::store::{ChunkStore, Verdict};
use crate::config::data_dir::replace_file;
use dfs_client::observe::{Counter, Metrics};
use dfs_core::ids::{ChunkId, SetId};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const FILE: &str = "scrub";
/// A pass takes this part of the period, so that what is written meanwhile and what a restart repeats fits, too.
const PART: f64 = 0.9;
/// How often the next step is looked at; a fraction of the period where that is short.
const STEP: Duration = Duration::from_secs(1);
const STEPS_OF_PERIOD: u32 = 50;
/// How often the position is kept.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// Most bytes that may be due at once, after a time in which the disk was too busy.
const DUE_MOST: f64 = 256.0 * 1024.0 * 1024.0;

/// Where the scrub is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Position {
    /// The last chunk that was read in this pass.
    after: Option<ChunkId>,
    /// Bytes that may be read now.
    due: f64,
}

/// The running scrub; ends when it is dropped.
pub struct Scrub {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Worker {
    store: Arc<dyn ChunkStore>,
    dir: PathBuf,
    period: Duration,
    stop: Arc<AtomicBool>,
    position: Position,
    counts: Counts,
}

struct Counts {
    chunks: Counter,
    bytes: Counter,
    bad: Counter,
    passes: Counter,
}

impl Scrub {
    /// Starts to read chunks in turn; none when `period` is zero, which is off.
    pub fn start(
        store: Arc<dyn ChunkStore>,
        dir: &Path,
        period: Duration,
        metrics: &Metrics,
    ) -> std::io::Result<Option<Scrub>> {
        if period.is_zero() {
            return Ok(None);
        }
        let stop = Arc::<AtomicBool>::default();
        let worker = Worker {
            store,
            dir: dir.to_path_buf(),
            period,
            stop: stop.clone(),
            position: load(dir),
            counts: Counts {
                chunks: metrics.counter(
                    "dfs_datanode_scrubbed_chunks_total",
                    "Chunks read whole by the scrub",
                ),
                bytes: metrics.counter("dfs_datanode_scrubbed_bytes_total", "Content read by the scrub"),
                bad: metrics.counter("dfs_datanode_scrub_bad_total", "Copies that the scrub found bad"),
                passes: metrics.counter(
                    "dfs_datanode_scrub_passes_total",
                    "Times that the scrub came to the end",
                ),
            },
        };
        let thread = std::thread::Builder::new().name("dfs-scrub".into());
        let thread = thread.spawn(move || worker.run())?;
        Ok(Some(Scrub {
            stop,
            thread: Some(thread),
        }))
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends within the reading of one chunk; its panic has been shown.
            let _ = thread.join();
        }
    }
}

impl Worker {
    fn run(mut self) {
        yield_the_disk();
        let step = STEP.min(self.period / STEPS_OF_PERIOD);
        let (mut kept, mut before) = (Instant::now(), Instant::now());
        let mut saved = self.position;
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(step);
            let used = self.store.usage().used as f64;
            let rate = used / (self.period.as_secs_f64() * PART);
            // A whole chunk must become due, also where they are few.
            let most = DUE_MOST.max(rate * 2.0 * step.as_secs_f64());
            let earned = rate * before.elapsed().as_secs_f64();
            self.position.due = (self.position.due + earned).min(most);
            before = Instant::now();
            self.read_what_is_due();
            if kept.elapsed() >= KEEP_EVERY && self.position != saved {
                self.keep();
                (kept, saved) = (Instant::now(), self.position);
            }
        }
        self.keep();
    }

    fn read_what_is_due(&mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(held) = self.store.list(self.position.after, 1, true).pop() else {
                if self.position.after.take().is_some() {
                    self.counts.passes.inc();
                    continue;
                }
                return;
            };
            if self.position.due < f64::from(held.len) {
                return;
            }
            self.position.due -= f64::from(held.len);
            self.position.after = Some(held.chunk);
            self.read(held.chunk);
        }
    }

    fn read(&self, chunk: ChunkId) {
        match self.store.verify(chunk) {
            Verdict::Good { len, .. } => {
                self.counts.chunks.inc();
                self.counts.bytes.add(u64::from(len));
            }
            // Deleted a moment ago.
            Verdict::Missing => {}
            Verdict::Corrupt(reason) | Verdict::Unreadable(reason) => {
                tracing::error!(%chunk, reason, "the scrub found a bad copy; it is told to the coordinator");
                self.counts.chunks.inc();
                self.counts.bad.inc();
            }
        }
    }

    fn keep(&self) {
        let Position { after, due } = self.position;
        let after = after.map_or("none".to_string(), |id| format!("{} {}", id.set.0, id.seq));
        let text = format!("format 1\ndue {due:.0}\nafter {after}\n");
        if let Err(error) = replace_file(&self.dir, FILE, text.as_bytes()) {
            tracing::warn!(%error, "the scrub's position is not kept: after a restart it repeats some chunks");
        }
    }
}

/// The position that was kept; from the start when there is none that can be read.
fn load(dir: &Path) -> Position {
    let text = std::fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    parse(&text).unwrap_or_default()
}

fn parse(text: &str) -> Option<Position> {
    let mut lines = text.lines();
    if lines.next()? != "format 1" {
        return None;
    }
    let due: f64 = lines.next()?.strip_prefix("due ")?.parse().ok()?;
    let after = match lines.next()?.strip_prefix("after ")? {
        "none" => None,
        id => {
            let (set, seq) = id.split_once(' ')?;
            Some(ChunkId {
                set: SetId(set.parse().ok()?),
                seq: seq.parse().ok()?,
            })
        }
    };
    let due = due.is_finite().then_some(due)?;
    Some(Position { after, due })
}

/// This thread gets the disk and the processor when nobody else wants them.
fn yield_the_disk() {
    /// `IOPRIO_CLASS_IDLE` in the place of the class, linux/ioprio.h.
    const IDLE: libc::c_int = 3 << 13;
    const WHO_PROCESS: libc::c_int = 1;
    const NICE: libc::c_int = 10;
    // SAFETY: both change only the calling thread's priorities, and take no pointers.
    unsafe {
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
}

#[cfg(test)]
mod tests;
