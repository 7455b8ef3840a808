//! `dfs summary`: parses and calls `dfs_client::commands::summary`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Show how many bytes, files and directories are below a directory, at once however large it is
///
/// The servers keep these sums with every change; nothing is walked, so that a directory of ten million files is answered
/// like an empty one. Bytes are sizes, as `ls -l` and `du --apparent-size` show them, holes included. A file with several
/// names counts once, where one of them is. Removed files count nothing, even while they are open or in the trash. DIR itself
/// is not among its directories. Of a file, its own size is shown.
///
/// What this mount has done is in the sums when they are shown. What other mounts did is in them at most five seconds
/// later; `dfs sync` there makes it be so at once.
///
/// The same numbers are extended attributes of every directory, for scripts: `getfattr -n dfs.rstat.rbytes DIR`, and
/// dfs.rstat.rfiles, dfs.rstat.rsubdirs, dfs.rstat.rentries (both together). Listings of attributes do not show them.
/// A volume that was made by an older version is counted once, in the background; the command waits for it.
#[derive(Args)]
pub struct Summary {
    /// Directories (or files) on a mount
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Print a JSON array of objects: path, bytes, files, directories
    #[arg(long)]
    json: bool,
}

impl Summary {
    pub fn run(self) -> ExitCode {
        dfs_client::commands::summary::run(self.dirs, self.json)
    }
}
