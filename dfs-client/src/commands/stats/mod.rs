//! `dfs stats MOUNTPOINT`: what a mount does at this moment, per operation of the kernel: how many a second, how long they
//! take, what the caches answer, what the coordinator is asked, what moves. Asks the mount for its counts at intervals and
//! shows the differences. Called by the command line.

mod picture;
mod show;

use super::{CLEAN, Failure, finish, target};
use crate::{ioctl, report};
use picture::{Look, Picture};
use serde_json::Value;
use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How to show it.
#[derive(Clone, Debug)]
pub struct Show {
    /// One JSON object for each interval.
    pub json: bool,
    pub interval: Duration,
    /// End after so many intervals.
    pub count: Option<u64>,
    /// Operations to show; empty: all.
    pub only: Vec<String>,
}

/// Shows the mount at `given`, or the only one of this machine, until interrupted.
pub fn run(given: Option<&Path>, show: &Show) -> ExitCode {
    finish("stats", async { stats(given, show) })
}

fn stats(given: Option<&Path>, show: &Show) -> Result<u8, Failure> {
    let mounted = target::mounted(given)?;
    let what = mounted.mountpoint.display().to_string();
    let root = target::open_root(&mounted)?;
    let look = || looked(&root).map_err(|error| understood(&what, error));
    let table = !show.json && std::io::stdout().is_terminal();
    let mut before = look()?;
    let mut shown = 0;
    while show.count.is_none_or(|count| shown < count) {
        std::thread::sleep(show.interval);
        let now = look()?;
        let picture = Picture::between(&before, &now, &show.only);
        match (show.json, table) {
            (true, _) => say!("{}", show::as_json(&what, &picture)),
            (false, true) => show::table(&what, &picture),
            (false, false) => show::line(&picture, shown),
        }
        before = now;
        shown += 1;
    }
    Ok(CLEAN)
}

fn looked(root: &File) -> std::io::Result<Look> {
    let page = |number| -> std::io::Result<Value> {
        let text = ioctl::report(root, number)?;
        serde_json::from_str(&text).map_err(std::io::Error::other)
    };
    Ok(Look {
        at: Instant::now(),
        general: page(report::GENERAL)?,
        calls: page(report::CALLS)?,
        requests: page(report::REQUESTS)?,
    })
}

fn understood(what: &str, error: std::io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EPERM) => Failure::Usage(format!("only root and the user who mounted {what} may look")),
        Some(libc::ENOTTY) => Failure::Usage(format!(
            "the mount on {what} is of an older version that does not tell; mount it anew"
        )),
        _ => Failure::Io {
            what: what.to_owned(),
            error,
        },
    }
}
