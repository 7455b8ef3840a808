//! Threads that are not needed now: to call one of them costs less than to start one. `pool` decides who rests.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
struct State {
    threads: usize,
    /// How many of them are called and have not noticed yet.
    called: usize,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Rest {
    state: Mutex<State>,
    called: Condvar,
}

impl Rest {
    /// Waits to be called: false when nobody did within `limit`, or when there will be no more to do.
    pub fn wait(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.state.lock();
        state.threads += 1;
        let mut late = false;
        while state.called == 0 && !state.ended && !late {
            late = self.called.wait_until(&mut state, until).timed_out();
        }
        state.threads -= 1;
        let called = state.called > 0;
        state.called -= usize::from(called);
        called
    }

    /// Whether there was a thread to call.
    pub fn call(&self) -> bool {
        let mut state = self.state.lock();
        let there = state.threads > state.called;
        if there {
            state.called += 1;
            self.called.notify_one();
        }
        there
    }

    /// Nobody rests from now on.
    pub fn end(&self) {
        self.state.lock().ended = true;
        self.called.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(60);

    fn resting(rest: &Arc<Rest>, count: usize, limit: Duration) -> Vec<std::thread::JoinHandle<bool>> {
        let begun = |_| {
            let rest = rest.clone();
            let thread = std::thread::Builder::new().name("resting".into());
            thread.spawn(move || rest.wait(limit)).unwrap()
        };
        let threads = (0..count).map(begun).collect();
        while rest.state.lock().threads < count {
            std::thread::yield_now();
        }
        threads
    }

    #[test]
    fn as_many_are_called_as_rest() {
        let rest = Arc::default();
        let threads = resting(&rest, 3, LONG);
        assert_eq!([rest.call(), rest.call(), rest.call()], [true; 3]);
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        assert!(!rest.call());
        assert_eq!(rest.state.lock().called, 0);
    }

    #[test]
    fn who_is_not_called_in_time_ends() {
        let rest = Arc::default();
        let threads = resting(&rest, 2, Duration::from_millis(5));
        assert!(!threads.into_iter().any(|thread| thread.join().unwrap()));
        assert!(!rest.call());
    }

    #[test]
    fn nobody_rests_after_the_end() {
        let rest = Arc::default();
        let threads = resting(&rest, 2, LONG);
        rest.end();
        assert!(!threads.into_iter().any(|thread| thread.join().unwrap()));
        assert!(!rest.wait(LONG));
    }
}
