//! How a kernel thread waits for an answer: a one-time slot that it parks on, bounded by a deadline and by its
//! caller's cancellation. The session and the data path fill slots; `vfs` waits on them.

use dfs_core::error::{FsError, FsResult};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    next: Mutex<u64>,
    hooks: Mutex<Vec<(u64, Hook)>>,
}

/// Ends the waiting of one request from another thread (FUSE_INTERRUPT). Clones are the same token.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Shared>);

impl Cancel {
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Whoever waits under this token returns `Interrupted`.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        let hooks = std::mem::take(&mut *self.0.hooks.lock());
        for (_, hook) in hooks {
            hook();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Runs `hook` at cancellation (at once when that has been) unless the guard is dropped before.
    pub fn on_cancel(&self, hook: Hook) -> CancelGuard {
        let id = {
            let mut next = self.0.next.lock();
            *next += 1;
            *next
        };
        self.0.hooks.lock().push((id, hook));
        if self.is_cancelled() {
            self.cancel();
        }
        CancelGuard {
            shared: self.0.clone(),
            id,
        }
    }
}

/// Takes the hook back when dropped.
pub struct CancelGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.shared.hooks.lock().retain(|(id, _)| *id != self.id);
    }
}

/// Until when and under which token a request waits.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    pub deadline: Instant,
    pub cancel: Option<&'a Cancel>,
}

impl<'a> Patience<'a> {
    pub fn new(timeout: Duration, cancel: Option<&'a Cancel>) -> Patience<'a> {
        Patience {
            deadline: Instant::now() + timeout,
            cancel,
        }
    }

    /// What is left, or why there is nothing left.
    pub fn left(&self) -> FsResult<Duration> {
        if self.cancel.is_some_and(Cancel::is_cancelled) {
            return Err(FsError::Interrupted);
        }
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(FsError::TimedOut),
        }
    }
}

struct Cell<T> {
    value: Option<T>,
    waiting: Option<std::thread::Thread>,
}

/// A value that one thread waits for and another brings.
pub struct Slot<T>(Arc<Mutex<Cell<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Slot(self.0.clone())
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot(Arc::new(Mutex::new(Cell {
            value: None,
            waiting: None,
        })))
    }
}

impl<T: Send + 'static> Slot<T> {
    /// Brings the value; the first one counts.
    pub fn fill(&self, value: T) {
        let mut cell = self.0.lock();
        if cell.value.is_none() {
            cell.value = Some(value);
        }
        if let Some(thread) = cell.waiting.take() {
            thread.unpark();
        }
    }

    /// Waits in the calling thread.
    pub fn wait(&self, patience: Patience<'_>) -> FsResult<T> {
        let me = std::thread::current();
        let _guard = patience.cancel.map(|cancel| {
            let me = me.clone();
            cancel.on_cancel(Box::new(move || me.unpark()))
        });
        loop {
            {
                let mut cell = self.0.lock();
                if let Some(value) = cell.value.take() {
                    return Ok(value);
                }
                cell.waiting = Some(me.clone());
            }
            std::thread::park_timeout(patience.left()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(wait: Duration, deed: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new()
            .spawn(move || {
                std::thread::sleep(wait);
                deed();
            })
            .unwrap();
    }

    #[test]
    fn a_value_ends_the_wait() {
        let slot = Slot::default();
        let filler = slot.clone();
        later(Duration::from_millis(20), move || filler.fill(7));
        assert_eq!(slot.wait(Patience::new(Duration::from_secs(10), None)), Ok(7));
    }

    #[test]
    fn a_cancelled_caller_does_not_wait_for_the_deadline() {
        let slot: Slot<()> = Slot::default();
        let cancel = Cancel::new();
        let token = cancel.clone();
        later(Duration::from_millis(20), move || token.cancel());
        let begun = Instant::now();
        let result = slot.wait(Patience::new(Duration::from_secs(10), Some(&cancel)));
        assert_eq!(result, Err(FsError::Interrupted));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_deadline_ends_the_wait() {
        let slot: Slot<()> = Slot::default();
        assert_eq!(
            slot.wait(Patience::new(Duration::from_millis(10), None)),
            Err(FsError::TimedOut)
        );
    }
}
