//! What is shown of every process, by the names that the field has for it: version, start, memory, processor time,
//! open files. Read from /proc at each look.

use super::Metrics;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn register(metrics: &Metrics) {
    let version = env!("CARGO_PKG_VERSION");
    metrics.read_gauge_of(
        "dfs_build_info",
        "The version of this process, as a label; the value is always 1",
        ("version", version),
        || 1.0,
    );
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    metrics.read_gauge(
        "process_start_time_seconds",
        "When the process started, seconds since 1970",
        move || started,
    );
    metrics.read_gauge("process_resident_memory_bytes", "Memory in use", || {
        number(&statm(), 1) * page_size()
    });
    metrics.read_gauge("process_open_fds", "Open file descriptors", || {
        std::fs::read_dir("/proc/self/fd").map_or(0.0, |fds| fds.count() as f64)
    });
    metrics.read_gauge("process_threads", "Threads", || number(&stat(), 17));
    metrics.read_counter(
        "process_cpu_seconds_total",
        "Processor time used, user and system",
        || (number(&stat(), 11) + number(&stat(), 12)) / ticks(),
    );
}

fn statm() -> String {
    std::fs::read_to_string("/proc/self/statm").unwrap_or_default()
}

/// The fields behind the program's name, which may have spaces in it.
fn stat() -> String {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    text.rsplit_once(") ")
        .map(|(_, fields)| fields.to_owned())
        .unwrap_or_default()
}

fn number(fields: &str, at: usize) -> f64 {
    let field = fields.split_whitespace().nth(at);
    field.and_then(|field| field.parse().ok()).unwrap_or(0.0)
}

fn page_size() -> f64 {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as f64 }
}

fn ticks() -> f64 {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}
