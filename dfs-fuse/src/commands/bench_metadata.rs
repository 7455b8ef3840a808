//! `dfs bench metadata`: parses and calls `dfs_client::commands::bench_metadata`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dfs_client::commands::bench_metadata::{self, Phase, Settings};

/// Offer a volume's coordinator batches of operations, as mounts do, and tell how fast they become durable
#[derive(Args)]
pub struct Metadata {
    /// dfs://HOST[:PORT]/VOLUME, or a path on a mount [default: what is mounted here]
    volume: Option<String>,
    /// Sessions of clients
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=4096))]
    sessions: u64,
    /// Files, over all sessions
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    files: u64,
    /// Files in each directory
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    per_dir: u64,
    /// Operations in one message
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1000))]
    batch: u64,
    /// Messages that each session has on their way
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=4))]
    window: u64,
    /// Inodes on which each session keeps leases; older ones it gives back
    #[arg(long, default_value_t = 1_000_000)]
    leases: usize,
    /// End each phase after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    duration: Option<u64>,
    /// What to do, in this order; without unlink the files stay
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "create,lookup,list,rename,unlink"
    )]
    ops: Vec<Ops>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Ops {
    Create,
    Mkdir,
    Lookup,
    List,
    Rename,
    Unlink,
    Rmdir,
    /// Lookups, creations, renames and removals together
    Mix,
}

impl Ops {
    fn phase(self) -> Phase {
        match self {
            Ops::Create => Phase::Create,
            Ops::Mkdir => Phase::Mkdir,
            Ops::Lookup => Phase::Lookup,
            Ops::List => Phase::List,
            Ops::Rename => Phase::Rename,
            Ops::Unlink => Phase::Unlink,
            Ops::Rmdir => Phase::Rmdir,
            Ops::Mix => Phase::Mix,
        }
    }
}

impl Metadata {
    pub fn run(self) -> ExitCode {
        let settings = Settings {
            sessions: self.sessions as usize,
            files: self.files,
            per_dir: self.per_dir,
            batch: self.batch as usize,
            window: self.window as usize,
            leases: self.leases,
            duration: self.duration.map(Duration::from_secs),
            phases: self.ops.into_iter().map(Ops::phase).collect(),
            json: self.json,
        };
        bench_metadata::run(self.volume.as_deref(), settings)
    }
}
