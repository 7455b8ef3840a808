//! Has the kernel drop a file's pages, for recalls: around those that it holds locked for calls which wait here, and which
//! may wait for this very recall. Pages that are being filled, or partly written, are shown to nobody before their call is
//! answered; pages that a mapping made dirty stay with the stores in them until the kernel could write them back.

use super::recall::{LOOK, Recaller};
use super::{Inode, PageWait};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
/// If the kernel is seen waiting for a page so many times while calls wait here, it is locked for one of them.
const ASLEEP_LOOKS: usize = 4;
/// With calls that wait, the kernel may have pages locked that we are not told of: it holds writing back while a file's size
/// is being changed, and a writer's page while an earlier one of the same write is written back. After so long they are
/// searched for, and left out.
const PAGES_BOUND: Duration = Duration::from_millis(500);
/// So many parts are tried in that search; each that is stuck keeps a thread in the kernel until its page is unlocked.
const SEARCH_MAX: usize = 256;
const STUCK_MAX: usize = 64;
/// Behind every file.
const FAR: u64 = 1 << 62;

/// Offsets and lengths; a length of 0 goes to the end.
type Parts = Vec<(u64, u64)>;

impl Recaller {
    /// Drops all pages but those that the kernel holds for calls which wait for this very recall, or for one that
    /// waits for us. Such a call may come while the kernel is at it: then it begins anew around that one, too.
    pub(super) fn empty_pages(&self, inode: &Arc<Inode>, until: Instant) {
        let mut around = inode.state.lock().page_waits.clone();
        let mut bound = until;
        loop {
            let (parts, unsure) = apart(&mut around);
            let Some(ended) = self.begin(inode, Vec::new(), parts.clone()) else {
                return;
            };
            loop {
                if ended.within(LOOK) {
                    return self.empty_unsure(inode, unsure, until);
                }
                if Instant::now() >= bound {
                    return self.empty_unlocked(inode, [parts, unsure].concat(), until);
                }
                let state = inode.state.lock();
                if state.busy > 0 || !state.page_waits.is_empty() {
                    bound = bound.min(Instant::now() + PAGES_BOUND);
                }
                if state.page_waits.iter().any(|wait| !around.contains(wait)) {
                    around.extend(state.page_waits.iter());
                    break;
                }
            }
        }
    }

    /// Pages that were there before go at once; those that are locked keep a thread each in the kernel.
    fn empty_unsure(&self, inode: &Arc<Inode>, unsure: Parts, until: Instant) {
        let begun = unsure
            .into_iter()
            .map(|part| self.begin(inode, Vec::new(), vec![part]));
        let begun: Vec<Ended> = begun.flatten().collect();
        for ended in begun {
            ended.or_stuck(until);
        }
    }

    /// Drops what is not locked, by halving what is stuck. A page that stays is dropped by the thread that waits for it, as
    /// soon as it is unlocked.
    fn empty_unlocked(&self, inode: &Arc<Inode>, parts: Parts, until: Instant) {
        let size = inode.state.lock().attr().map_or(FAR, |attr| attr.size);
        let mut search = Search::new(parts, size);
        let (mut tried, mut stuck) = (0, 0);
        while let Some(part) = search.next() {
            let Some(ended) = self.begin(inode, Vec::new(), vec![(part.0, part.1 - part.0)]) else {
                return;
            };
            tried += 1;
            if !ended.or_stuck(until) {
                stuck += 1;
                search.stuck(part);
            }
            if tried >= SEARCH_MAX || stuck >= STUCK_MAX || Instant::now() >= until {
                break;
            }
        }
        tracing::debug!(
            ino = inode.ino.0,
            tried,
            stuck,
            "pages that the kernel has locked were left to a recall's threads"
        );
    }

    /// Invalidates in a thread of its own. `None` when there is nothing to wait for.
    pub(super) fn begin(&self, inode: &Arc<Inode>, names: Vec<Vec<u8>>, parts: Parts) -> Option<Ended> {
        let kernel = self.kernel.read().clone()?;
        if inode.state.lock().lookups == 0 {
            return None;
        }
        let ino = inode.ino;
        let (done, told) = channel();
        let thread = Arc::new(Mutex::new(None));
        let me = thread.clone();
        let deed = move || {
            *me.lock() = std::fs::read_link("/proc/thread-self").ok();
            for name in &names {
                kernel.invalidate_entry(ino, name);
            }
            for (offset, len) in parts {
                kernel.invalidate_inode(ino, offset, len);
            }
            let _ = done.send(());
        };
        let builder = std::thread::Builder::new().name("dfs-invalidate".to_string());
        if let Err(error) = builder.spawn(deed) {
            tracing::error!(%error, "no thread to invalidate the kernel's caches");
            return None;
        }
        Some(Ended { told, thread })
    }
}

/// An invalidation under way.
pub(super) struct Ended {
    told: Receiver<()>,
    /// Its thread, below /proc.
    thread: Arc<Mutex<Option<PathBuf>>>,
}

impl Ended {
    /// Whether it ended in time.
    pub fn within(&self, wait: Duration) -> bool {
        !matches!(self.told.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
    }

    /// Waits until it has ended, or waits for a lock itself: whether it ended.
    fn or_stuck(&self, until: Instant) -> bool {
        let mut asleep = 0;
        while asleep < ASLEEP_LOOKS && Instant::now() < until {
            if self.within(LOOK) {
                return true;
            }
            asleep = if self.is_asleep() { asleep + 1 } else { 0 };
        }
        false
    }

    /// Whether its thread waits in the kernel, and not for its turn on a processor.
    fn is_asleep(&self) -> bool {
        let thread = self.thread.lock().clone();
        let stat = thread
            .and_then(|thread| std::fs::read_to_string(Path::new("/proc").join(thread).join("stat")).ok());
        stat.is_some_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" D")))
    }
}

/// Runs of pages, from and to, that are still to be tried; what is stuck is halved down to single pages.
struct Search {
    open: Vec<(u64, u64)>,
    /// What lies behind it is not halved.
    end: u64,
}

impl Search {
    fn new(parts: Parts, size: u64) -> Search {
        let end = size.min(FAR).next_multiple_of(PAGE);
        let mut open = Vec::new();
        for (from, len) in parts {
            let to = if len == 0 { FAR } else { from + len };
            open.extend([(from.max(end), to), (from, to.min(end))]);
        }
        open.retain(|(from, to)| from < to);
        Search { open, end }
    }

    fn next(&mut self) -> Option<(u64, u64)> {
        self.open.pop()
    }

    fn stuck(&mut self, (from, to): (u64, u64)) {
        if from < self.end && to - from > PAGE {
            let middle = from + ((to - from) / 2).next_multiple_of(PAGE);
            self.open.extend([(middle, to), (from, middle)]);
            self.open.retain(|(from, to)| from < to);
        }
    }
}

/// The parts of a file between pages that calls wait with, and those of the pages that may not be locked.
fn apart(waits: &mut Vec<PageWait>) -> (Parts, Parts) {
    waits.sort_unstable();
    waits.dedup();
    let (mut parts, mut from) = (Vec::new(), 0);
    for wait in waits.iter() {
        if wait.start > from {
            parts.push((from, wait.start - from));
        }
        from = from.max(wait.end);
    }
    parts.push((from, 0));
    let unsure = waits.iter().filter(|wait| !wait.surely_held);
    let unsure = unsure.map(|wait| (wait.start, wait.end - wait.start));
    (parts, unsure.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inode::recall::WHOLE;

    #[test]
    fn pages_that_calls_wait_with_are_left_out() {
        assert_eq!(apart(&mut Vec::new()), (vec![WHOLE], Vec::new()));
        let wait = |start: u64, end: u64, surely_held| PageWait {
            start: start * 4096,
            end: end * 4096,
            surely_held,
        };
        let mut waits = vec![
            wait(5, 6, false),
            wait(0, 2, true),
            wait(1, 3, true),
            wait(5, 6, false),
        ];
        let (parts, unsure) = apart(&mut waits);
        assert_eq!(parts, [(3 * 4096, 2 * 4096), (6 * 4096, 0)]);
        assert_eq!(unsure, [(5 * 4096, 4096)]);
    }

    #[test]
    fn a_search_leaves_only_the_locked_pages() {
        for (pages, locked) in [
            (1, vec![0]),
            (256, vec![0, 100, 255]),
            (1 << 28, vec![77_777_777]),
        ] {
            let mut search = Search::new(vec![WHOLE], pages * PAGE - 1);
            let mut dropped = Vec::new();
            let mut tried = 0;
            while let Some((from, to)) = search.next() {
                tried += 1;
                let holds = |page: &u64| (from..to).contains(&(page * PAGE));
                if locked.iter().any(holds) {
                    search.stuck((from, to));
                } else {
                    dropped.push((from, to));
                }
            }
            assert!(tried <= SEARCH_MAX / 2, "{tried} tries");
            dropped.sort_unstable();
            let left: Vec<u64> = std::iter::once(0)
                .chain(dropped.iter().map(|(_, to)| *to))
                .zip(dropped.iter().map(|(from, _)| *from))
                .filter(|(before, from)| before < from)
                .flat_map(|(before, from)| (before / PAGE)..(from / PAGE))
                .collect();
            assert_eq!(left, locked);
            assert_eq!(dropped.last().map(|(_, to)| *to), Some(FAR));
        }
    }
}
