//! How long a reign is known to last: moved forward by the authority, looked at by the executor before anything
//! leaves. Counted by the monotonic clock from the sending of what renewed it.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

struct Shared {
    /// `None`: without a limit.
    until: Mutex<Option<Instant>>,
    over: watch::Sender<bool>,
}

/// The same reign in several hands.
#[derive(Clone)]
pub struct Standing(Arc<Shared>);

impl Standing {
    fn new(until: Option<Instant>) -> Standing {
        Standing(Arc::new(Shared {
            until: Mutex::new(until),
            over: watch::Sender::new(false),
        }))
    }

    /// A reign that nobody can take.
    pub fn unlimited() -> Standing {
        Standing::new(None)
    }

    /// A reign that is over at `until` unless it is extended.
    pub fn until(until: Instant) -> Standing {
        Standing::new(Some(until))
    }

    /// The authority has renewed the reign; never makes it shorter.
    pub fn extend(&self, until: Instant) {
        let mut own = self.0.until.lock();
        *own = own.map(|own| own.max(until));
    }

    /// The reign is over: lost, or given up.
    pub fn end(&self) {
        self.0.over.send_replace(true);
    }

    /// Whether nobody else can lead at `now`. What is to leave waits while it is false: the reign may be renewed.
    pub fn holds(&self, now: Instant) -> bool {
        !*self.0.over.borrow() && self.0.until.lock().is_none_or(|until| now < until)
    }

    /// Whether the reign has ended for good.
    pub fn is_over(&self) -> bool {
        *self.0.over.borrow()
    }

    /// Returns when the reign has ended for good.
    pub async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.0.over.subscribe().wait_for(|over| *over).await;
    }
}
