//! Settings of all roles: flags over `DFS_*` environment variables over the `--config` file over defaults;
//! units; data directories. `main` and every role call it. It knows no role's settings.

pub mod data_dir;
pub mod layers;
pub mod logging;
#[cfg(test)]
mod tests;
pub mod units;

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
}
