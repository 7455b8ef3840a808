//! `dfs profile`: parses and calls `dfs_client::commands::profile`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dfs_client::commands::profile::{self, Settings};

use super::options;

/// Record a mount for some seconds and show where the time of its calls went
///
/// For each operation, and for the slowest calls with their paths: waiting for a thread, the mount's own work, a lease that
/// another mount had, the coordinator's queue, the metadata log's disk, the network, the datanodes' disks, the local cache.
/// Work that is done behind several callers (uploads, commits) counts for whoever waited meanwhile. What the kernel takes
/// before a call reaches the mount is not seen. Nothing is recorded before and after. For root and the user who mounted.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Profile {
    /// Where it is mounted, or a path on it [default: what is mounted here]
    mountpoint: Option<PathBuf>,
    /// How long to record
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Look only at calls that take at least so long, such as 500us, 10ms or 1s
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    slower_than: Duration,
    /// How many slow calls to show one by one
    #[arg(long, value_name = "N", default_value_t = 10)]
    slowest: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  dfs profile /mnt/dfs
  dfs profile /mnt/dfs --slower-than 10ms --seconds 60
  dfs profile /mnt/dfs --json > where.json";

fn time(text: &str) -> Result<Duration, String> {
    let micros = text.strip_suffix("us").map(str::parse::<u64>);
    if let Some(Ok(micros)) = micros {
        return Ok(Duration::from_micros(micros));
    }
    options::duration("slower-than", Some(text)).map_err(|error| error.to_string())
}

impl Profile {
    pub fn run(self) -> ExitCode {
        let settings = Settings {
            length: Duration::from_secs(self.seconds),
            slower: self.slower_than,
            slowest: self.slowest,
            json: self.json,
        };
        profile::run(self.mountpoint.as_deref(), settings)
    }
}
