//! The `dfs` executable: picks the command, prints one line when it fails. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dfs_fuse::commands::main()
}
