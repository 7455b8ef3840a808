//! Counts what new quotas find below their directories, and hands back what removed ones counted, in small steps.

use super::pause;
use crate::coordinator::Handle;
use dfs_core::error::FsError;
use dfs_core::op::{Op, Reply};
use std::time::Duration;

/// Entries in one step: a few milliseconds of the executor, and as many leases to wait for.
const STEP: u32 = 128;
const BREATH: Duration = Duration::from_millis(2);
const REST: Duration = Duration::from_millis(500);

pub async fn run(handle: Handle) {
    loop {
        match handle.own(Op::WalkQuota { limit: STEP }).await {
            Ok(Reply::Progress { more: true }) => pause(BREATH).await,
            Ok(_) => pause(REST).await,
            Err(FsError::Interrupted) => return,
            Err(error) => {
                tracing::error!(%error, "a quota was not counted; it is tried again");
                pause(REST * 20).await;
            }
        }
    }
}
