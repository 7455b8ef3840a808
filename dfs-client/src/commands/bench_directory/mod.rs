//! `dfs bench DIR`: in about a minute, what programs will see in a directory of any file system: each figure with what
//! it means and what is good. This file has the order of things; places, measures, rows and printing are beside it.
//! Called by the command line. Knows nothing of DFS: the directory is used through the kernel, as by any program.

mod large;
mod measure;
mod place;
mod report;
mod rows;
mod small;
#[cfg(test)]
mod tests;

use super::{CLEAN, COULD_NOT, Failure, PROBLEMS, finish};
use measure::{Limits, Measured, Stop};
use place::Place;
use report::Outcome;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long one row may take; there are 15, and the clean-up.
const ROW_LIMIT: Duration = Duration::from_millis(3500);
/// Rows of `--quick`.
const QUICK_LIMIT: Duration = Duration::from_millis(700);
/// The large file: at most so much, and at most this part of what is free.
const LARGE_MAX: u64 = 1 << 30;
const LARGE_MAX_QUICK: u64 = 128 << 20;
const FREE_PART: u64 = 10;
/// With less than this free, nothing is measured: the large file would be too small to say anything.
const FREE_MIN: u64 = 80 << 20;
/// Small files of 4 KiB for each program, at most; fewer where inodes or bytes are short.
const SMALL_MAX: u64 = 4000;
const SMALL_MAX_QUICK: u64 = 400;
/// Those who ended by a signal say so to their shell.
const INTERRUPTED: u8 = 130;

/// How to do it and how to show it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// One JSON object instead of the explained list.
    pub json: bool,
    /// A few seconds instead of a minute; the figures are rougher.
    pub quick: bool,
}

/// Measures the directory and prints what was found.
pub fn run(dir: &Path, settings: Settings) -> ExitCode {
    finish("bench", bench(dir.to_owned(), settings))
}

async fn bench(dir: PathBuf, settings: Settings) -> Result<u8, Failure> {
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |error| Failure::Io { what, error }
    };
    let place = Place::look(&dir).map_err(failed(&dir))?;
    let limits = bounded(&place, settings.quick)?;
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed(&dir))?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed(&dir))?;
    let stop = Stop::default();
    let mut work = tokio::task::spawn_blocking({
        let (place, stop) = (place.clone(), stop.clone());
        move || {
            let room = place.make_room()?;
            let outcomes = measured(&place, room.path(), limits, &stop, settings);
            let left = room.remove();
            left.map(|()| outcomes)
        }
    });
    let outcomes = loop {
        tokio::select! {
            done = &mut work => break done.map_err(|error| Failure::Io {
                what: "the measurement".to_owned(),
                error: io::Error::other(error),
            })?,
            Some(()) = interrupts.recv() => (),
            Some(()) = terminations.recv() => (),
        }
        if stop.asked() {
            eprintln!(
                "dfs bench: ended at once; remove {} yourself",
                place.room_path().display()
            );
            std::process::exit(INTERRUPTED.into());
        }
        stop.ask();
        eprintln!("\ndfs bench: stopping and cleaning up; once more ends it at once and leaves the files");
    };
    let outcomes = outcomes.map_err(failed(&place.room_path()))?;
    report::end(&place, &outcomes, settings, stop.asked());
    Ok(match () {
        () if stop.asked() => INTERRUPTED,
        () if outcomes.iter().all(|outcome| outcome.measured.is_err()) => COULD_NOT,
        () if outcomes.iter().any(|outcome| outcome.measured.is_err()) => PROBLEMS,
        () => CLEAN,
    })
}

/// How much may be written, by what is free.
fn bounded(place: &Place, quick: bool) -> Result<Limits, Failure> {
    if place.free_bytes < FREE_MIN {
        return Err(Failure::Usage(format!(
            "only {} free in {}: at least {} are needed",
            super::size(place.free_bytes),
            place.dir.display(),
            super::size(FREE_MIN)
        )));
    }
    let (large, most, each) = match quick {
        true => (LARGE_MAX_QUICK, SMALL_MAX_QUICK, QUICK_LIMIT),
        false => (LARGE_MAX, SMALL_MAX, ROW_LIMIT),
    };
    let inodes = place.free_inodes.unwrap_or(u64::MAX) / FREE_PART / small::PARALLEL;
    let files = place.free_bytes / FREE_PART / (small::SIZE as u64 * small::PARALLEL);
    Ok(Limits {
        large: large.min(place.free_bytes / FREE_PART),
        small: most.min(inodes).min(files).max(1),
        each,
    })
}

/// Runs the rows one after another; one that fails does not keep the others from being run.
fn measured(place: &Place, room: &Path, limits: Limits, stop: &Stop, settings: Settings) -> Vec<Outcome> {
    report::begin(place, limits, settings);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for row in rows::ROWS {
        if stop.asked() {
            break;
        }
        let progress = report::Progress::show(row, settings);
        let result = (row.run)(room, limits, stop);
        drop(progress);
        // What was cut short by an interrupt says nothing.
        if stop.asked() {
            break;
        }
        let result = result.and_then(|measured: Measured| match measured.operations {
            0 => Err(io::Error::other("nothing was done in the time of this row")),
            _ => Ok(measured),
        });
        let before = outcomes.last().map(|outcome| outcome.row.group);
        let outcome = Outcome {
            row,
            measured: result,
        };
        report::row(&outcome, before, settings);
        outcomes.push(outcome);
    }
    outcomes
}
