//! Deletes chunks that nothing refers to, after their quarantine, from every member of their set, and forgets
//! them when all members have confirmed. A member that is away keeps them in the list until it is back. Wall clocks
//! jump: the quarantine is counted by the monotonic clock of this reign, from when it first saw the row.

use super::datanodes::{DELETE_MAX, Datanodes};
use super::{pause, scan};
use crate::coordinator::Handle;
use crate::coordinator::executor::Status;
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, NodeId};
use dfs_core::keys::{self, Key};
use dfs_core::op::Op;
use dfs_core::rows::{ChunkRow, GarbageRow, NodeState};
use dfs_core::view::{View, ViewError};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);
/// Chunks looked at in one round; a member that is away must not hide what others could delete.
const ROUND: usize = 16_384;
/// Chunks whose quarantine is counted at a time, some 25 MiB; what is beyond begins its own when others are gone.
const SEEN_MAX: usize = 1 << 19;
/// A member that failed is left alone for this, doubling up to the most.
const BACKOFF: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Since when, by the monotonic clock, this reign has known each chunk of the garbage list.
pub type Seen = BTreeMap<ChunkId, Instant>;
/// The members that have deleted each chunk.
pub type Confirmed = BTreeMap<ChunkId, BTreeSet<NodeId>>;

/// What is known beyond the durable rows; a restart only repeats deletions and waits again.
#[derive(Default)]
struct Progress {
    seen: Seen,
    confirmed: Confirmed,
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
    let delay = handle.settings.gc_delay.max(handle.settings.lease_term);
    let (mut seen, now) = (std::mem::take(&mut progress.seen), Instant::now());
    let found = scan::blocking(&handle.store, move |store| {
        let found = due(store, &range, &mut seen, (now, delay));
        Ok((found, seen))
    });
    let found = found.await.and_then(|(found, seen)| {
        progress.seen = seen;
        found
    });
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
        let mine = left_at(status, &due, &progress.confirmed, *id);
        for part in mine.chunks(DELETE_MAX) {
            delete(datanodes, *id, &node.row.address, part, progress).await;
        }
    }
    forget(handle, status, &due, progress).await
}

/// Those of the chunks that this member is still to delete.
pub fn left_at(
    status: &Status,
    due: &BTreeSet<ChunkId>,
    confirmed: &Confirmed,
    node: NodeId,
) -> Vec<ChunkId> {
    let member = |chunk: &ChunkId| {
        let set = status.sets.get(&chunk.set);
        set.is_some_and(|set| set.members.contains(&node))
    };
    let done = |chunk: &ChunkId| confirmed.get(chunk).is_some_and(|nodes| nodes.contains(&node));
    let left = due.iter().filter(|chunk| member(chunk) && !done(chunk));
    left.copied().collect()
}

/// Those of the chunks that no member has any more.
pub fn gone(status: &Status, due: &BTreeSet<ChunkId>, confirmed: &Confirmed) -> Vec<ChunkId> {
    let removed = |node: &NodeId| {
        let known = status.nodes.get(node);
        known.is_some_and(|node| node.row.state == NodeState::Removed)
    };
    let gone = |chunk: &&ChunkId| {
        let nodes = confirmed.get(chunk);
        let done = |node: &NodeId| removed(node) || nodes.is_some_and(|nodes| nodes.contains(node));
        let set = status.sets.get(&chunk.set);
        set.is_some_and(|set| set.members.iter().all(done))
    };
    due.iter().filter(gone).copied().collect()
}

/// Chunks whose quarantine is over. One that has a row again is in use: never touched.
pub fn due(
    store: &dyn View,
    range: &keys::KeyRange,
    seen: &mut Seen,
    (now, delay): (Instant, Duration),
) -> Result<(Vec<ChunkId>, Option<Vec<u8>>), ViewError> {
    scan::rows(store, range, ROUND, |key, value| {
        let Key::Garbage(id) = key else {
            return Ok(None);
        };
        GarbageRow::decode(&keys::garbage(id), value)?;
        let key = keys::chunk(id);
        if let Some(row) = store.get(&key)? {
            ChunkRow::decode(&key, &row)?;
            tracing::error!(chunk = %id, "a chunk is in use and in the garbage list; it is kept");
            return Ok(None);
        }
        let room = seen.len() < SEEN_MAX;
        let first = match seen.entry(id) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) if room => *place.insert(now),
            Entry::Vacant(_) => return Ok(None),
        };
        Ok((now.duration_since(first) >= delay).then_some(id))
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
    for part in gone(status, due, &progress.confirmed).chunks(DELETE_MAX) {
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
            progress.seen.remove(chunk);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::ids::SetId;
    use dfs_core::types::Timestamp;
    use dfs_core::view::MemoryView;

    #[test]
    fn the_quarantine_begins_when_a_reign_first_sees_the_row_whatever_the_row_says() {
        let mut view = MemoryView::default();
        let chunk = |seq| ChunkId { set: SetId(1), seq };
        // Written by leaders whose wall clocks were decades apart.
        for (seq, secs) in [(1, 0), (2, i64::from(u32::MAX))] {
            let row = GarbageRow {
                since: Timestamp { secs, nanos: 0 },
            };
            view.rows.insert(keys::garbage(chunk(seq)), row.encode());
        }
        let (began, delay) = (Instant::now(), Duration::from_secs(600));
        let mut seen = Seen::new();
        let mut look = |view: &MemoryView, seconds| {
            let now = began + Duration::from_secs(seconds);
            due(view, &keys::prefix::garbage(), &mut seen, (now, delay))
                .expect("whole")
                .0
        };
        assert_eq!(look(&view, 0), []);
        let row = GarbageRow {
            since: Timestamp::default(),
        };
        view.rows.insert(keys::garbage(chunk(3)), row.encode());
        assert_eq!(look(&view, 599), []);
        assert_eq!(look(&view, 600), [chunk(1), chunk(2)]);
        assert_eq!(look(&view, 1199), [chunk(1), chunk(2), chunk(3)]);
    }
}
