//! Compares what each datanode holds with the metadata: a chunk that no metadata knows and that no session can
//! commit any more is deleted at the second look; a known chunk that is absent is noted as missing.

use super::datanodes::{DELETE_MAX, Datanodes};
use super::{pause, repair, scan};
use crate::coordinator::Handle;
use crate::coordinator::executor::Status;
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::keys::{self, Key};
use dfs_core::rows::{CounterRow, RangeRow};
use dfs_core::view::{View, ViewError};
use std::collections::{BTreeMap, BTreeSet};

/// Chunks that were unknown at the last look, by node.
type Unknown = BTreeMap<NodeId, BTreeSet<ChunkId>>;

/// What the metadata says of a node's sets at one moment.
pub struct Known {
    /// Chunks with a row, a place in the garbage list, or a note that this node lacks them.
    chunks: BTreeSet<ChunkId>,
    noted: BTreeSet<ChunkId>,
    garbage: BTreeSet<ChunkId>,
    /// Ranges leased to sessions that live: anything in them may still be committed.
    pub leased: Vec<(SetId, u64, u64)>,
    /// The next sequence number of each set: what is at or above it was never given out by this volume.
    next: BTreeMap<SetId, u64>,
}

pub async fn run(handle: Handle) {
    let datanodes = Datanodes::new(&handle);
    let mut unknown = Unknown::new();
    loop {
        pause(handle.settings.inventory_interval).await;
        let Some(status) = handle.status().await else {
            return;
        };
        for (id, node) in &status.nodes {
            if !node.alive || node.row.state == dfs_core::rows::NodeState::Removed {
                continue;
            }
            if let Err(error) = compare(&handle, &datanodes, &status, *id, &mut unknown).await {
                tracing::warn!(node = %id, %error, "a datanode's inventory was not taken");
            }
        }
    }
}

async fn compare(
    handle: &Handle,
    datanodes: &Datanodes,
    status: &Status,
    node: NodeId,
    unknown: &mut Unknown,
) -> Result<(), String> {
    let sets: Vec<SetId> = status
        .sets
        .iter()
        .filter(|(_, set)| set.members.contains(&node))
        .map(|(id, _)| *id)
        .collect();
    let Some(figures) = status.nodes.get(&node) else {
        return Ok(());
    };
    let read = |sets: Vec<SetId>| {
        scan::blocking(&handle.store, move |store| {
            let moment = store.moment();
            let moment = moment.map_err(|error| ViewError::Store(error.to_string()))?;
            known(&moment, &sets, node)
        })
    };
    let before = read(sets.clone()).await.map_err(|error| error.to_string())?;
    let held = datanodes
        .list(&figures.row.address)
        .await
        .map_err(|status| status.to_string())?;
    // What was held is judged by what is known after: a commit or a range in between counts.
    let after = read(sets).await.map_err(|error| error.to_string())?;
    let held = held.keys().copied().collect();
    let Found { doomed, absent } = judge((&before, &after), &held, unknown.entry(node).or_default());
    for part in doomed.chunks(DELETE_MAX) {
        let failures = datanodes
            .delete(&figures.row.address, part)
            .await
            .map_err(|error| error.to_string())?;
        tracing::info!(%node, chunks = part.len(), failed = failures.len(), "chunks that nobody can use were deleted");
    }
    for chunk in absent {
        // The node itself is asked once more before anything is noted.
        repair::look(handle, datanodes, chunk, node)
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What a look has found.
pub struct Found {
    /// Chunks that nobody can use, now and at the look before.
    pub doomed: Vec<ChunkId>,
    /// Chunks that the node should hold and does not.
    pub absent: Vec<ChunkId>,
}

/// Compares what the node holds with what was known before and after it was asked; `unknown` is what was unknown at
/// the last look, and becomes that of this one.
pub fn judge(
    (before, after): (&Known, &Known),
    held: &BTreeSet<ChunkId>,
    unknown: &mut BTreeSet<ChunkId>,
) -> Found {
    let now: BTreeSet<ChunkId> = held.iter().copied().filter(|id| is_unknown(after, *id)).collect();
    let earlier = std::mem::replace(unknown, now);
    let doomed = unknown.intersection(&earlier).copied().collect();
    let absent = before
        .chunks
        .iter()
        .filter(|id| !held.contains(id) && after.chunks.contains(id) && !after.noted.contains(id));
    Found {
        doomed,
        absent: absent.copied().collect(),
    }
}

/// Nobody refers to it, nobody is to delete it by other means, and nobody can commit it any more.
fn is_unknown(known: &Known, id: ChunkId) -> bool {
    let leased = known
        .leased
        .iter()
        .any(|(set, first, end)| *set == id.set && (*first..*end).contains(&id.seq));
    let given_out = known.next.get(&id.set).is_some_and(|next| id.seq < *next);
    given_out && !leased && !known.chunks.contains(&id) && !known.garbage.contains(&id)
}

/// `moment` does not change while it is read.
pub fn known(moment: &dyn View, sets: &[SetId], node: NodeId) -> Result<Known, ViewError> {
    let mut found = Known {
        chunks: BTreeSet::new(),
        noted: BTreeSet::new(),
        garbage: BTreeSet::new(),
        leased: Vec::new(),
        next: BTreeMap::new(),
    };
    for set in sets {
        let chunk = |key, _: &[u8]| Ok(if let Key::Chunk(id) = key { Some(id) } else { None });
        found
            .chunks
            .extend(scan::rows(moment, &keys::prefix::chunks_of(*set), usize::MAX, chunk)?.0);
        let key = keys::chunk_seq(*set);
        if let Some(value) = moment.get(&key)? {
            found.next.insert(*set, CounterRow::decode(&key, &value)?.value);
        }
    }
    let garbage = |key, _: &[u8]| {
        Ok(if let Key::Garbage(id) = key {
            Some(id)
        } else {
            None
        })
    };
    found
        .garbage
        .extend(scan::rows(moment, &keys::prefix::garbage(), usize::MAX, garbage)?.0);
    let noted = |key, _: &[u8]| {
        Ok(match key {
            Key::Missing { chunk, node: lacking } if lacking == node => Some(chunk),
            _ => None,
        })
    };
    found
        .noted
        .extend(scan::rows(moment, &keys::prefix::missing(), usize::MAX, noted)?.0);
    let ranges = |key, value: &[u8]| {
        let Key::Range { set, first, .. } = key else {
            return Ok(None);
        };
        Ok(Some((
            set,
            first,
            first + u64::from(RangeRow::decode(&[], value)?.count),
        )))
    };
    found.leased = scan::rows(moment, &keys::prefix::ranges(), usize::MAX, ranges)?.0;
    Ok(found)
}
