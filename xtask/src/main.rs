//! The developer's commands: set up, run, test, measure, judge the code. Called as `cargo xtask NAME`.
//! Depends on no crate of the project: it runs their executables and reads their sources.
mod bench;
mod cluster;
mod fuse;
mod install;
mod lint;
mod packages;
mod shell;
mod sim;
mod test;
mod tidy;
mod tools;
mod up;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set up, run, test and measure DFS on this machine"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, install and start a whole DFS on this machine and mount it (root)
    Up(up::UpArgs),
    /// Unmount and stop what `up` started; the data stays
    Down(up::DownArgs),
    /// Build and install `dfs`, `dfs-server` and `mount.fuse.dfs` (root)
    Install {
        /// Where the executables go
        #[arg(long, default_value = "/usr/local/bin")]
        bin_dir: PathBuf,
    },
    /// Install what the tests need and run them all (root); FILTER is nextest's
    Test {
        /// Only tests whose name contains one of these
        filter: Vec<String>,
    },
    /// Live through the coordinator's simulation, seed after seed
    Sim(sim::SimArgs),
    /// Check the rules of the house: edges, sizes, words, purity, promises
    Tidy,
    /// `cargo fmt --check` and clippy without a warning
    Lint,
    /// Measure ext4, a libfuse passthrough, DFS and, with --peers, others in one run; write docs/BENCHMARKS.md (root)
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Up(args) => up::up(&args),
        Command::Down(args) => up::down(&args),
        Command::Install { bin_dir } => install::run(&bin_dir),
        Command::Test { filter } => test::run(&filter),
        Command::Sim(args) => sim::run(&args),
        Command::Tidy => tidy::run(),
        Command::Lint => lint::run(),
        Command::Bench(args) => bench::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
