//! `dfs info`: parses and calls `dfs_client::commands::info`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Show a file's inode, extents, chunks, and the datanodes that hold them
#[derive(Args)]
pub struct Info {
    /// A path on a mount, or dfs://HOST[:PORT]/VOLUME/PATH
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self) -> ExitCode {
        dfs_client::commands::info::run(&self.path, self.json)
    }
}
