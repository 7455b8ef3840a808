//! The `dfs` command line: one file per command. Called by `main`. Commands parse, call, and print; what they do is in
//! `kernel`, `door` and `dfs_client::commands`.

mod background;
mod log;
mod mount;
mod mount_program;
mod options;
mod serve;
mod umount;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A distributed file system that mounts like a native one.
#[derive(Parser)]
#[command(name = "dfs", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  dfs mount dfs://localhost/default /mnt/dfs -o allow_other
  dfs mount dfs://a,b:7400/photos/2026 /mnt/photos -o ro,noatime
  dfs umount /mnt/dfs";

#[derive(Subcommand)]
enum Command {
    Mount(mount::Mount),
    Umount(umount::Umount),
}

/// Why a command failed: printed as one line.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command that this process was started for.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name = args
        .first()
        .and_then(|arg| Path::new(arg).file_name())
        .and_then(|name| name.to_str());
    // Where only Debian's mount.fuse is installed, it runs `dfs SOURCE DIR -o OPTIONS` for the type fuse.dfs.
    let by_mount_fuse = args
        .get(1)
        .is_some_and(|arg| arg.as_encoded_bytes().starts_with(b"dfs://"));
    if by_mount_fuse || name.is_some_and(|name| matches!(name, "mount.fuse.dfs" | "mount.dfs")) {
        return mount_program::run(&args[1..]);
    }
    let result = match Cli::parse_from(args).command {
        Command::Mount(mount) => mount.run(),
        Command::Umount(umount) => umount.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("dfs: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
