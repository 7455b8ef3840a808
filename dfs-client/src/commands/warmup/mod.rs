//! `dfs warmup PATH...`: brings names and attributes of trees, and the content of their files, into the caches of the mount
//! that they are on, so that the first reader is as fast as the second. This file has the order of things: names first,
//! which also says how much there is to do; then content; then, if the cache gave something up meanwhile, a look at what is
//! left. Called by the command line.

mod show;
mod tally;
mod walk;

use super::{CLEAN, Failure, PROBLEMS, finish};
use show::Progress;
use std::io::{self, BufRead};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tally::{Content, Names};

/// How to do it and how to show it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// One JSON object at the end.
    pub json: bool,
    /// Only say how much is cached.
    pub check: bool,
    pub threads: usize,
}

/// Warms what is named, and what the list names, a path a line (`-` is standard input).
pub fn run(paths: Vec<PathBuf>, list: Option<&Path>, settings: Settings) -> ExitCode {
    finish("warmup", async { warmup(paths, list, settings) })
}

fn warmup(mut paths: Vec<PathBuf>, list: Option<&Path>, settings: Settings) -> Result<u8, Failure> {
    if let Some(list) = list {
        paths.extend(listed(list).map_err(|error| failed(list, error))?);
    }
    let device = device_of(&paths)?;
    let before = tally::cache_of(&paths[0]).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTTY | libc::EINVAL) => {
            Failure::Usage(format!("{} is on no DFS mount that can warm", paths[0].display()))
        }
        _ => failed(&paths[0], error),
    })?;
    let begun = Instant::now();
    let threads = |error| failed(Path::new("threads"), error);
    let names = Names::default();
    let progress = Progress::new();
    walk::walk(&paths, device, settings.threads, &names, || {
        progress.names(&names)
    })
    .map_err(threads)?;
    let mut content = Content {
        check: settings.check,
        ..Content::default()
    };
    let began = Instant::now();
    let shown = || progress.content(&names, &content, began);
    walk::walk(&paths, device, settings.threads, &content, shown).map_err(threads)?;
    let after = tally::cache_of(&paths[0]).map_err(|error| failed(&paths[0], error))?;
    let seconds = begun.elapsed().as_secs_f64();
    if !settings.check && after.evicted > before.evicted && !content.gave_up() {
        let left = Content {
            check: true,
            ..Content::default()
        };
        walk::walk(&paths, device, settings.threads, &left, || progress.looking()).map_err(threads)?;
        content.cached = left.cached;
    }
    drop(progress);
    let outcome = show::Outcome {
        names: &names,
        content: &content,
        cache: after,
        seconds,
    };
    outcome.show(settings);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let failures = count(&names.failures.count) + count(&content.failures.count);
    Ok(match failures == 0 && outcome.missing() == 0 {
        true => CLEAN,
        false => PROBLEMS,
    })
}

fn failed(what: &Path, error: io::Error) -> Failure {
    Failure::Io {
        what: what.display().to_string(),
        error,
    }
}

/// The paths of a list; empty lines are passed over.
fn listed(list: &Path) -> io::Result<Vec<PathBuf>> {
    let lines: Box<dyn BufRead> = match list == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(io::BufReader::new(std::fs::File::open(list)?)),
    };
    let path = |line: io::Result<Vec<u8>>| -> io::Result<PathBuf> {
        let line: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(line?);
        Ok(line.into())
    };
    lines
        .split(b'\n')
        .filter(|line| !line.as_ref().is_ok_and(Vec::is_empty))
        .map(path)
        .collect()
}

/// The one file system that all of the paths are on.
fn device_of(paths: &[PathBuf]) -> Result<u64, Failure> {
    let mut first = None;
    for path in paths {
        let device = path.metadata().map_err(|error| failed(path, error))?.dev();
        if *first.get_or_insert(device) != device {
            let message = format!(
                "{} is on another mount than {}: warm one mount at a time",
                path.display(),
                paths[0].display()
            );
            return Err(Failure::Usage(message));
        }
    }
    first.ok_or_else(|| {
        Failure::Usage("nothing is named: give paths on a mount, or a list with -f".to_owned())
    })
}
