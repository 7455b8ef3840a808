//! Counts the kernel's calls: how many, how long, which errors; and a line in the log for each slow one. Called by the
//! threads that serve the kernel, on the way of every cached `stat`: two clock readings and two additions.

use std::time::Duration;

use dfs_client::observe::{Counter, Histogram, Metrics};
use dfs_client::report;
use dfs_core::error::FsError;

use crate::kernel::request::Operation;

/// Errors that say something about the servers, not about the caller.
const ERRORS: [(&str, FsError); 6] = [
    ("EIO", FsError::Io),
    ("ETIMEDOUT", FsError::TimedOut),
    ("ENOSPC", FsError::NoSpace),
    ("EDQUOT", FsError::QuotaExceeded),
    ("ESTALE", FsError::Stale),
    ("EINTR", FsError::Interrupted),
];

pub struct Calls {
    times: Vec<Histogram>,
    errors: Vec<Counter>,
}

impl Calls {
    pub fn new(metrics: &Metrics) -> Calls {
        Calls {
            times: metrics.times_by(
                "dfs_mount_call_seconds",
                "Time of the kernel's calls, by operation; what the kernel answers by itself is not seen",
                "op",
                &Operation::NAMES,
            ),
            errors: metrics.counters(
                "dfs_mount_call_errors_total",
                "Calls that failed for a reason that lies in the servers or the space",
                "error",
                &ERRORS.map(|(name, _)| name),
            ),
        }
    }

    pub fn took(&self, operation: usize, time: Duration) {
        if let Some(histogram) = self.times.get(operation) {
            histogram.took(time);
        }
    }

    /// The times as a page of the report.
    pub fn page(&self) -> serde_json::Value {
        report::times(Operation::NAMES.into_iter().zip(&self.times))
    }

    pub fn failed(&self, error: FsError) {
        if let Some(at) = ERRORS.iter().position(|(_, own)| *own == error) {
            self.errors[at].inc();
        }
    }
}
