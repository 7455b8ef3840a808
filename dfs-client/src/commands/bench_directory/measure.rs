//! What the rows share: a loop with a limit of time, the figures that come out of it, the flag that ends it early, and
//! content that no disk can compress. Called by `large` and `small`. Must not know which row it serves.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Set when the user has had enough.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How much a row may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of the large file.
    pub large: u64,
    /// Small files that one program makes.
    pub small: u64,
    /// Time of one row.
    pub each: Duration,
}

/// What a row did. A rate is over `seconds`, in which all of it happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub operations: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// Of each operation; empty where one operation is no unit that anybody waits for.
    latencies: Vec<Duration>,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }

    /// Decimal megabytes.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds.max(1e-9)
    }

    /// The latency that `part` of the operations did not exceed.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * part) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied()
    }

    /// Latencies say nothing of this row.
    pub fn without_latencies(mut self) -> Self {
        self.latencies.clear();
        self
    }

    /// What several threads did at the same time, in `seconds` together.
    pub fn together(parts: Vec<Measured>, seconds: f64) -> Self {
        let mut all = Measured {
            seconds,
            ..Measured::default()
        };
        for part in parts {
            all.operations += part.operations;
            all.bytes += part.bytes;
            all.latencies.extend(part.latencies);
        }
        all
    }
}

/// Does `step` for 0, 1, ... below `most`, until the time is over or the user stops it. `step` gives the bytes that it
/// moved.
pub(super) fn repeat(
    most: u64,
    limits: Limits,
    stop: &Stop,
    mut step: impl FnMut(u64) -> io::Result<u64>,
) -> io::Result<Measured> {
    let mut done = Measured::default();
    let begun = Instant::now();
    let mut before = begun;
    while done.operations < most && before - begun < limits.each && !stop.asked() {
        done.bytes += step(done.operations)?;
        let now = Instant::now();
        done.latencies.push(now - before);
        done.operations += 1;
        before = now;
    }
    done.seconds = (before - begun).as_secs_f64();
    Ok(done)
}

/// A sequence without visible order, the same each time: places to read, and content that does not compress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence(u64);

impl Sequence {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn fill(&mut self, block: &mut [u8]) {
        for piece in block.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }
}

/// Asks the kernel to forget what it has cached of a file. What the file system itself keeps stays.
pub(super) fn forget(path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open(path)?;
    file.sync_all()?;
    // SAFETY: the descriptor is open and the call touches no memory of ours.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
