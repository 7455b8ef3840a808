//! How much written content may wait for its commit: writers beyond it wait for flushes.

use crate::wait::Patience;
use dfs_core::error::FsResult;
use parking_lot::{Condvar, Mutex};
use std::time::Duration;

/// Most bytes of all files that are not committed.
pub(crate) const DIRTY_MAX: u64 = 256 << 20;
/// Waits look at their caller's cancellation this often.
const TICK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct Budget {
    used: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    pub fn take(&self, bytes: u64) {
        *self.used.lock() += bytes;
    }

    pub fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let mut used = self.used.lock();
            *used = used.saturating_sub(bytes);
            drop(used);
            self.freed.notify_all();
        }
    }

    pub fn used(&self) -> u64 {
        *self.used.lock()
    }

    pub fn is_full(&self) -> bool {
        self.used() >= DIRTY_MAX
    }

    /// Waits until there is room.
    pub fn wait(&self, patience: Patience<'_>) -> FsResult<()> {
        let mut used = self.used.lock();
        while *used >= DIRTY_MAX {
            let left = patience.left()?;
            self.freed.wait_for(&mut used, left.min(TICK));
        }
        Ok(())
    }
}
