//! `dfs summary`: parses and calls `dfs_client::commands::summary`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Show how many bytes, files and directories are below a directory, at once however large it is
///
/// The coordinator keeps these sums; nothing is walked. Bytes are sizes, as `ls -l` shows them; a file with several names
/// counts once. The same numbers are extended attributes of every directory: dfs.rstat.rbytes, .rfiles, .rsubdirs, .rentries.
#[derive(Args)]
pub struct Summary {
    /// Directories on a mount
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl Summary {
    pub fn run(self) -> ExitCode {
        dfs_client::commands::summary::run(self.dirs, self.json)
    }
}
