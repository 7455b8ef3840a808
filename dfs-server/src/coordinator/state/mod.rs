//! The volume's rows: an ordered store on the coordinator's own disk that holds exactly the effects up to its
//! applied index (`Store`), and above it the effects that are not yet durable (`Overlay`, the view in which
//! operations are executed). A cache of the log: it may be deleted and is rebuilt. It knows no row's meaning.

mod overlay;
mod store;
#[cfg(test)]
mod tests;

pub use overlay::Overlay;
pub use store::{Moment, Store};

use std::path::PathBuf;

/// The store failed. What it held is a cache: `recovery` sets it aside and rebuilds it from checkpoint and log.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("the state in {path} cannot be used: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("the disk under {0} is full: free space; the state follows the log by itself at the next start")]
    Full(PathBuf),
}
