//! `dfs quota`: parses and calls `dfs_client::commands::quota`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use dfs_client::commands::quota::{self, Ask};

/// Limit what directories and everything below them may take
///
/// DIR is a directory on a mount, or dfs://HOST[:PORT]/VOLUME/PATH.
#[derive(Args)]
pub struct Quota {
    #[command(subcommand)]
    what: What,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Set or change a directory's limits; what is there already is counted in the background
    Set {
        dir: String,
        /// Such as 10GiB
        #[arg(long)]
        bytes: Option<String>,
        /// Such as 100k (100,000)
        #[arg(long)]
        inodes: Option<String>,
    },
    /// Show a directory's quota
    Get { dir: String },
    /// Show all quotas of a volume
    List {
        /// dfs://HOST[:PORT]/VOLUME, or a path on a mount [default: what is mounted here]
        volume: Option<String>,
    },
    /// Remove a directory's quota
    Remove { dir: String },
}

impl Quota {
    pub fn run(self) -> ExitCode {
        let ask = match self.what {
            What::Set { dir, bytes, inodes } => Ask::Set { dir, bytes, inodes },
            What::Get { dir } => Ask::Get { dir },
            What::List { volume } => Ask::List { volume },
            What::Remove { dir } => Ask::Remove { dir },
        };
        quota::run(ask, self.json)
    }
}
