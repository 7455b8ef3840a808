//! Printing of `dfs profile`: bars by operation and the slowest calls for people, or one JSON object.

use super::Settings;
use super::picture::{Picture, Row};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

const BAR: usize = 40;
/// Operations that are shown; `--json` has all.
const ROWS: usize = 12;
/// Shares below this are not named.
const NAMED: f64 = 0.005;

/// The letter of each stage in the bars, and what it means.
const MEANINGS: [(&str, char, &str); 8] = [
    (
        "thread",
        't',
        "waited for a thread of the mount (too many calls at once)",
    ),
    ("mount", 'm', "the mount's own work"),
    (
        "lease",
        'l',
        "waited for a lease: another mount had to save or let go first (`dfs top` shows whose)",
    ),
    ("coordinator", 'c', "the coordinator's queue"),
    ("log", 'g', "until the metadata log had it on disk"),
    (
        "network",
        'n',
        "on the way to servers and back, or a server that did not run",
    ),
    ("datanode", 'd', "the disks of datanodes, and turns at them"),
    ("cache-disk", 'k', "the cache on the local disk"),
];

fn letter(stage: &str) -> char {
    let known = MEANINGS.iter().find(|(name, ..)| *name == stage);
    known.map_or('?', |(_, letter, _)| *letter)
}

/// One line on standard error: on a terminal it counts down and goes when it is dropped.
pub(super) struct Progress(bool);

impl Progress {
    pub fn begin(what: &str, length: Duration) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        eprintln!(
            "recording {what} for {} s; Ctrl-C ends it early",
            length.as_secs()
        );
        Progress(terminal)
    }

    pub fn left(&self, left: Duration) {
        if self.0 {
            // Nobody reads it: then nobody misses it.
            let _ = write!(std::io::stderr(), "\r\x1b[K{} s left", left.as_secs() + 1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0 {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn stages_json(picture: &Picture, row: &Row) -> Value {
    let named = picture.stages.iter().cloned();
    let times = row.times.iter().map(|time| json!(micros(*time)));
    Value::Object(named.zip(times).collect::<Map<String, Value>>())
}

pub(super) fn as_json(what: &str, picture: &Picture, settings: Settings) -> Value {
    let row = |row: &Row| {
        json!({
            "op": row.op,
            "calls": row.all,
            "slow_calls": row.count,
            "total_us": micros(row.total),
            "stages_us": stages_json(picture, row),
        })
    };
    let slow = |call: &Row| {
        json!({
            "op": call.op,
            "ino": call.ino,
            "path": call.path,
            "at_seconds": call.at.as_secs_f64(),
            "total_us": micros(call.total),
            "stages_us": stages_json(picture, call),
        })
    };
    json!({
        "mountpoint": what,
        "seconds": picture.seconds,
        "slower_than_us": micros(settings.slower),
        "all": row(&picture.sum()),
        "operations": picture.rows.iter().map(row).collect::<Vec<_>>(),
        "slowest": picture.slow.iter().take(settings.slowest).map(slow).collect::<Vec<_>>(),
    })
}

fn short(time: Duration) -> String {
    match micros(time) {
        micros if micros < 1000.0 => format!("{micros:.0} us"),
        micros if micros < 1e6 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// A letter for each fortieth of the time; a stage gets what is left of its share and those before it, so that the bar is
/// as long as it should be.
fn bar(stages: &[String], row: &Row) -> String {
    let total = row.total.as_secs_f64().max(1e-12);
    let (mut bar, mut so_far) = (String::new(), 0.0);
    for (stage, time) in stages.iter().zip(&row.times) {
        so_far += time.as_secs_f64() / total;
        let wanted = (so_far * BAR as f64).round() as usize;
        while bar.len() < wanted.min(BAR) {
            bar.push(letter(stage));
        }
    }
    format!("{bar:<BAR$}")
}

/// The stages by name, the largest first.
fn named(picture: &Picture, row: &Row) -> String {
    let mut shares: Vec<(&String, &Duration)> = picture.stages.iter().zip(&row.times).collect();
    shares.sort_by(|one, other| other.1.cmp(one.1));
    let total = row.total.as_secs_f64().max(1e-12);
    let seen = shares
        .into_iter()
        .filter(|(_, time)| time.as_secs_f64() / total >= NAMED);
    let texts: Vec<String> = seen
        .map(|(stage, time)| {
            format!(
                "{stage} {} ({:.0} %)",
                short(*time),
                time.as_secs_f64() / total * 100.0
            )
        })
        .collect();
    texts.join(", ")
}

pub(super) fn print(what: &str, picture: &Picture, settings: Settings) {
    let sum = picture.sum();
    let only = match settings.slower {
        Duration::ZERO => String::new(),
        slower => format!(
            "; {} of them took {} or longer and are shown",
            sum.count,
            short(slower)
        ),
    };
    say!("{what}: {} calls in {:.1} s{only}", sum.all, picture.seconds);
    if sum.count == 0 {
        say!("Nothing to show. What the kernel answers from its own caches is no call.");
        return;
    }
    say!(
        "\n{:<16} {:>7} {:>9} {:>9}  WHERE THE TIME WENT",
        "OPERATION",
        "CALLS",
        "TOGETHER",
        "MEAN"
    );
    for row in picture
        .rows
        .iter()
        .filter(|row| row.count > 0)
        .take(ROWS)
        .chain([&sum])
    {
        let mean = row.total.div_f64(row.count.max(1) as f64);
        say!(
            "{:<16} {:>7} {:>9} {:>9}  {}",
            row.op,
            row.count,
            short(row.total),
            short(mean),
            bar(&picture.stages, row)
        );
    }
    say!("\nAll together: {}", named(picture, &sum));
    for (stage, letter, meaning) in MEANINGS {
        let at = picture.stages.iter().position(|known| known == stage);
        let used = at
            .and_then(|at| sum.times.get(at))
            .is_some_and(|time| !time.is_zero());
        if used {
            say!("  {letter}  {stage}: {meaning}");
        }
    }
    say!("\nThe slowest:");
    for call in picture.slow.iter().take(settings.slowest) {
        let path = call.path.clone().unwrap_or_else(|| format!("inode {}", call.ino));
        say!(
            "{:>9} {} {path}: {}",
            short(call.total),
            call.op,
            named(picture, call)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_its_length_and_its_shares() {
        let stages: Vec<String> = MEANINGS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let mut row = Picture {
            seconds: 1.0,
            stages: stages.clone(),
            rows: Vec::new(),
            slow: Vec::new(),
        }
        .sum();
        row.total = Duration::from_millis(400);
        row.times[1] = Duration::from_millis(100);
        row.times[4] = Duration::from_millis(300);
        assert_eq!(
            bar(&stages, &row),
            format!("{}{}", "m".repeat(10), "g".repeat(30))
        );
        row.times = vec![Duration::from_millis(50); 8];
        assert_eq!(bar(&stages, &row), "tttttmmmmmlllllcccccgggggnnnnndddddkkkkk");
        assert_eq!(crate::profile::STAGES.to_vec(), stages);
    }
}
