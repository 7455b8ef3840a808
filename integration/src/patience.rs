//! Waiting with a bound. Called everywhere; nothing in a test waits for ever.
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Waits until `check` gives a value; panics with `what` when it does not in time.
pub fn until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(
            begun.elapsed() < limit,
            "waited {} s in vain: {what}",
            limit.as_secs()
        );
        std::thread::sleep(POLL);
    }
}

/// Waits until `check` holds.
pub fn until_true(what: &str, limit: Duration, mut check: impl FnMut() -> bool) {
    until(what, limit, || check().then_some(()));
}

/// Runs `work` in a thread of its own and gives up on it after `limit`: a call that hangs must fail the test.
pub fn within<T: Send + 'static>(
    what: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("within".into());
    thread.spawn(move || send.send(work()).ok()).unwrap();
    receive
        .recv_timeout(limit)
        .unwrap_or_else(|e| panic!("{what}: no result within {} s ({e})", limit.as_secs()))
}
