//! `dfs node`: parses and calls `dfs_client::commands::node`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use dfs_client::commands::node::{self, Ask};

/// How long `dfs node drain --wait` waits when no time is given: longer than a large disk takes.
const WAIT_LONG: u64 = 7 * 24 * 3600;

/// Show, drain and remove datanodes, and the plans that move copies between them
///
/// NODE is a node's number, its address (host:port) or its UUID. VOLUME is dfs://HOST[:PORT]/VOLUME, or a path on a
/// mount [default: what is mounted here].
#[derive(Args)]
pub struct Node {
    #[command(subcommand)]
    what: What,
}

#[derive(Args)]
struct About {
    /// dfs://HOST[:PORT]/VOLUME, or a path on a mount [default: what is mounted here]
    volume: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Show every datanode: state, zone, capacity, use, sets, missing copies, when it was last heard
    List {
        #[command(flatten)]
        about: About,
    },
    /// Wait until a new datanode takes part, and check that it is as expected
    ///
    /// A datanode joins by being started: `dfs-server datanode --init --coordinator HOST:PORT --zone ZONE --data-dir
    /// DIR`. It gets new sets at once, and copies of old chunks by levelling. This command confirms it.
    Add {
        /// Number, address or UUID
        node: String,
        /// Fail when it is in another zone
        #[arg(long)]
        zone: Option<String>,
        /// Seconds to wait for it
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        wait: u64,
        #[command(flatten)]
        about: About,
    },
    /// Move everything away from a datanode; it serves meanwhile, and is `drained` when it may be removed
    Drain {
        /// Number, address or UUID
        node: String,
        /// Wait until it is drained, at most so many seconds
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "604800", require_equals = true)]
        wait: Option<u64>,
        #[command(flatten)]
        about: About,
    },
    /// Take a draining or drained datanode back; moves away from it are given up
    Uncordon {
        /// Number, address or UUID
        node: String,
        #[command(flatten)]
        about: About,
    },
    /// Forget a datanode that is drained, or dead and replaced; it is not let in again
    Remove {
        /// Number, address or UUID
        node: String,
        /// Also when it still has copies: they are given up, and made anew from those of other nodes
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        about: About,
    },
    /// Show the plans: what was moved, what is moving, how fast, and how long it will take
    Plan {
        /// Also show what would begin now
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        about: About,
    },
    /// Let levelling begin, or give it up; it begins by itself when nodes join or fill
    Rebalance {
        /// Only show what would move
        #[arg(long, conflicts_with = "abort")]
        dry_run: bool,
        /// Give up what is under way, and begin nothing until told or until a node joins
        #[arg(long)]
        abort: bool,
        #[command(flatten)]
        about: About,
    },
}

impl Node {
    pub fn run(self) -> ExitCode {
        let (ask, about) = match self.what {
            What::List { about } => (Ask::List, about),
            What::Add {
                node,
                zone,
                wait,
                about,
            } => {
                let wait = Duration::from_secs(wait);
                (Ask::Add { node, zone, wait }, about)
            }
            What::Drain { node, wait, about } => {
                let wait = wait.map(|seconds| Duration::from_secs(seconds.min(WAIT_LONG)));
                (Ask::Drain { node, wait }, about)
            }
            What::Uncordon { node, about } => (Ask::Uncordon { node }, about),
            What::Remove { node, force, about } => (Ask::Remove { node, force }, about),
            What::Plan { dry_run, about } => (Ask::Plan { next: dry_run }, about),
            What::Rebalance {
                dry_run,
                abort,
                about,
            } => (Ask::Rebalance { dry_run, abort }, about),
        };
        node::run(about.volume.as_deref(), ask, about.json)
    }
}
