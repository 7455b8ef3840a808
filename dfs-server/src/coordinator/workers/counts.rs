//! Brings the sums of directories up to date, and counts once what an older program left uncounted, in small steps.

use super::pause;
use crate::coordinator::Handle;
use dfs_core::error::FsError;
use dfs_core::op::{Op, Reply};
use std::time::Duration;

/// Entries, and directories to which something came, in one step: a few milliseconds of the executor.
const STEP: u32 = 256;
const BREATH: Duration = Duration::from_millis(2);
/// What comes meanwhile is moved up together; questions add it by themselves.
const REST: Duration = Duration::from_millis(500);

pub async fn run(handle: Handle) {
    loop {
        match handle.own(Op::Count { limit: STEP }).await {
            Ok(Reply::Progress { more: true }) => pause(BREATH).await,
            Ok(_) => pause(REST).await,
            Err(FsError::Interrupted) => return,
            Err(error) => {
                tracing::error!(%error, "the sums of directories were not brought up to date; it is tried again");
                pause(REST * 20).await;
            }
        }
    }
}
