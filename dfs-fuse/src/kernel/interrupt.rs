//! Ends waits whose caller has gone. The session registers each request here before it is dispatched; blocked work
//! waits on its `Interrupt` or hangs a callback on it. Knows nothing of operations but which rule holds for them.
//!
//! The kernel sends FUSE_INTERRUPT once per request, for any signal, and none for its background requests (read-ahead,
//! direct I/O). Waiting for a lock ends with any of them; other operations may not (a timer signal must not turn a read
//! into an error), they end only when the caller is dying. So a watching thread looks at the callers of all requests
//! that take longer than a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Requests are spread over this many locks by their low bits.
const SHARDS: usize = 16;
/// How often the callers of requests in progress are looked at; twice this is the delay of a kill.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// The same while nothing is in progress, so that an idle mount costs next to nothing.
const WATCH_IDLE: Duration = Duration::from_millis(400);

/// Which signals end an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndsBy {
    AnySignal,
    /// A fatal signal; the caller's end, too, if it was interrupted before.
    Death,
    /// The caller's end in any case: nobody else waits for it (buffered reads, whose read-ahead outlives the caller).
    Exit,
}

type Callback = Box<dyn FnOnce() + Send>;

struct State {
    fired: bool,
    callbacks: Vec<Callback>,
}

struct Token {
    pid: u32,
    ends_by: EndsBy,
    fired: AtomicBool,
    finished: AtomicBool,
    interrupted: AtomicBool,
    /// In progress when the watching thread last looked.
    seen: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

/// Tells blocked work that its caller no longer waits. Cheap to clone and to ask.
#[derive(Clone)]
pub struct Interrupt(Arc<Token>);

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Interrupt(pid {}, {:?}, fired {})",
            self.0.pid,
            self.0.ends_by,
            self.fired()
        )
    }
}

impl Interrupt {
    pub fn new(pid: u32, ends_by: EndsBy) -> Self {
        Interrupt(Arc::new(Token {
            pid,
            ends_by,
            fired: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            seen: AtomicBool::new(false),
            state: Mutex::new(State {
                fired: false,
                callbacks: Vec::new(),
            }),
            changed: Condvar::new(),
        }))
    }

    /// The operation should end with EINTR.
    pub fn fired(&self) -> bool {
        self.0.fired.load(Ordering::Acquire)
    }

    /// Waits until fired, at most `limit`; says whether it fired.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.0.state.lock();
        while !state.fired {
            if self.0.changed.wait_until(&mut state, deadline).timed_out() {
                return state.fired;
            }
        }
        true
    }

    /// Calls back when fired, at once if it has; on a thread that reads requests, so it must be short.
    /// Never called once the request is answered.
    pub fn on_fire(&self, callback: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state.lock();
        if !state.fired {
            if !self.0.finished.load(Ordering::Acquire) {
                state.callbacks.push(Box::new(callback));
            }
            return;
        }
        drop(state);
        callback();
    }

    /// Ends the operation now. For the registry, and for tests.
    pub fn fire(&self) {
        let mut state = self.0.state.lock();
        state.fired = true;
        self.0.fired.store(true, Ordering::Release);
        let callbacks = std::mem::take(&mut state.callbacks);
        self.0.changed.notify_all();
        drop(state);
        callbacks.into_iter().for_each(|callback| callback());
    }

    /// Whether what is known of the caller ends the operation.
    fn fire_if_dead(&self) {
        let dead = match caller(self.0.pid) {
            Caller::Alive => false,
            Caller::Killed => true,
            // A killed reader waits in its exit for the answer to close(2), for which its own read-ahead must yield.
            Caller::Exiting => self.0.ends_by == EndsBy::Exit,
            Caller::Gone => self.0.ends_by == EndsBy::Exit || self.0.interrupted.load(Ordering::Relaxed),
        };
        if dead {
            self.fire();
        }
    }

    fn finish(&self) {
        let callbacks = {
            let mut state = self.0.state.lock();
            self.0.finished.store(true, Ordering::Release);
            std::mem::take(&mut state.callbacks)
        };
        drop(callbacks);
    }
}

/// What became of a FUSE_INTERRUPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Taken,
    /// The request is not here yet, or no longer: the kernel repeats the first and forgets the second when told EAGAIN.
    Unknown,
}

/// All requests that are not answered yet. One per mount.
pub struct Interrupts {
    running: [Mutex<HashMap<u64, Interrupt>>; SHARDS],
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Default for Interrupts {
    fn default() -> Self {
        Self {
            running: std::array::from_fn(|_| Mutex::default()),
            ended: Mutex::new(false),
            wake: Condvar::new(),
        }
    }
}

impl Interrupts {
    fn shard(&self, unique: u64) -> &Mutex<HashMap<u64, Interrupt>> {
        // The kernel counts in steps of two, the lowest bit marks interrupts.
        &self.running[(unique >> 1) as usize % SHARDS]
    }

    /// Makes the request known; one that was kept for later is known already.
    pub fn register(&self, unique: u64, pid: u32, ends_by: EndsBy) -> Interrupt {
        let mut running = self.shard(unique).lock();
        running
            .entry(unique)
            .or_insert_with(|| Interrupt::new(pid, ends_by))
            .clone()
    }

    /// The request is being answered.
    pub fn finish(&self, unique: u64) {
        let found = self.shard(unique).lock().remove(&unique);
        if let Some(interrupt) = found {
            interrupt.finish();
        }
    }

    /// Requests without an answer so far.
    pub fn running(&self) -> usize {
        self.running.iter().map(|shard| shard.lock().len()).sum()
    }

    /// FUSE_INTERRUPT for request `unique`.
    pub fn arrive(&self, unique: u64) -> Arrival {
        let Some(interrupt) = self.shard(unique).lock().get(&unique).cloned() else {
            return Arrival::Unknown;
        };
        interrupt.0.interrupted.store(true, Ordering::Relaxed);
        if interrupt.0.ends_by == EndsBy::AnySignal {
            interrupt.fire();
        } else {
            interrupt.fire_if_dead();
        }
        Arrival::Taken
    }

    /// Body of the watching thread.
    pub(super) fn watch(&self) {
        let mut pause = WATCH_IDLE;
        let mut ended = self.ended.lock();
        while !*ended {
            self.wake.wait_for(&mut ended, pause);
            let busy = parking_lot::MutexGuard::unlocked(&mut ended, || self.look());
            pause = if busy { WATCH_EVERY } else { WATCH_IDLE };
        }
    }

    /// Looks at the callers of what was in progress the last time too; says whether anything is.
    fn look(&self) -> bool {
        let mut busy = false;
        for shard in &self.running {
            let mut lasting = Vec::new();
            for interrupt in shard
                .lock()
                .values()
                .filter(|i| i.0.ends_by != EndsBy::AnySignal && !i.fired())
            {
                busy = true;
                if interrupt.0.seen.swap(true, Ordering::Relaxed) {
                    lasting.push(interrupt.clone());
                }
            }
            lasting.iter().for_each(Interrupt::fire_if_dead);
        }
        busy
    }

    pub(super) fn end(&self) {
        *self.ended.lock() = true;
        self.wake.notify_all();
    }
}

/// What became of a thread that asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Alive,
    Killed,
    Exiting,
    Gone,
}

/// A caller in a pid namespace that this mount cannot see (0) counts as alive; its waits are bounded anyway.
fn caller(tid: u32) -> Caller {
    if tid == 0 {
        return Caller::Alive;
    }
    match std::fs::read_to_string(format!("/proc/{tid}/status")) {
        Ok(status) if kill_pending(&status) => Caller::Killed,
        Ok(_) if exiting(tid) => Caller::Exiting,
        Ok(_) => Caller::Alive,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Caller::Gone,
        Err(_) => Caller::Alive,
    }
}

/// Whether SIGKILL is pending by the text of /proc/<tid>/status. The kernel turns every fatal signal into SIGKILL
/// for each thread of the process.
fn kill_pending(status: &str) -> bool {
    const SIGKILL_BIT: u64 = 1 << (libc::SIGKILL - 1);
    status
        .lines()
        .filter_map(|line| {
            line.strip_prefix("SigPnd:")
                .or_else(|| line.strip_prefix("ShdPnd:"))
        })
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .any(|mask| mask & SIGKILL_BIT != 0)
}

fn exiting(tid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{tid}/stat")).is_ok_and(|stat| exiting_flag(&stat))
}

/// PF_EXITING in the flags of /proc/<tid>/stat: the seventh field behind the name, which may itself contain anything.
fn exiting_flag(stat: &str) -> bool {
    const PF_EXITING: u64 = 4;
    let flags = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(6));
    flags
        .and_then(|flags| flags.parse::<u64>().ok())
        .is_some_and(|flags| flags & PF_EXITING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn any_signal_ends_a_lock_wait_and_calls_back_once() {
        let all = Interrupts::default();
        let lock = all.register(10, std::process::id(), EndsBy::AnySignal);
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        lock.on_fire(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert!(!lock.wait(Duration::from_millis(1)));
        assert_eq!(all.arrive(10), Arrival::Taken);
        assert_eq!(all.arrive(10), Arrival::Taken);
        assert!(lock.wait(Duration::ZERO) && lock.fired());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        let late = calls.clone();
        lock.on_fire(move || {
            late.fetch_add(10, Ordering::Relaxed);
        });
        assert_eq!(calls.load(Ordering::Relaxed), 11);
    }

    /// Larger than the largest pid_max.
    const NOBODY: u32 = 1 << 23;

    #[test]
    fn a_living_caller_of_another_operation_is_left_alone() {
        let all = Interrupts::default();
        let read = all.register(12, std::process::id(), EndsBy::Death);
        assert_eq!(all.arrive(12), Arrival::Taken);
        assert!(all.look() && all.look());
        assert!(!read.fired());
    }

    #[test]
    fn a_vanished_caller_ends_what_only_it_waits_for() {
        let all = Interrupts::default();
        let (read, write) = (
            all.register(2, NOBODY, EndsBy::Exit),
            all.register(4, NOBODY, EndsBy::Death),
        );
        let lock = all.register(6, NOBODY, EndsBy::AnySignal);
        assert!(all.look());
        assert!(!read.fired(), "a request is not looked at in its first moment");
        all.look();
        assert!(read.fired() && !write.fired() && !lock.fired());
        all.arrive(4);
        assert!(write.fired());
        assert!(!all.look());
    }

    #[test]
    fn unregistered_and_finished_requests_are_unknown() {
        let all = Interrupts::default();
        assert_eq!(all.arrive(2), Arrival::Unknown);
        let kept = all.register(2, 0, EndsBy::AnySignal);
        assert_eq!(all.running(), 1);
        all.finish(2);
        assert_eq!(all.arrive(2), Arrival::Unknown);
        assert!(!kept.fired());
        assert_eq!(all.running(), 0);
    }

    #[test]
    fn a_vanished_caller_and_a_pending_kill_are_seen() {
        assert_eq!(caller(NOBODY), Caller::Gone);
        assert_eq!(caller(std::process::id()), Caller::Alive);
        assert_eq!(caller(0), Caller::Alive);
        assert!(exiting_flag("7 (a) b) D 1 2 3 0 -1 4195076 0 0"));
        assert!(!exiting_flag("7 (a) S 1 2 3 0 -1 4194304 0 0"));
        assert!(!exiting_flag("nonsense"));
        assert!(kill_pending(
            "Name:\tx\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n"
        ));
        assert!(kill_pending(
            "SigPnd:\t0000000000000000\nShdPnd:\t0000000000004100\n"
        ));
        assert!(!kill_pending(
            "SigPnd:\t0000000000002000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000100\n"
        ));
    }
}
