//! `dfs status`: parses and calls `dfs_client::commands::status`.

use std::process::ExitCode;

use clap::Args;

/// Show the datanodes, clients, capacity and health of a volume; exit code 1 when it is in error
#[derive(Args)]
pub struct Status {
    /// dfs://HOST[:PORT]/VOLUME, or a path on a mount [default: what is mounted here]
    volume: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn run(self) -> ExitCode {
        dfs_client::commands::status::run(self.volume.as_deref(), self.json)
    }
}
