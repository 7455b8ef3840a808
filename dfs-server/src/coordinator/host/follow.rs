//! A follower: applies a volume's records to its store as they come, so that it can lead within moments. One task
//! for each volume that is not led here.

use super::super::authority::LogReader;
use super::super::log::LogError;
use super::super::state::{StateError, Store};
use super::super::turned;
use tokio::sync::watch;

/// Why following ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("a thread failed: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Applies what `reader` says until `quit` turns true. Nothing is applied after it returns.
pub async fn run(
    mut reader: Box<dyn LogReader>,
    store: Store,
    mut quit: watch::Receiver<bool>,
) -> Result<(), FollowError> {
    loop {
        let records = tokio::select! {
            biased;
            () = turned(&mut quit) => return Ok(()),
            records = reader.next() => records?,
        };
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.apply(&records)).await??;
    }
}
