//! Settings of all roles: flags over `DFS_*` environment variables over the `--config` file over defaults;
//! units; data directories. `main` and every role call it. It knows no role's settings.

pub mod data_dir;
pub mod layers;
pub mod logging;
pub mod signals;
#[cfg(test)]
mod tests;
pub mod units;

use dfs_client::observe::{self, Listen, Observer};
use std::path::PathBuf;

/// Why a server does not start or cannot go on, for the operator: what happened and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub String);

impl Fatal {
    /// A failure of the system under `what`, with the reason that it gave.
    pub fn io(what: impl std::fmt::Display, reason: impl std::fmt::Display) -> Fatal {
        Fatal(format!("{what}: {reason}"))
    }
}

impl From<String> for Fatal {
    fn from(message: String) -> Fatal {
        Fatal(message)
    }
}

/// Settings that every role has; a role's `Args` flattens them.
#[derive(Clone, Debug, clap::Args)]
pub struct Shared {
    /// TOML file with these settings: a key for each long flag
    #[arg(long, value_name = "FILE", env = "DFS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the effective settings as TOML and exit
    #[arg(long)]
    pub print_config: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text", env = "DFS_LOG_FORMAT")]
    pub log_format: logging::Format,
    /// Least level to log: error, warn, info, debug, trace, or a filter such as `info,dfs_server=debug`
    #[arg(long, default_value = "info", env = "DFS_LOG_LEVEL")]
    pub log_level: String,
    /// Address of /metrics, /healthz and /readyz, or `off` (default: 127.0.0.1:7480, a datanode's 127.0.0.1:7481;
    /// when another process has that one, a warning and nothing)
    #[arg(long, value_name = "ADDRESS", env = "DFS_METRICS_LISTEN")]
    pub metrics_listen: Option<Listen>,
}

impl Shared {
    /// Serves the process's figures where the settings say, or else at the role's `usual` port.
    pub async fn observe(&self, usual: u16) -> Result<Observer, Fatal> {
        let usual = Listen::Usual(([127, 0, 0, 1], usual).into());
        let observer = Observer::new();
        observer.health.starting();
        observe::begin(self.metrics_listen.unwrap_or(usual), observer.clone()).await?;
        Ok(observer)
    }
}
