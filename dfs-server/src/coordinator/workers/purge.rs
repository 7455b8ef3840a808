//! Frees the content of removed files in small steps, so that a large one never delays foreground work.

use super::pause;
use crate::coordinator::Handle;
use dfs_core::error::FsError;
use dfs_core::op::{Op, Reply};
use std::time::Duration;

/// Extents freed in one step: a few milliseconds of the executor.
const STEP: u32 = 512;
/// Between two steps: foreground work gets its turn.
const BREATH: Duration = Duration::from_millis(2);
/// Between two looks when there is nothing to do.
const REST: Duration = Duration::from_millis(500);

pub async fn run(handle: Handle) {
    loop {
        match handle.own(Op::Purge { limit: STEP }).await {
            Ok(Reply::Progress { more: true }) => pause(BREATH).await,
            Ok(_) => pause(REST).await,
            Err(FsError::Interrupted) => return,
            Err(error) => {
                tracing::error!(%error, "removed content could not be freed; it is tried again");
                pause(REST * 20).await;
            }
        }
    }
}
