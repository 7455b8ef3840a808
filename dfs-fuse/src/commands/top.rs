//! `dfs top`: parses and calls `dfs_client::commands::top`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dfs_client::commands::top::{self, Show};

/// Show what each client of a volume does at this moment, again and again until interrupted
#[derive(Args)]
pub struct Top {
    /// dfs://HOST[:PORT]/VOLUME, or a path on a mount [default: what is mounted here]
    volume: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Print one picture and end
    #[arg(long)]
    once: bool,
    /// Seconds between pictures; clients report their bytes about every lease term / 4
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

impl Top {
    pub fn run(self) -> ExitCode {
        let show = Show {
            json: self.json,
            once: self.once,
            interval: Duration::from_secs(self.interval),
        };
        top::run(self.volume.as_deref(), show)
    }
}
