//! Printing: progress on the terminal of standard error while a warm-up goes on, and what came of it at its end.

use super::super::size;
use super::Settings;
use super::tally::{Content, Names};
use crate::ioctl::Warmed;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two lines of progress.
const PAUSE: Duration = Duration::from_millis(100);

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// One line on a terminal, written over again and again; gone when dropped.
pub(super) struct Progress(bool);

impl Progress {
    pub fn new() -> Progress {
        Progress(io::stderr().is_terminal())
    }

    fn line(&self, text: impl FnOnce() -> String) {
        if self.0 {
            // Nobody reads it: then nobody misses it.
            let _ = write!(io::stderr(), "\r\x1b[K{}", text());
            let _ = io::stderr().flush();
        }
        std::thread::sleep(PAUSE);
    }

    pub fn names(&self, names: &Names) {
        self.line(|| {
            format!(
                "names: {} directories, {} files, {}",
                count(&names.directories),
                count(&names.files),
                size(count(&names.bytes))
            )
        });
    }

    pub fn content(&self, names: &Names, content: &Content, began: Instant) {
        self.line(|| {
            let (done, all) = (count(&content.bytes), count(&names.bytes));
            let seconds = began.elapsed().as_secs_f64();
            format!(
                "content: {} of {} files, {} of {}, {}/s{}",
                count(&content.files),
                count(&names.files),
                size(done),
                size(all),
                size((done as f64 / seconds.max(0.001)) as u64),
                left(seconds, done, all)
            )
        });
    }

    pub fn looking(&self) {
        self.line(|| "looking at what is left in the cache".to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0 {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// The time that is left at the speed of until now, once there is one.
fn left(seconds: f64, done: u64, all: u64) -> String {
    if done == 0 || seconds < 1.0 {
        return String::new();
    }
    let left = (seconds / done as f64 * all.saturating_sub(done) as f64) as u64;
    match left / 60 {
        0 => format!(", {left} s left"),
        minutes if minutes < 60 => format!(", {minutes}:{:02} left", left % 60),
        minutes => format!(", {} h {} min left", minutes / 60, minutes % 60),
    }
}

/// What came of it.
pub(super) struct Outcome<'a> {
    pub names: &'a Names,
    pub content: &'a Content,
    pub cache: Warmed,
    pub seconds: f64,
}

impl Outcome<'_> {
    /// Bytes that should be in the cache and are not.
    pub fn missing(&self) -> u64 {
        count(&self.content.content).saturating_sub(count(&self.content.cached))
    }

    pub fn show(&self, settings: Settings) {
        if settings.json {
            say!("{}", self.as_json());
            return;
        }
        self.print(settings.check);
    }

    fn failures(&self) -> Vec<(String, String)> {
        let names = self.names.failures.first.lock();
        let content = self.content.failures.first.lock();
        names.iter().chain(content.iter()).cloned().collect()
    }

    fn as_json(&self) -> Value {
        let failures = self
            .failures()
            .into_iter()
            .map(|(path, error)| json!({ "path": path, "error": error }));
        let (content, before) = (count(&self.content.content), count(&self.content.before));
        json!({
            "directories": count(&self.names.directories),
            "files": count(&self.names.files),
            "others": count(&self.names.others),
            "bytes": count(&self.names.bytes),
            "content_bytes": content,
            "cached_before_bytes": before,
            "fetched_bytes": if self.content.check { 0 } else { content.saturating_sub(before) },
            "cached_bytes": count(&self.content.cached),
            "missing_bytes": self.missing(),
            "cache": if self.cache.on_disk { "disk" } else { "memory" },
            "cache_capacity_bytes": self.cache.capacity,
            "checked_only": self.content.check,
            "seconds": self.seconds,
            "failed": count(&self.names.failures.count) + count(&self.content.failures.count),
            "failures": failures.collect::<Vec<Value>>(),
            "gave_up": self.content.gave_up(),
        })
    }

    fn print(&self, check: bool) {
        let (content, before) = (count(&self.content.content), count(&self.content.before));
        let fetched = content.saturating_sub(before);
        say!(
            "{} directories, {} files with {} of content: names and attributes are cached",
            count(&self.names.directories),
            count(&self.names.files),
            size(content),
        );
        if !check {
            say!(
                "{} was cached before, {} fetched in {:.1} s ({}/s)",
                size(before),
                size(fetched),
                self.seconds,
                size((fetched as f64 / self.seconds.max(0.001)) as u64),
            );
        }
        let place = match self.cache.on_disk {
            true => "the cache on the local disk",
            false => "the mount's memory",
        };
        say!(
            "{} of {} is in {place} now, which holds {}",
            size(count(&self.content.cached)),
            size(content),
            size(self.cache.capacity),
        );
        for (path, error) in self.failures() {
            eprintln!("dfs warmup: {path}: {error}");
        }
        if self.content.gave_up() {
            eprintln!("dfs warmup: given up after too many failures; see `dfs status` and the mount's log");
        }
        let missing = self.missing();
        if missing > 0 && !check {
            let advice = match self.cache.on_disk {
                true => "mount with a larger cache-size=MiB, or warm less",
                false => {
                    "mount with cache-dir=DIRECTORY (kept over a remount) or a larger buffer-size=MiB, or warm less"
                }
            };
            eprintln!("dfs warmup: {} did not fit: {advice}", size(missing));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_speed() {
        assert_eq!(left(0.5, 10, 100), "");
        assert_eq!(left(10.0, 0, 100), "");
        assert_eq!(left(10.0, 50, 100), ", 10 s left");
        assert_eq!(left(10.0, 1, 10), ", 1:30 left");
        assert_eq!(left(100.0, 1, 100), ", 2 h 45 min left");
        assert_eq!(left(10.0, 100, 90), ", 0 s left");
    }
}
