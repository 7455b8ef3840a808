//! Makes a checkpoint when the log has grown enough, and lets the log be trimmed below the older of two that
//! are durable and verified.

use super::{limits, pause};
use crate::coordinator::Handle;
use crate::coordinator::checkpoint::{self, CheckpointError};
use crate::coordinator::executor::Event;
use dfs_core::ids::Index;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);
/// A failed checkpoint (a full disk, mostly) is tried again after this.
const RETRY: Duration = Duration::from_secs(30);

pub async fn run(handle: Handle) {
    loop {
        pause(INTERVAL).await;
        let Some(status) = handle.status().await else {
            return;
        };
        if status.disk_low {
            // Writing one now would take the space that deletions need.
            continue;
        }
        match step(&handle, status.durable, status.log_bytes).await {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "no checkpoint was made; the log is kept");
                pause(RETRY).await;
            }
        }
    }
}

async fn step(handle: &Handle, durable: Index, log_bytes: u64) -> Result<(), CheckpointError> {
    let dir = handle.settings.data_dir.clone();
    let newest = checkpoint::newest(&dir)?;
    let records = durable.0.saturating_sub(newest.0);
    if records < handle.settings.checkpoint_records && log_bytes < limits::CHECKPOINT_BYTES {
        return Ok(());
    }
    let store = handle.store.clone();
    let work = tokio::task::spawn_blocking(move || {
        let path = checkpoint::write(&dir, &store.moment()?)?;
        tracing::info!(path = %path.display(), "a checkpoint was made");
        checkpoint::verified(&dir)
    });
    let good = match work.await {
        Ok(result) => result?,
        Err(error) => {
            tracing::error!(%error, "the checkpoint's thread failed");
            return Ok(());
        }
    };
    let older = good.get(1).copied().unwrap_or_default();
    // A stopped executor trims nothing; the next start may.
    let _ = handle.inbox.send(Event::Trim(older)).await;
    Ok(())
}
