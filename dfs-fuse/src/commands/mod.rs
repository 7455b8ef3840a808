//! The `dfs` command line: one file per command. Called by `main`. Commands parse, call, and print; what they do is in
//! `kernel`, `door` and `dfs_client::commands`.

mod background;
mod bench;
mod bench_metadata;
mod fsck;
mod guard;
mod info;
mod log;
mod mount;
mod mount_program;
mod node;
mod options;
mod profile;
mod quota;
mod serve;
mod stats;
mod status;
mod summary;
mod sync;
mod top;
mod trash;
mod umount;
mod volume;
mod warmup;

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
  dfs umount /mnt/dfs
  dfs status dfs://localhost/default --json
  dfs top dfs://localhost/default
  dfs stats /mnt/dfs
  dfs profile /mnt/dfs --slower-than 10ms
  dfs bench /mnt/dfs
  dfs warmup /mnt/dfs/models
  dfs info /mnt/dfs/file
  dfs fsck /mnt/dfs";

#[derive(Subcommand)]
enum Command {
    Mount(mount::Mount),
    Umount(umount::Umount),
    Status(status::Status),
    Info(info::Info),
    Fsck(fsck::Fsck),
    Sync(sync::Sync),
    Trash(trash::Trash),
    Quota(quota::Quota),
    Node(node::Node),
    Top(top::Top),
    Stats(stats::Stats),
    Summary(summary::Summary),
    Profile(profile::Profile),
    Bench(bench::Bench),
    Volume(volume::Volume),
    Warmup(warmup::Warmup),
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
    match name {
        Some("mount.fuse.dfs" | "mount.dfs") => return mount_program::run(&args[1..]),
        Some("umount.fuse.dfs" | "umount.dfs") => return mount_program::run_umount(&args[1..]),
        Some(guard::NAME) => return guard::run(&args[1..]),
        // Where only Debian's mount.fuse is installed, it runs `dfs SOURCE DIR -o OPTIONS` for the type fuse.dfs.
        _ if args
            .get(1)
            .is_some_and(|arg| arg.as_encoded_bytes().starts_with(b"dfs://")) =>
        {
            return mount_program::run(&args[1..]);
        }
        _ => {}
    }
    match Cli::parse_from(args).command {
        Command::Mount(mount) => finish("dfs", mount.run(), 1),
        Command::Umount(umount) => finish("dfs", umount.run(), 1),
        Command::Status(status) => status.run(),
        Command::Info(info) => info.run(),
        Command::Fsck(fsck) => fsck.run(),
        Command::Sync(sync) => sync.run(),
        Command::Trash(trash) => trash.run(),
        Command::Quota(quota) => quota.run(),
        Command::Node(node) => node.run(),
        Command::Top(top) => top.run(),
        Command::Stats(stats) => stats.run(),
        Command::Summary(summary) => summary.run(),
        Command::Profile(profile) => profile.run(),
        Command::Bench(bench) => bench.run(),
        Command::Volume(volume) => volume.run(),
        Command::Warmup(warmup) => warmup.run(),
    }
}

/// Prints why a command failed.
fn finish(name: &str, result: Result<(), Failure>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{name}: {failure}");
            ExitCode::from(code)
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
