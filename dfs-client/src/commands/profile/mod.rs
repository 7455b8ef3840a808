//! `dfs profile MOUNTPOINT`: records for some seconds where the time of a mount's calls goes, then shows it: for each
//! operation, and for the slowest calls one by one. The mount records; this asks for it and prints. Called by the command
//! line.

mod picture;
mod show;

use super::{CLEAN, Failure, finish, target};
use crate::{ioctl, report};
use picture::Picture;
use serde_json::Value;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Between two lines of progress.
const PAUSE: Duration = Duration::from_millis(200);
/// More slow calls than any mount keeps.
const SLOW_MAX: u32 = 256;

/// What to record and how to show it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub length: Duration,
    /// Shorter calls are only counted.
    pub slower: Duration,
    /// Slow calls that are shown one by one.
    pub slowest: usize,
    /// One JSON object.
    pub json: bool,
}

/// Records the mount at `given`, or the only one of this machine.
pub fn run(given: Option<&Path>, settings: Settings) -> ExitCode {
    finish("profile", profile(given, settings))
}

async fn profile(given: Option<&Path>, settings: Settings) -> Result<u8, Failure> {
    let mounted = target::mounted(given)?;
    let what = mounted.mountpoint.display().to_string();
    let root = target::open_root(&mounted)?;
    let failed = |error| understood(&what, error);
    ioctl::profile(&root, settings.length, settings.slower).map_err(failed)?;
    // Before it is said that it records: whoever hears it may interrupt.
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let progress = show::Progress::begin(&what, settings.length);
    let until = Instant::now() + settings.length;
    while Instant::now() < until {
        tokio::select! {
            () = tokio::time::sleep(left(until).min(PAUSE)) => progress.left(left(until)),
            _ = interrupts.recv() => break,
        }
    }
    drop(progress);
    ioctl::profile(&root, Duration::ZERO, Duration::ZERO).map_err(failed)?;
    let picture = looked(&root).map_err(failed)?;
    match settings.json {
        true => say!("{}", show::as_json(&what, &picture, settings)),
        false => show::print(&what, &picture, settings),
    }
    Ok(CLEAN)
}

fn looked(root: &File) -> io::Result<Picture> {
    let page = |number| -> io::Result<Value> {
        serde_json::from_str(&ioctl::report(root, number)?).map_err(io::Error::other)
    };
    let sums = page(report::PROFILE)?;
    let count = sums["slow"].as_u64().unwrap_or(0).min(SLOW_MAX.into()) as u32;
    let mut slow = Vec::new();
    for number in 0..count {
        slow.push(page(report::SLOW + number)?);
    }
    Picture::read(&sums, &slow).ok_or_else(|| io::Error::other("the mount's answer makes no sense"))
}

fn understood(what: &str, error: io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EPERM) => Failure::Usage(format!("only root and the user who mounted {what} may look")),
        Some(libc::EAGAIN) => Failure::Usage(format!(
            "somebody else records {what} at present; try again later"
        )),
        Some(libc::ENOTTY) => Failure::Usage(format!(
            "the mount on {what} is of an older version that does not record; mount it anew"
        )),
        _ => Failure::Io {
            what: what.to_owned(),
            error,
        },
    }
}

/// What is left until then.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
