//! `dfs sync`: parses and calls `dfs_client::commands::sync`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Make everything durable that was written to a mount; exit code 0 only when it is
#[derive(Args)]
pub struct Sync {
    /// A path on the mount
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Sync {
    pub fn run(self) -> ExitCode {
        dfs_client::commands::sync::run(&self.path, self.json)
    }
}
