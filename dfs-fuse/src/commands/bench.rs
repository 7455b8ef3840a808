//! `dfs bench DIR` and `dfs bench metadata`: parses and calls `dfs_client::commands::bench_directory`; the other kind is
//! in `bench_metadata`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use dfs_client::commands::bench_directory::{self, Settings};

use super::bench_metadata::Metadata;

/// Measure how fast a directory is, on any file system, in about a minute, and say what each figure means
///
/// Writes at most 1 GiB and a tenth of what is free into a new directory inside it, which is removed at the end, also
/// on Ctrl-C. Compare with another directory of the same machine. Exit code 1 when some row failed.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Bench {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    directory: Directory,
}

#[derive(Subcommand)]
enum Other {
    Metadata(Metadata),
}

#[derive(Args)]
struct Directory {
    /// The directory to measure
    #[arg(value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// Some seconds instead of a minute; rougher figures
    #[arg(long)]
    quick: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self) -> ExitCode {
        if let Some(Other::Metadata(metadata)) = self.other {
            return metadata.run();
        }
        let Directory { dir, quick, json } = self.directory;
        // Without it, the command line was refused.
        let dir = dir.unwrap_or_else(|| PathBuf::from("."));
        bench_directory::run(&dir, Settings { json, quick })
    }
}
