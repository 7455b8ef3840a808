//! The coordinator's clocks as values. The loops around the executor read them once for each step and hand them
//! in; nothing below reads a clock itself, so that a simulation can say what time it is.

use dfs_core::types::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks. Waits, terms and silence are measured on the monotonic one; the wall clock only
/// goes into rows (times of files and records) and is believed by nobody.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub monotonic: Instant,
    pub wall: Timestamp,
}

impl Now {
    pub fn read() -> Now {
        Now {
            monotonic: Instant::now(),
            wall: wall_clock(),
        }
    }
}

pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        secs: since.as_secs() as i64,
        nanos: since.subsec_nanos(),
    }
}
