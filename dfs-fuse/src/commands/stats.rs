//! `dfs stats`: parses and calls `dfs_client::commands::stats`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dfs_client::commands::stats::{self, Show};

/// Show what a mount does at this moment, operation by operation, again and again until interrupted
///
/// The figures come from the mount itself: calls of the kernel with their mean, median and 99th percentile (what the
/// kernel answers from its own caches is not seen), what is asked of the coordinator, bytes to and from datanodes, what
/// the caches had, leases, and changes of names that the coordinator was not told of yet. On a terminal the picture is
/// drawn again in place; elsewhere there is a line for each interval. For root and the user who mounted.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Stats {
    /// Where it is mounted, or a path on it [default: what is mounted here]
    mountpoint: Option<PathBuf>,
    /// Seconds between pictures
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// End after so many pictures
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Show only these operations
    #[arg(short = 'l', long, value_name = "OP,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Print one JSON object for each interval
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  dfs stats /mnt/dfs
  dfs stats /mnt/dfs -l lookup,open,read -i 5
  dfs stats /mnt/dfs --json -n 60 > minute.json";

/// Below this a picture costs more than it shows.
const SHORTEST: f64 = 0.05;
const LONGEST: f64 = 3600.0;

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (SHORTEST..=LONGEST).contains(&seconds) => Ok(seconds),
        _ => Err(format!("seconds from {SHORTEST} to {LONGEST}")),
    }
}

impl Stats {
    pub fn run(self) -> ExitCode {
        let show = Show {
            json: self.json,
            interval: Duration::from_secs_f64(self.interval),
            count: self.count,
            only: self.only,
        };
        stats::run(self.mountpoint.as_deref(), &show)
    }
}
