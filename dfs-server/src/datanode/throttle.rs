//! A limit in bytes per second for work that must leave room for others. Repair traffic of this node goes through
//! it, each direction through one of its own.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// What may be taken at once after a rest.
const BURST: Duration = Duration::from_millis(250);

pub struct Throttle {
    bytes_per_second: u64,
    /// When all that was given out so far is worked off.
    until: Mutex<Instant>,
}

impl Throttle {
    /// 0 is no limit.
    pub fn new(bytes_per_second: u64) -> Throttle {
        Throttle {
            bytes_per_second,
            until: Mutex::new(Instant::now()),
        }
    }

    /// Waits until `bytes` more are within the limit.
    pub async fn take(&self, bytes: usize) {
        tokio::time::sleep(self.reserve(bytes, Instant::now())).await;
    }

    /// How long to wait before `bytes` more.
    fn reserve(&self, bytes: usize, now: Instant) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut until = self.until.lock();
        *until = (*until).max(now) + cost;
        until.saturating_duration_since(now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_than_the_limit_goes_through() {
        let throttle = Throttle::new(1000);
        let start = Instant::now();
        let mut now = start;
        for _ in 0..100 {
            now += throttle.reserve(50, now);
        }
        let took = now - start;
        assert!(
            took > Duration::from_millis(4700) && took < Duration::from_millis(5001),
            "{took:?}"
        );
        // A rest is not saved up.
        now += Duration::from_secs(60);
        assert_eq!(throttle.reserve(250, now), Duration::ZERO);
        assert_eq!(throttle.reserve(1000, now), Duration::from_secs(1));
        assert_eq!(Throttle::new(0).reserve(1 << 40, now), Duration::ZERO);
    }
}
