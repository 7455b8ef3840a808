//! Checkpoints: all rows at one index in one file, made in the background from a moment of the store, verified
//! whole before they are used. `recovery` reads them, the log is trimmed only below them. Not a backup format.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{adopt, load_newest, newest, newest_len, verified};
pub use write::write;

use dfs_core::ids::Index;
use std::path::{Path, PathBuf};

/// How many are kept: a newer one may turn out to be damaged.
pub const KEEP: usize = 2;
const PREFIX: &str = "checkpoint-";
const MAGIC: &[u8; 8] = b"DFSCKPT1";

/// Why a checkpoint could not be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{doing} {path}: {error}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("checkpoint {path} is damaged at byte {offset}: {reason}", path = path.display())]
    Damaged {
        path: PathBuf,
        offset: usize,
        reason: String,
    },
    #[error(transparent)]
    State(#[from] super::state::StateError),
    #[error("reading the rows of a checkpoint: {0}")]
    View(#[from] dfs_core::view::ViewError),
}

/// The checkpoints in `dir`, newest first.
pub fn list(dir: &Path) -> Result<Vec<(Index, PathBuf)>, CheckpointError> {
    let fault = |error| CheckpointError::Io {
        doing: "list",
        path: dir.to_owned(),
        error,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let index = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        found.extend(index.map(|index| (Index(index), entry.path())));
    }
    found.sort_by_key(|found| std::cmp::Reverse(found.0));
    Ok(found)
}

fn path(dir: &Path, index: Index) -> PathBuf {
    dir.join(format!("{PREFIX}{:020}", index.0))
}
