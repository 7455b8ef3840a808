//! Deletes chunks that nothing refers to, after their quarantine, from every member of their set, and forgets
//! them when all members have confirmed. A member that is away keeps them in the list until it is back.

use super::datanodes::{DELETE_MAX, Datanodes};
use super::{pause, scan};
use crate::coordinator::Handle;
use crate::coordinator::clock::wall_clock;
use crate::coordinator::executor::Status;
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, NodeId};
use dfs_core::keys::{self, Key};
use dfs_core::op::Op;
use dfs_core::rows::{ChunkRow, GarbageRow, NodeState};
use dfs_core::view::{View, ViewError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);
/// Chunks looked at in one round; a member that is away must not hide what others could delete.
const ROUND: usize = 16_384;
/// A member that failed is left alone for this, doubling up to the most.
const BACKOFF: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What is known of members beyond the durable rows; a restart only repeats deletions.
#[derive(Default)]
struct Progress {
    confirmed: BTreeMap<ChunkId, BTreeSet<NodeId>>,
    backoff: BTreeMap<NodeId, (Instant, Duration)>,
    after: Option<Vec<u8>>,
}

pub async fn run(handle: Handle) {
    let datanodes = Datanodes::new(&handle);
    let mut progress = Progress::default();
    loop {
        pause(INTERVAL).await;
        let Some(status) = handle.status().await else {
            return;
        };
        match round(&handle, &datanodes, &status, &mut progress).await {
            Ok(()) => {}
            Err(FsError::Interrupted) => return,
            Err(error) => tracing::error!(%error, "garbage was not collected; it is tried again"),
        }
    }
}

async fn round(
    handle: &Handle,
    datanodes: &Datanodes,
    status: &Status,
    progress: &mut Progress,
) -> Result<(), FsError> {
    let range = match progress.after.take() {
        Some(after) => (after, keys::prefix::garbage().1),
        None => keys::prefix::garbage(),
    };
    let delay = handle.settings.gc_delay.max(handle.settings.lease_term).as_secs() as i64;
    let due_before = wall_clock().secs - delay;
    let found = scan::blocking(&handle.store, move |store| due(store, &range, due_before)).await;
    let (chunks, next) = found.map_err(|error| {
        tracing::error!(%error, "the garbage list cannot be read");
        FsError::Io
    })?;
    progress.after = next;
    let due: BTreeSet<ChunkId> = chunks.into_iter().collect();
    for (id, node) in &status.nodes {
        let waits = progress
            .backoff
            .get(id)
            .is_some_and(|(until, _)| Instant::now() < *until);
        if node.row.state == NodeState::Removed || !node.alive || waits {
            continue;
        }
        let mine: Vec<ChunkId> = due
            .iter()
            .copied()
            .filter(|chunk| {
                status
                    .sets
                    .get(&chunk.set)
                    .is_some_and(|set| set.members.contains(id))
            })
            .filter(|chunk| {
                !progress
                    .confirmed
                    .get(chunk)
                    .is_some_and(|nodes| nodes.contains(id))
            })
            .collect();
        for part in mine.chunks(DELETE_MAX) {
            delete(datanodes, *id, &node.row.address, part, progress).await;
        }
    }
    forget(handle, status, &due, progress).await
}

/// Chunks whose quarantine is over. One that has a row again is in use: never touched.
fn due(
    store: &dyn View,
    range: &keys::KeyRange,
    before: i64,
) -> Result<(Vec<ChunkId>, Option<Vec<u8>>), ViewError> {
    scan::rows(store, range, ROUND, |key, value| {
        let Key::Garbage(id) = key else {
            return Ok(None);
        };
        let since = GarbageRow::decode(&keys::garbage(id), value)?.since;
        let key = keys::chunk(id);
        if let Some(row) = store.get(&key)? {
            ChunkRow::decode(&key, &row)?;
            tracing::error!(chunk = %id, "a chunk is in use and in the garbage list; it is kept");
            return Ok(None);
        }
        Ok((since.secs < before).then_some(id))
    })
}

async fn delete(
    datanodes: &Datanodes,
    node: NodeId,
    address: &str,
    chunks: &[ChunkId],
    progress: &mut Progress,
) {
    let failed: BTreeSet<ChunkId> = match datanodes.delete(address, chunks).await {
        Ok(failures) => {
            if let Some((chunk, reason)) = failures.first() {
                tracing::warn!(%node, %chunk, reason, count = failures.len(), "chunks were not deleted");
            }
            failures.into_iter().map(|failure| failure.0).collect()
        }
        Err(status) => {
            tracing::warn!(%node, %status, count = chunks.len(), "a datanode deleted nothing");
            chunks.iter().copied().collect()
        }
    };
    if failed.is_empty() {
        progress.backoff.remove(&node);
    } else {
        let wait = progress
            .backoff
            .get(&node)
            .map_or(BACKOFF, |(_, wait)| (*wait * 2).min(BACKOFF_MAX));
        progress.backoff.insert(node, (Instant::now() + wait, wait));
    }
    for chunk in chunks.iter().filter(|chunk| !failed.contains(chunk)) {
        progress.confirmed.entry(*chunk).or_default().insert(node);
    }
}

/// Chunks that are gone from every member leave the list.
async fn forget(
    handle: &Handle,
    status: &Status,
    due: &BTreeSet<ChunkId>,
    progress: &mut Progress,
) -> Result<(), FsError> {
    let removed = |node: &NodeId| {
        status
            .nodes
            .get(node)
            .is_some_and(|node| node.row.state == NodeState::Removed)
    };
    let gone: Vec<ChunkId> = due
        .iter()
        .copied()
        .filter(|chunk| {
            let Some(set) = status.sets.get(&chunk.set) else {
                return false;
            };
            let confirmed = progress.confirmed.get(chunk);
            set.members
                .iter()
                .all(|node| removed(node) || confirmed.is_some_and(|nodes| nodes.contains(node)))
        })
        .collect();
    for part in gone.chunks(DELETE_MAX) {
        handle
            .own(Op::ForgetGarbage {
                chunks: part.to_vec(),
            })
            .await?;
        handle
            .settings
            .observer
            .metrics
            .counter(
                "dfs_coordinator_deleted_chunks_total",
                "Chunks deleted from all members of their set",
            )
            .add(part.len() as u64);
        for chunk in part {
            progress.confirmed.remove(chunk);
        }
    }
    Ok(())
}
