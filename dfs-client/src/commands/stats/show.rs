//! Printing of `dfs stats`: a table that is drawn again in place on a terminal, a line for each interval elsewhere, or JSON.

use super::super::size;
use super::picture::{Picture, Row};
use serde_json::{Value, json};
use std::time::Duration;

/// Clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// Rows of a table of operations.
const ROWS: usize = 16;
/// The heads of columns come again after so many lines.
const LINES: u64 = 20;

pub(super) fn as_json(mountpoint: &str, picture: &Picture) -> Value {
    let rows = |rows: &[Row]| -> Vec<Value> {
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        let one = |row: &Row| {
            json!({
                "op": row.op,
                "count": row.count,
                "per_second": row.per_second,
                "mean_us": micros(row.mean),
                "p50_us": micros(row.half),
                "p99_us": micros(row.most),
                "total_us": micros(row.total),
            })
        };
        rows.iter().map(one).collect()
    };
    json!({
        "mountpoint": mountpoint,
        "seconds": picture.seconds,
        "calls_per_second": picture.all_calls(),
        "calls": rows(&picture.calls),
        "coordinator_calls_per_second": picture.all_requests(),
        "coordinator_calls": rows(&picture.requests),
        "read_bytes_per_second": picture.rate("read_bytes"),
        "written_bytes_per_second": picture.rate("written_bytes"),
        "downloaded_bytes_per_second": picture.rate("downloaded_bytes"),
        "uploaded_bytes_per_second": picture.rate("uploaded_bytes"),
        "memory_hit_bytes_per_second": picture.rate("memory_hit_bytes"),
        "disk_hit_bytes_per_second": picture.rate("disk_hit_bytes"),
        "cache_hit_part": picture.hit_part(),
        "recalls_per_second": picture.rate("recalls"),
        "slow_calls": picture.rose("slow_calls"),
        "now": picture.now,
    })
}

fn short(time: Duration) -> String {
    match time.as_nanos() as f64 / 1e3 {
        micros if micros < 10.0 => format!("{micros:.1} us"),
        micros if micros < 1000.0 => format!("{micros:.0} us"),
        micros if micros < 1e6 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{:.1} s", micros / 1e6),
    }
}

fn hits(picture: &Picture) -> String {
    match picture.hit_part() {
        Some(part) => format!("{:.0} %", part * 100.0),
        None => "-".to_owned(),
    }
}

fn bytes(picture: &Picture, name: &str) -> String {
    size(picture.rate(name) as u64)
}

/// One picture, drawn over the one before.
pub(super) fn table(mountpoint: &str, picture: &Picture) {
    let connected = match picture.now["connected"].as_bool() {
        Some(false) => "   NO COORDINATOR",
        _ => "",
    };
    say!(
        "{CLEAR}{mountpoint}: {:.0} calls/s of the kernel, {:.0} calls/s to the coordinator{connected}",
        picture.all_calls(),
        picture.all_requests(),
    );
    say!(
        "applications   read {}/s, written {}/s; content in caches {}",
        bytes(picture, "read_bytes"),
        bytes(picture, "written_bytes"),
        hits(picture),
    );
    say!(
        "datanodes      down {}/s, up {}/s; not saved yet {}, names not told yet {}",
        bytes(picture, "downloaded_bytes"),
        bytes(picture, "uploaded_bytes"),
        size(picture.present("dirty_bytes")),
        picture.present("unshipped"),
    );
    say!(
        "leases         {} shared, {} exclusive; {:.1} recalls/s; {} inodes known",
        picture.present("leases_shared"),
        picture.present("leases_exclusive"),
        picture.rate("recalls"),
        picture.present("inodes"),
    );
    rows("CALLS OF THE KERNEL", &picture.calls);
    rows("CALLS TO THE COORDINATOR", &picture.requests);
}

fn rows(title: &str, rows: &[Row]) {
    say!(
        "\n{title:<26} {:>9} {:>9} {:>9} {:>9}  TIME",
        "PER S",
        "MEAN",
        "50 %",
        "99 %"
    );
    let all: Duration = rows.iter().map(|row| row.total).sum();
    for row in rows.iter().take(ROWS) {
        let part = row.total.as_secs_f64() / all.as_secs_f64().max(1e-9);
        say!(
            "{:<26} {:>9.1} {:>9} {:>9} {:>9}  {:>3.0} % {}",
            row.op,
            row.per_second,
            short(row.mean),
            short(row.half),
            short(row.most),
            part * 100.0,
            "█".repeat((part * 20.0).round() as usize)
        );
    }
    if rows.len() > ROWS {
        say!("... and {} more", rows.len() - ROWS);
    }
}

/// One line for files and pipes.
pub(super) fn line(picture: &Picture, number: u64) {
    if number.is_multiple_of(LINES) {
        say!(
            "{:>8} {:>9} {:>9} {:>8} {:>10} {:>10} {:>10} {:>10} {:>5} {:>7} {:>8} {:>9}  SLOWEST",
            "CALLS/s",
            "MEAN",
            "99 %",
            "COORD/s",
            "READ/s",
            "WRITE/s",
            "DOWN/s",
            "UP/s",
            "HITS",
            "LEASES",
            "RECALL/s",
            "UNSHIPPED"
        );
    }
    let count: u64 = picture.calls.iter().map(|row| row.count).sum();
    let total: Duration = picture.calls.iter().map(|row| row.total).sum();
    let slowest = picture.calls.iter().max_by_key(|row| row.most);
    say!(
        "{:>8.0} {:>9} {:>9} {:>8.0} {:>10} {:>10} {:>10} {:>10} {:>5} {:>7} {:>8.1} {:>9}  {}",
        picture.all_calls(),
        short(total.div_f64(count.max(1) as f64)),
        slowest.map_or_else(|| "-".to_owned(), |row| short(row.most)),
        picture.all_requests(),
        bytes(picture, "read_bytes"),
        bytes(picture, "written_bytes"),
        bytes(picture, "downloaded_bytes"),
        bytes(picture, "uploaded_bytes"),
        hits(picture),
        picture.present("leases_shared") + picture.present("leases_exclusive"),
        picture.rate("recalls"),
        picture.present("unshipped"),
        slowest.map_or("-", |row| row.op.as_str()),
    );
}
