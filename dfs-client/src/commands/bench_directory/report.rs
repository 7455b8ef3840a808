//! Printing: the list for people, line by line as it comes, and the JSON object at the end. Called by `mod`.

use super::measure::{Limits, Measured};
use super::place::Place;
use super::rows::{Row, Unit};
use super::{super::size, Settings};
use serde_json::{Value, json};
use std::io::{self, IsTerminal};
use std::time::Duration;

const BAR: usize = 10;
const VERDICTS: [&str; 4] = ["poor", "fair", "good", "excellent"];

/// What came out of a row.
pub(super) struct Outcome {
    pub row: &'static Row,
    pub measured: io::Result<Measured>,
}

/// Which of the verdicts a figure earns.
pub(super) fn verdict(row: &Row, figure: f64) -> &'static str {
    VERDICTS[row.marks.iter().filter(|mark| figure >= **mark).count()]
}

/// How much of the bar is full: the marks are at 3, 6 and 9 tenths, straight lines of the logarithm between them.
pub(super) fn filled(row: &Row, figure: f64) -> usize {
    let [fair, good, excellent] = row.marks;
    let between = |low: f64, high: f64| ((figure / low).ln() / (high / low).ln()).clamp(0.0, 1.0);
    let thirds = between(fair / 10.0, fair) + between(fair, good) + between(good, excellent);
    let beyond = between(excellent, excellent * 3.0) / 3.0;
    ((thirds + beyond) * 3.0 + 1e-9) as usize
}

pub(super) fn begin(place: &Place, limits: Limits, settings: Settings) {
    if settings.json {
        return;
    }
    let at = place.dir.display();
    say!(
        "{at}: {} ({}), {} free",
        place.file_system,
        place.source,
        size(place.free_bytes)
    );
    let (large, small) = (size(limits.large), limits.small);
    let time = if settings.quick {
        "some seconds"
    } else {
        "about a minute"
    };
    say!(
        "Up to {large} in one file and {small} small files a program, {time}; all of it is removed again, also on Ctrl-C."
    );
}

/// The name of the row that runs, on a terminal; gone when the row has ended.
pub(super) struct Progress(bool);

impl Progress {
    pub fn show(row: &Row, settings: Settings) -> Self {
        let shown = !settings.json && io::stderr().is_terminal();
        if shown {
            eprint!("  {} ...", row.title);
        }
        Self(shown)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0 {
            eprint!("\r\x1b[K");
        }
    }
}

pub(super) fn row(outcome: &Outcome, group_before: Option<&str>, settings: Settings) {
    if settings.json {
        return;
    }
    let row = outcome.row;
    if group_before != Some(row.group) {
        say!("\n{}", row.group);
    }
    match &outcome.measured {
        Ok(measured) => {
            let figure = row.unit.figure(measured);
            let full = filled(row, figure);
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
            let value = format!("{} {}", rounded(figure), row.unit.name());
            let waits = latencies(measured);
            let word = verdict(row, figure);
            let line = format!("  {:<30} {bar} {value:>12}  {word:<9} {waits}", row.title);
            say!("{}", line.trim_end());
        }
        Err(error) => say!("  {:<30} failed: {error}", row.title),
    }
    say!("      {}.", row.meaning);
    say!("      {}: {}.", units(row.unit), row.good);
}

fn units(unit: Unit) -> &'static str {
    match unit {
        Unit::Megabytes => "MB/s elsewhere",
        Unit::Operations => "In a second elsewhere",
    }
}

fn latencies(measured: &Measured) -> String {
    match (measured.quantile(0.5), measured.quantile(0.99)) {
        (Some(half), Some(most)) => format!("half within {}, 99 % within {}", short(half), short(most)),
        _ => String::new(),
    }
}

fn short(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        m if m < 1000.0 => format!("{m:.0} us"),
        m if m < 1e6 => format!("{:.1} ms", m / 1e3),
        m => format!("{:.1} s", m / 1e6),
    }
}

fn rounded(figure: f64) -> String {
    match figure {
        f if f >= 10.0 => format!("{f:.0}"),
        f => format!("{f:.1}"),
    }
}

pub(super) fn end(place: &Place, outcomes: &[Outcome], settings: Settings, interrupted: bool) {
    if settings.json {
        say!("{}", as_json(place, outcomes, interrupted));
        return;
    }
    let worst = outcomes.iter().filter_map(|outcome| {
        let measured = outcome.measured.as_ref().ok()?;
        let word = verdict(outcome.row, outcome.row.unit.figure(measured));
        (word == VERDICTS[0]).then_some(outcome.row.title)
    });
    let worst: Vec<&str> = worst.collect();
    match worst.is_empty() {
        true => say!("\nNothing here is slower than people are used to."),
        false => say!("\nSlower than people are used to: {}.", worst.join("; ")),
    }
    say!(
        "The marks are the same for every file system; rates of one machine are compared best with another directory"
    );
    say!("of the same machine. What else runs here lowers them.");
}

pub(super) fn as_json(place: &Place, outcomes: &[Outcome], interrupted: bool) -> Value {
    let rows: Vec<Value> = outcomes.iter().map(row_json).collect();
    json!({
        "directory": place.dir.display().to_string(),
        "file_system": place.file_system,
        "source": place.source,
        "free_bytes": place.free_bytes,
        "interrupted": interrupted,
        "rows": rows,
    })
}

fn row_json(outcome: &Outcome) -> Value {
    let row = outcome.row;
    let mut value = json!({
        "id": row.id,
        "group": row.group,
        "title": row.title,
        "unit": row.unit.name(),
        "meaning": row.meaning,
        "compare": row.good,
        "marks": {"fair": row.marks[0], "good": row.marks[1], "excellent": row.marks[2]},
    });
    let micros = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e6);
    match &outcome.measured {
        Ok(measured) => {
            let figure = row.unit.figure(measured);
            value["value"] = json!(figure);
            value["verdict"] = json!(verdict(row, figure));
            value["operations"] = json!(measured.operations);
            value["bytes"] = json!(measured.bytes);
            value["seconds"] = json!(measured.seconds);
            value["p50_us"] = json!(micros(measured.quantile(0.5)));
            value["p99_us"] = json!(micros(measured.quantile(0.99)));
        }
        Err(error) => value["error"] = json!(error.to_string()),
    }
    value
}
