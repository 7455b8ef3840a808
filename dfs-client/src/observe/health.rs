//! Whether the process lives and whether it is ready, as its parts say when they are asked. The HTTP endpoint asks;
//! load balancers, systemd and operators read. Each part adds its check once.

use super::notify;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Says what is wrong, or nothing. It may look at the disk but must come back.
type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Default)]
struct Checks {
    live: Mutex<Vec<(String, Check)>>,
    ready: Mutex<Vec<(String, Check)>>,
    starting: AtomicBool,
    draining: AtomicBool,
}

/// The checks of a process; clones are the same.
#[derive(Clone, Default)]
pub struct Health(Arc<Checks>);

impl Health {
    /// Whether `part` still works through its events; a process in which this fails wants to be started again.
    pub fn live(&self, part: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        add(&self.0.live, part, Arc::new(check));
    }

    /// Whether `part` can do its work now; when not, work should go elsewhere for a while.
    pub fn ready(&self, part: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        add(&self.0.ready, part, Arc::new(check));
    }

    /// The process has begun but cannot serve yet.
    pub fn starting(&self) {
        self.0.starting.store(true, Ordering::SeqCst);
    }

    /// The process serves from here on.
    pub fn started(&self) {
        if self.0.starting.swap(false, Ordering::SeqCst) {
            notify::tell(notify::READY);
        }
    }

    /// The process was asked to stop: from here on it is not ready.
    pub fn drain(&self) {
        if !self.0.draining.swap(true, Ordering::SeqCst) {
            notify::tell(notify::STOPPING);
        }
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::SeqCst)
    }

    /// What is wrong with the life of the process; empty when nothing is.
    pub fn dead(&self) -> Vec<String> {
        ask(&self.0.live)
    }

    /// Why the process is not ready; empty when it is.
    pub fn unready(&self) -> Vec<String> {
        let mut wrong = ask(&self.0.live);
        if self.is_draining() {
            wrong.push("the process was asked to stop and drains".to_owned());
        }
        if self.0.starting.load(Ordering::SeqCst) {
            wrong.push("the process is starting: it reads its disk".to_owned());
        }
        wrong.extend(ask(&self.0.ready));
        wrong
    }
}

fn add(list: &Mutex<Vec<(String, Check)>>, part: &str, check: Check) {
    let mut list = list.lock();
    list.retain(|(known, _)| known != part);
    list.push((part.to_owned(), check));
}

fn ask(list: &Mutex<Vec<(String, Check)>>) -> Vec<String> {
    let checks: Vec<(String, Check)> = list.lock().clone();
    let wrong = |(part, check): (String, Check)| check().err().map(|reason| format!("{part}: {reason}"));
    checks.into_iter().filter_map(wrong).collect()
}

/// When a loop last came round; clones are the same.
#[derive(Clone)]
pub struct Pulse {
    started: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse {
            started: Instant::now(),
            last: Arc::default(),
        }
    }
}

impl Pulse {
    pub fn beat(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        self.last.store(now, Ordering::Relaxed);
    }

    /// Makes the loop a condition of the process's life for as long as a clone of this is kept.
    pub fn watch(&self, health: &Health, part: &str, limit: Duration) {
        let (started, last) = (self.started, Arc::downgrade(&self.last));
        health.live(part, move || match last.upgrade() {
            Some(last) => Pulse { started, last }.check(limit),
            None => Ok(()),
        });
    }

    /// How long ago the loop came round.
    pub fn age(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    /// Wrong when the loop has not come round for longer than `limit`.
    pub fn check(&self, limit: Duration) -> Result<(), String> {
        let age = self.age();
        if age > limit {
            return Err(format!("stands still for {} s", age.as_secs()));
        }
        Ok(())
    }
}
