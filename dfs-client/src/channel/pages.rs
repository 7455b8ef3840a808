//! Which peers know requests for pages: one of before answers that it does not, and is asked for blocks for a while.

use super::Peer;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a peer that knows no pages is not asked for any: it may be upgraded meanwhile.
const REST: Duration = Duration::from_secs(60);

/// Milliseconds after the peer's `started` until which it is not asked for pages.
#[derive(Default)]
pub(super) struct Unknown(AtomicU64);

impl Peer {
    /// Whether it may be asked for pages.
    pub fn takes_pages(&self) -> bool {
        self.started.elapsed().as_millis() as u64 >= self.pages.0.load(Ordering::Relaxed)
    }

    /// It said that it does not know what pages are.
    pub fn knows_no_pages(&self) {
        let until = self.started.elapsed() + REST;
        self.pages.0.store(until.as_millis() as u64, Ordering::Relaxed);
    }
}
