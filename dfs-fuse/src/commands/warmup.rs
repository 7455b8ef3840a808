//! `dfs warmup`: parses and calls `dfs_client::commands::warmup`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use dfs_client::commands::warmup::{self, Settings};

/// Bring files and trees into the caches of their mount, so that the first reader is as fast as the second
///
/// Directories are gone through with all that is below them: names and attributes into the mount's memory, content into the
/// cache on the local disk (mount option cache-dir) or, without one, into the mount's memory. Others use the mount as
/// before. Content stays true: what is changed later, here or elsewhere, is fetched again by its readers.
/// Exit code 1 when something did not fit or could not be read.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Warmup {
    /// Files and directories, all on one mount
    #[arg(required_unless_present = "file")]
    paths: Vec<PathBuf>,
    /// A file with more paths, one a line; - is standard input
    #[arg(short, long, value_name = "LIST")]
    file: Option<PathBuf>,
    /// Files that are read at the same time
    #[arg(short = 'p', long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=32))]
    threads: u8,
    /// Fetch nothing: say how much of the content is cached; exit code 1 when not all is
    #[arg(long)]
    check: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  dfs warmup /mnt/dfs/models
  dfs warmup --check /mnt/dfs/models
  find /mnt/dfs/photos -newer stamp -type f | dfs warmup -f -";

impl Warmup {
    pub fn run(self) -> ExitCode {
        let settings = Settings {
            json: self.json,
            check: self.check,
            threads: self.threads.into(),
        };
        warmup::run(self.paths, self.file.as_deref(), settings)
    }
}
