//! Counts for operators what only the rows know: chunks that lack copies, chunks that wait for their deletion.

use super::{pause, scan};
use crate::coordinator::Handle;
use dfs_core::keys::{self, KeyRange};
use dfs_core::view::{View, ViewError};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(10);
/// Rows counted; more are shown as this many.
const COUNT_MAX: usize = 100_000;

pub async fn run(handle: Handle) {
    let metrics = &handle.settings.observer.metrics;
    let missing = metrics.gauge(
        "dfs_coordinator_missing_copies",
        "Copies of chunks that a member of their set lacks (100,000 means as many or more)",
    );
    let garbage = metrics.gauge(
        "dfs_coordinator_garbage_chunks",
        "Chunks that wait for their deletion (100,000 means as many or more)",
    );
    loop {
        let counted = scan::blocking(&handle.store, |store| {
            Ok((
                count(store, &keys::prefix::missing())?,
                count(store, &keys::prefix::garbage())?,
            ))
        });
        match counted.await {
            Ok((copies, chunks)) => {
                missing.set(copies);
                garbage.set(chunks);
            }
            Err(error) => tracing::warn!(%error, "rows could not be counted"),
        }
        pause(INTERVAL).await;
    }
}

fn count(store: &dyn View, range: &KeyRange) -> Result<u64, ViewError> {
    let (rows, _) = scan::rows(store, range, COUNT_MAX, |_, _| Ok(Some(())))?;
    Ok(rows.len() as u64)
}
