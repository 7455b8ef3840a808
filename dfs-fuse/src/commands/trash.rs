//! `dfs trash`: parses and calls `dfs_client::commands::trash`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use dfs_client::commands::trash::{self, Ask};

/// Keep removed files for a while, list them, bring them back
#[derive(Args)]
pub struct Trash {
    #[command(subcommand)]
    what: What,
}

#[derive(Args)]
struct About {
    /// dfs://HOST[:PORT]/VOLUME, or a path on a mount [default: what is mounted here]
    #[arg(long)]
    volume: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Set how long removed files are kept; 0 turns the trash off and empties it
    Retain {
        /// Such as 24h or 7d
        time: String,
        #[command(flatten)]
        about: About,
    },
    /// List what was removed, the oldest first: id, time, kind, size, path
    List {
        /// Only what was below this path, on a mount or as dfs://HOST/VOLUME/PATH
        below: Option<String>,
        #[command(flatten)]
        about: About,
    },
    /// Bring a file or directory back; nothing is overwritten, and parents that are in the trash come along
    Restore {
        /// The id that `dfs trash list` shows
        id: u64,
        /// A path that does not exist, instead of the old one
        #[arg(long)]
        to: Option<String>,
        #[command(flatten)]
        about: About,
    },
    /// Free what is in the trash
    Empty {
        /// Only what was removed longer ago, such as 1h
        #[arg(long)]
        older_than: Option<String>,
        #[command(flatten)]
        about: About,
    },
}

impl Trash {
    pub fn run(self) -> ExitCode {
        let (ask, about) = match self.what {
            What::Retain { time, about } => (Ask::Retain { time }, about),
            What::List { below, about } => (Ask::List { below }, about),
            What::Restore { id, to, about } => (Ask::Restore { id, to }, about),
            What::Empty { older_than, about } => (Ask::Empty { older_than }, about),
        };
        trash::run(about.volume.as_deref(), ask, about.json)
    }
}
