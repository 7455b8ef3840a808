//! The command line of `dfs-server`: chooses the role and begins it. Each role has its `Args` and its `run` in
//! a folder of its own; this file knows nothing of what they do.

mod config;
mod coordinator;
mod datanode;
mod standalone;
mod transport;

use clap::{Args as _, Command, FromArgMatches as _};
use config::{Fatal, Shared, layers, logging};
use std::process::ExitCode;

#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Each chunk transfer holds a thread that may wait for the disk. Three datanodes in one process wait for one
/// another: with fewer threads than transfers (3 x 256) they could wait for ever.
const BLOCKING_THREADS: usize = 1024;

fn command() -> Command {
    Command::new("dfs-server")
        .about("Servers of the DFS distributed file system")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            standalone::Args::augment_args(Command::new("standalone"))
                .about("A coordinator and its datanodes in one process, for one machine"),
        )
        .subcommand(
            coordinator::Args::augment_args(Command::new("coordinator"))
                .about("Owns a volume: its names, sessions, leases and placement"),
        )
        .subcommand(
            coordinator::move_log::Args::augment_args(Command::new("move-log"))
                .about("Moves the metadata logs of a stopped coordinator from its directory to etcd"),
        )
        .subcommand(
            datanode::Args::augment_args(Command::new("datanode"))
                .about("Keeps immutable chunks on this machine's disk"),
        )
}

fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("dfs-server: {fatal}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Result<(), Fatal> {
    let command = command();
    let matches = layers::matches(&command, std::env::args_os().collect())?;
    let Some((role, own)) = matches.subcommand() else {
        return Err(Fatal("name a role: standalone, coordinator or datanode".into()));
    };
    let shared = Shared::from_arg_matches(own).map_err(|e| Fatal(e.to_string()))?;
    if shared.print_config {
        print!("{}", layers::print(&command, &matches));
        return Ok(());
    }
    logging::begin(shared.log_format, &shared.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("dfs")
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|e| Fatal::io("cannot start threads", e))?;
    let wrong = |e: clap::Error| Fatal(e.to_string());
    match role {
        "standalone" => runtime.block_on(standalone::run(
            standalone::Args::from_arg_matches(own).map_err(wrong)?,
        )),
        "coordinator" => runtime.block_on(coordinator::run(
            coordinator::Args::from_arg_matches(own).map_err(wrong)?,
        )),
        "move-log" => runtime.block_on(coordinator::move_log::run(
            coordinator::move_log::Args::from_arg_matches(own).map_err(wrong)?,
        )),
        "datanode" => runtime.block_on(datanode::run(
            datanode::Args::from_arg_matches(own).map_err(wrong)?,
        )),
        other => Err(Fatal(format!("no role {other}"))),
    }
}
