//! Work that nobody waits for: purging removed content, deleting garbage, repairing and moving copies, rewriting
//! chunks with little content in use, comparing what the datanodes hold with the metadata. Each worker is a task
//! that asks the executor for changes; none has state that a restart would lose.

mod census;
mod cleaner;
pub(super) mod copier;
mod counts;
mod datanodes;
pub(super) mod fill;
pub(super) mod garbage;
pub(super) mod inventory;
pub(super) mod leftovers;
mod moves;
pub(super) mod planner;
mod purge;
mod quotas;
pub(super) mod repair;
pub(super) mod scan;
pub(super) mod survey;
pub(super) mod trash;

use super::Handle;
use super::executor::{Event, Outcome, Status};
use copier::Copier;
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, NodeId};
use dfs_core::op::Op;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Starts all workers; dropping the set ends them.
pub fn start(handle: Handle, bad_copies: mpsc::Receiver<(ChunkId, NodeId)>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(census::run(handle.clone()));
    tasks.spawn(purge::run(handle.clone()));
    tasks.spawn(garbage::run(handle.clone()));
    let copier = Arc::new(Copier::new(handle.clone()));
    tasks.spawn(repair::run(copier.clone(), bad_copies));
    tasks.spawn(planner::run(copier.clone()));
    tasks.spawn(fill::run(copier.clone()));
    tasks.spawn(leftovers::run(copier));
    tasks.spawn(quotas::run(handle.clone()));
    tasks.spawn(counts::run(handle.clone()));
    tasks.spawn(trash::run(handle.clone()));
    tasks.spawn(cleaner::run(handle.clone()));
    tasks.spawn(inventory::run(handle));
    tasks
}

impl Handle {
    /// One of the coordinator's own operations; its effects are durable when this returns.
    pub async fn own(&self, op: Op) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let sent = self.inbox.send(Event::Own { op, answer }).await;
        sent.map_err(|_| FsError::Interrupted)?;
        answered.await.map_err(|_| FsError::Interrupted)?
    }

    /// The executor's figures; `None` when it has stopped.
    pub async fn status(&self) -> Option<Status> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Event::Status(answer)).await.ok()?;
        answered.await.ok()
    }
}

async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
