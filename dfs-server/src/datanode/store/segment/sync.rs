//! One durable write for many: whoever comes while a sync runs waits for the next one, which serves all that
//! wait. Each segment has one gate.

use parking_lot::{Condvar, Mutex};
use std::io;

#[derive(Default)]
struct State {
    asked: u64,
    done: u64,
    running: bool,
    failed: Option<String>,
}

/// Collects those who wait for the same file.
#[derive(Default)]
pub struct SyncGate {
    state: Mutex<State>,
    wake: Condvar,
}

impl SyncGate {
    /// Returns when a sync that began after this call has ended. `deed` runs when this caller is the one to do
    /// it. After a failed sync nobody knows what is on the disk: every later call fails too.
    pub fn sync(&self, deed: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        state.asked += 1;
        let mine = state.asked;
        let mut deed = Some(deed);
        loop {
            if state.done >= mine {
                return Ok(());
            }
            if let Some(reason) = &state.failed {
                return Err(io::Error::other(reason.clone()));
            }
            let turn = if state.running { None } else { deed.take() };
            let Some(deed) = turn else {
                self.wake.wait(&mut state);
                continue;
            };
            state.running = true;
            let target = state.asked;
            drop(state);
            let result = deed();
            state = self.state.lock();
            state.running = false;
            match result {
                Ok(()) => state.done = target,
                Err(e) => state.failed = Some(e.to_string()),
            }
            self.wake.notify_all();
        }
    }

    /// How many wait at this moment, the running one included.
    #[cfg(test)]
    pub fn waiting(&self) -> u64 {
        let state = self.state.lock();
        state.asked - state.done
    }
}
