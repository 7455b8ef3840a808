//! What a mount counts of itself for operators, and where the time of a slow call went. Session, data path and door
//! count here; nothing is decided by it.

use crate::observe::{Counter, Gauge, Histogram, Metrics};
use crate::profile::{Profile, STAGES, Stage, Times};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Waits of one call that are remembered for its line in the log.
const WAITS_MAX: usize = 8;
/// Shorter waits explain nothing.
const WAIT_LEAST: Duration = Duration::from_millis(1);

/// The figures of a mount.
pub(crate) struct Figures {
    metrics: Metrics,
    requests: Mutex<BTreeMap<&'static str, Histogram>>,
    pub reconnects: Counter,
    pub connected: Gauge,
    pub recalls: Histogram,
    pub uploads: Histogram,
    pub upload_bytes: Counter,
    pub upload_failures: Counter,
    pub downloads: Histogram,
    pub quick_reads: Counter,
    pub page_reads: Counter,
    pub quick_uploads: Counter,
    pub lost_bytes: Counter,
    pub slow_calls: Counter,
    pub read_bytes: Counter,
    pub written_bytes: Counter,
    /// Where the time of calls goes, while somebody asks.
    pub profile: Profile,
}

impl Figures {
    pub fn new(metrics: &Metrics) -> Figures {
        Figures {
            metrics: metrics.clone(),
            requests: Mutex::default(),
            profile: Profile::default(),
            reconnects: metrics.counter(
                "dfs_mount_stream_ends_total",
                "Times that the stream to the coordinator ended and was begun again",
            ),
            connected: metrics.gauge(
                "dfs_mount_connected",
                "1 while a coordinator has welcomed the session",
            ),
            recalls: metrics.times(
                "dfs_mount_recall_seconds",
                "Time from a recall until the lease was given back, flushing included",
            ),
            uploads: metrics.times(
                "dfs_mount_upload_seconds",
                "Time of bringing a chunk onto the disks of its replica set",
            ),
            upload_bytes: metrics.counter("dfs_mount_upload_bytes_total", "Content uploaded"),
            upload_failures: metrics.counter(
                "dfs_mount_upload_failures_total",
                "Attempts at an upload that found no replica set; they are repeated",
            ),
            downloads: metrics.times(
                "dfs_mount_download_seconds",
                "Time of fetching a run of blocks from datanodes",
            ),
            quick_reads: metrics.counter(
                "dfs_mount_quick_downloads_total",
                "Downloads that the reading thread did itself on a framed connection",
            ),
            page_reads: metrics.counter(
                "dfs_mount_page_downloads_total",
                "Downloads of single pages, for small reads at random places of large files",
            ),
            quick_uploads: metrics.counter(
                "dfs_mount_quick_uploads_total",
                "Small chunks that were sent to all members at once on framed connections",
            ),
            lost_bytes: metrics.counter(
                "dfs_mount_lost_bytes_total",
                "Written content that was lost, with an error to its writers",
            ),
            read_bytes: metrics.counter(
                "dfs_mount_application_read_bytes_total",
                "Bytes that the kernel read; what its own cache had is not seen",
            ),
            written_bytes: metrics.counter(
                "dfs_mount_application_written_bytes_total",
                "Bytes that the kernel wrote",
            ),
            slow_calls: metrics.counter(
                "dfs_mount_slow_calls_total",
                "Calls of the kernel that took longer than the limit for the log",
            ),
        }
    }

    /// The times of requests as a page of the report.
    pub fn requests_page(&self) -> serde_json::Value {
        let requests = self.requests.lock();
        crate::report::times(requests.iter().map(|(op, times)| (*op, times)))
    }

    /// A request to the coordinator was answered.
    pub fn answered(&self, kind: &'static str, time: Duration) {
        let mut requests = self.requests.lock();
        let histogram = requests.entry(kind).or_insert_with(|| {
            let help = "Time from asking the coordinator until its answer was here, by operation";
            let all = self
                .metrics
                .times_by("dfs_mount_request_seconds", help, "op", &[kind]);
            all.into_iter().next().expect("one for each value")
        });
        histogram.took(time);
    }
}

/// What a call has waited for.
#[derive(Default)]
struct Waits {
    list: Vec<(&'static str, String, Duration)>,
    times: Times,
    any: bool,
}

thread_local! {
    /// Of the present call of the kernel, in this thread.
    static WAITS: RefCell<Waits> = const {
        RefCell::new(Waits { list: Vec::new(), times: Times([0; STAGES.len()]), any: false })
    };
}

/// Notes that the present call waited for something since `begun`.
pub(crate) fn waited(what: &'static str, begun: Instant, id: impl FnOnce() -> String) {
    let time = begun.elapsed();
    if time < WAIT_LEAST {
        return;
    }
    WAITS.with_borrow_mut(|waits| {
        waits.any = true;
        if waits.list.len() < WAITS_MAX {
            waits.list.push((what, id(), time));
        }
    });
}

/// Notes where the time of a wait of the present call went.
pub(crate) fn spent(times: &Times) {
    WAITS.with_borrow_mut(|waits| {
        waits.any = true;
        waits.times.add_all(times);
    });
}

/// The same of a wait in one stage.
pub(crate) fn spent_in(stage: Stage, time: Duration) {
    let mut times = Times::default();
    times.add(stage, time);
    spent(&times);
}

/// What was waited for, for people, and where time was spent; and the next call begins with nothing.
pub(crate) fn take_waits(wanted: bool) -> (String, Times) {
    WAITS.with_borrow_mut(|waits| {
        if !waits.any {
            return Default::default();
        }
        let mut text = String::new();
        for (what, id, time) in waits.list.iter().filter(|_| wanted) {
            let separator = if text.is_empty() { "" } else { ", " };
            let space = if id.is_empty() { "" } else { " " };
            // Writing into a string does not fail.
            let _ = write!(text, "{separator}{what}{space}{id} {} ms", time.as_millis());
        }
        waits.list.clear();
        waits.any = false;
        (text, std::mem::take(&mut waits.times))
    })
}
