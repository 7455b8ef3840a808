//! What a warm-up has done so far: counted by its threads, shown by `show`. The owner of the counts.

use super::walk::Visitor;
use crate::ioctl::{WARM_STEP, WarmAsk, Warmed};
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Failures that are told with their paths; all are counted.
const FAILURES_SHOWN: usize = 20;
/// After so many files that could not be read, something is wrong that more attempts do not mend.
const FAILURES_MAX: u64 = 64;
/// The mount warms enough for others just now.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Counts of a walk over names.
#[derive(Default)]
pub(super) struct Names {
    pub directories: AtomicU64,
    pub files: AtomicU64,
    pub others: AtomicU64,
    pub bytes: AtomicU64,
    pub failures: Failures,
}

/// What went wrong.
#[derive(Default)]
pub(super) struct Failures {
    pub count: AtomicU64,
    pub first: Mutex<Vec<(String, String)>>,
}

impl Failures {
    fn add(&self, path: &Path, error: &io::Error) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock();
        if first.len() < FAILURES_SHOWN {
            first.push((path.display().to_string(), error.to_string()));
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Visitor for Names {
    fn directory(&self, _: &Path) {
        add(&self.directories, 1);
    }

    fn file(&self, _: &Path, from: u64, to: u64) {
        add(&self.files, u64::from(from == 0));
        add(&self.bytes, to - from);
    }

    fn other(&self) {
        add(&self.others, 1);
    }

    fn failed(&self, path: &Path, error: &io::Error) {
        self.failures.add(path, error);
    }

    fn is_enough(&self) -> bool {
        false
    }
}

/// Counts of a walk over content, which it asks the mount for.
#[derive(Default)]
pub(super) struct Content {
    /// Only say what is there.
    pub check: bool,
    pub files: AtomicU64,
    /// Of the files, holes included: what progress is measured by.
    pub bytes: AtomicU64,
    pub content: AtomicU64,
    pub before: AtomicU64,
    pub cached: AtomicU64,
    pub failures: Failures,
    pub(super) gave_up: AtomicBool,
}

impl Content {
    pub fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }

    fn bring(&self, path: &Path, from: u64, to: u64) -> io::Result<()> {
        let file = open(path)?;
        let mut place = from;
        while place < to {
            let ask = WarmAsk {
                offset: place,
                len: (to - place).min(WARM_STEP),
                check: self.check,
            };
            let warmed = ask_patiently(ask, &file)?;
            add(&self.content, warmed.content);
            add(&self.before, warmed.before);
            add(&self.cached, warmed.cached);
            // A mount that is not of our version might bring less than it was asked for, but never nothing.
            let next = warmed.end.clamp(place + 1, to);
            add(&self.bytes, next - place);
            place = next;
        }
        Ok(())
    }
}

impl Visitor for Content {
    fn directory(&self, _: &Path) {}

    fn file(&self, path: &Path, from: u64, to: u64) {
        match self.bring(path, from, to) {
            Ok(()) => {}
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.failed(path, &error),
        }
        add(&self.files, u64::from(from == 0));
    }

    fn other(&self) {}

    fn failed(&self, path: &Path, error: &io::Error) {
        self.failures.add(path, error);
        // A file that its owner keeps from us says nothing about the others.
        let hopeless = error.kind() != io::ErrorKind::PermissionDenied;
        if hopeless && self.failures.count.load(Ordering::Relaxed) >= FAILURES_MAX {
            self.gave_up.store(true, Ordering::Relaxed);
        }
    }

    fn is_enough(&self) -> bool {
        self.gave_up()
    }
}

/// Opens without following a link that took the file's place, and without waiting for a pipe's other end.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn ask_patiently(ask: WarmAsk, file: &File) -> io::Result<Warmed> {
    loop {
        match ask.send(file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(BUSY_PAUSE),
            answer => return answer,
        }
    }
}

/// What the mount says of its cache.
pub(super) fn cache_of(path: &Path) -> io::Result<Warmed> {
    let nothing = WarmAsk {
        offset: 0,
        len: 0,
        check: true,
    };
    ask_patiently(nothing, &File::open(path)?)
}
