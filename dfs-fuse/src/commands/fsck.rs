//! `dfs fsck`: parses and calls `dfs_client::commands::fsck`.

use std::process::ExitCode;

use clap::Args;

/// Read and verify every chunk, compare with the metadata, and name the files concerned
#[derive(Args)]
#[command(after_help = "Exit codes: 0 nothing is wrong, 1 problems were found, 2 it could not be checked")]
pub struct Fsck {
    /// dfs://HOST[:PORT]/VOLUME, or a path on a mount [default: what is mounted here]
    volume: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Have bad copies replaced by good ones
    #[arg(long)]
    repair: bool,
}

impl Fsck {
    pub fn run(self) -> ExitCode {
        dfs_client::commands::fsck::run(self.volume.as_deref(), self.json, self.repair)
    }
}
