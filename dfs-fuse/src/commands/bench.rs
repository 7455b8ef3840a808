//! `dfs bench DIR`: parses and calls `dfs_client::commands::bench_directory`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use dfs_client::commands::bench_directory::{self, Settings};

/// Measure how fast a directory is, on any file system, in about a minute, and say what each figure means
///
/// Writes at most 1 GiB and a tenth of what is free into a new directory inside it, which is removed at the end, also
/// on Ctrl-C. Compare with another directory of the same machine. Exit code 1 when some row failed.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    directory: Directory,
}

#[derive(Args)]
struct Directory {
    /// The directory to measure
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Some seconds instead of a minute; rougher figures
    #[arg(long)]
    quick: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self) -> ExitCode {
        let Directory { dir, quick, json } = self.directory;
        bench_directory::run(&dir, Settings { json, quick })
    }
}
