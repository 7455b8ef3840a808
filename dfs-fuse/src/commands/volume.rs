//! `dfs volume`: parses and calls `dfs_client::commands::volume`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use dfs_client::commands::volume::{self, Ask};

/// Show, make and delete the volumes of a cluster
///
/// CLUSTER is any volume of the cluster, dfs://HOST[:PORT]/VOLUME, or a path on a mount [default: what is mounted here].
#[derive(Args)]
pub struct Volume {
    #[command(subcommand)]
    what: What,
}

#[derive(Args)]
struct About {
    /// dfs://HOST[:PORT]/VOLUME of any volume, or a path on a mount [default: what is mounted here]
    cluster: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Show every volume: number, name, who leads it
    List {
        #[command(flatten)]
        about: About,
    },
    /// Make an empty volume and wait until it can be mounted
    Create {
        /// Letters, digits, '-', '_' and '.', at most 64
        name: String,
        #[command(flatten)]
        about: About,
    },
    /// Delete a volume with everything in it; asks for its name again
    Delete {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Also when clients have it mounted: they lose what they have not saved
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        about: About,
    },
}

impl Volume {
    pub fn run(self) -> ExitCode {
        let (about, ask) = match self.what {
            What::List { about } => (about, Ask::List),
            What::Create { name, about } => (about, Ask::Create { name }),
            What::Delete {
                name,
                yes,
                force,
                about,
            } => (
                about,
                Ask::Delete {
                    name,
                    sure: yes,
                    force,
                },
            ),
        };
        volume::run(about.cluster.as_deref(), ask, about.json)
    }
}
