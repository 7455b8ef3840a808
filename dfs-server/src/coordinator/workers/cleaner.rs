//! Rewrites chunks of which little is in use, and files of very many small extents, into new chunks of the same set.
//! Nothing is kept about who refers to a chunk: one walk over all extents finds it, when there is enough to win.
//! A datanode copies the bytes; the metadata changes only where it still is what was read.

use super::datanodes::Datanodes;
use super::moves::{Batch, Gatherer};
use super::{pause, scan};
use crate::coordinator::Handle;
use crate::coordinator::executor::Status;
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, Ino, NodeId, SessionId, SetId};
use dfs_core::keys::{self, Key, KeyRange};
use dfs_core::op::{NewChunk, Op, Relocate, Reply};
use dfs_core::rows::{ChunkRow, ExtentRow, InodeRow, NodeState};
use dfs_core::types::Extent;
use dfs_core::view::{View, ViewError};
use dfs_proto::v1::{self, ComposePiece};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A chunk is rewritten when less than this part of it is in use.
const LIVE_PERCENT: u64 = 40;
/// Chunks rewritten in one cycle; the next cycle finds the others.
const VICTIMS_MAX: usize = 4096;
/// With less to win the extents are not walked for it.
const WIN_MIN: u64 = 4 << 20;
/// Without enough to win, the extents are walked each so many cycles, for files of many small extents.
const WALK_EACH: u64 = 6;
/// Content copied in one cycle.
const CYCLE_BYTES: u64 = 1 << 30;
/// Rows read at a time, and the rest after them.
const PAGE: usize = 8192;
const BREATH: Duration = Duration::from_millis(5);
/// After each chunk the cleaner rests so many times as long as the chunk took, and at least so long.
const REST: u32 = 3;
const REST_MIN: Duration = Duration::from_millis(50);

/// A chunk of which little is in use.
#[derive(Clone, Copy)]
struct Victim {
    won: u64,
}

type Victims = BTreeMap<ChunkId, Victim>;

pub async fn run(handle: Handle) {
    let datanodes = Datanodes::new(&handle);
    // Those of the last look: what is sparse at two looks is not just being written.
    let mut earlier = Victims::new();
    let mut rewritten = Victims::new();
    let mut cycle = 0;
    loop {
        pause(handle.settings.clean_interval).await;
        cycle += 1;
        let walk = cycle % WALK_EACH == 0;
        match clean(&handle, &datanodes, &mut earlier, &mut rewritten, walk).await {
            Ok(()) => {}
            Err(FsError::Interrupted) => return,
            Err(error) => tracing::warn!(%error, "chunks were not cleaned; it is tried again"),
        }
    }
}

async fn clean(
    handle: &Handle,
    datanodes: &Datanodes,
    earlier: &mut Victims,
    rewritten: &mut Victims,
    walk: bool,
) -> Result<(), FsError> {
    let status = handle.status().await.ok_or(FsError::Interrupted)?;
    let sets = whole_sets(&status);
    let sparse = find_sparse(handle, &sets).await.map_err(unreadable)?;
    count(handle, std::mem::take(rewritten), &sparse);
    let last = std::mem::replace(earlier, sparse.clone());
    let victims: Victims = sparse
        .into_iter()
        .filter(|(id, _)| last.contains_key(id))
        .collect();
    let enough = victims.values().map(|victim| victim.won).sum::<u64>() >= WIN_MIN;
    if !enough && !walk {
        return Ok(());
    }
    let chosen = if enough { victims } else { Victims::new() };
    let batches = gather(handle, &chosen, sets).await.map_err(unreadable)?;
    if batches.is_empty() {
        return Ok(());
    }
    // Numbers of an earlier cycle that were not used, or of a leader before: nobody commits them any more.
    give_back(handle).await?;
    for (set, batch) in batches {
        let begun = Instant::now();
        match rewrite(handle, datanodes, set, &batch).await {
            Ok(()) => note(rewritten, &chosen, &batch),
            Err(FsError::Interrupted) => return Err(FsError::Interrupted),
            Err(error) => {
                tracing::info!(set = set.0, %error, "content was not rewritten; it stays where it is")
            }
        }
        pause((begun.elapsed() * REST).max(REST_MIN)).await;
    }
    give_back(handle).await
}

fn unreadable(error: ViewError) -> FsError {
    tracing::error!(%error, "the rows cannot be read for cleaning");
    FsError::Io
}

/// Sets whose members all are full, alive and in service: nothing moves there, and new chunks lack no copy.
fn whole_sets(status: &Status) -> BTreeSet<SetId> {
    let serves = |node: NodeId| {
        let known = status.nodes.get(&node);
        known.is_some_and(|known| known.alive && known.row.state == NodeState::Active)
    };
    let sets = status.sets.iter();
    sets.filter(|(_, set)| set.joining.is_empty() && set.members.iter().all(|node| serves(*node)))
        .map(|(id, _)| *id)
        .collect()
}

/// Reads all rows of a range, a page at a time.
async fn each_page<T: Send + 'static>(
    handle: &Handle,
    mut range: KeyRange,
    read: fn(Key, &[u8]) -> Result<Option<T>, ViewError>,
    mut take: impl FnMut(Vec<T>) -> bool,
) -> Result<(), ViewError> {
    loop {
        let page = range.clone();
        let found = scan::blocking(&handle.store, move |store| scan::rows(store, &page, PAGE, read));
        let (rows, next) = found.await?;
        let more = take(rows);
        let Some(next) = next.filter(|_| more) else {
            return Ok(());
        };
        range.0 = next;
        pause(BREATH).await;
    }
}

async fn find_sparse(handle: &Handle, sets: &BTreeSet<SetId>) -> Result<Victims, ViewError> {
    let mut found = Victims::new();
    let read = |key, value: &[u8]| match key {
        Key::Chunk(id) => Ok(Some((id, ChunkRow::decode(&keys::chunk(id), value)?))),
        _ => Ok(None),
    };
    each_page(handle, keys::prefix::chunks(), read, |rows| {
        let sparse = rows
            .iter()
            .filter(|(id, row)| is_sparse(row) && sets.contains(&id.set));
        found.extend(sparse.map(|(id, row)| {
            let won = u64::from(row.len).saturating_sub(row.live_bytes);
            (*id, Victim { won })
        }));
        found.len() < VICTIMS_MAX
    })
    .await?;
    Ok(found)
}

fn is_sparse(row: &ChunkRow) -> bool {
    row.references > 0 && row.missing == 0 && row.live_bytes * 100 < u64::from(row.len) * LIVE_PERCENT
}

/// Walks all extents for those that are to move.
async fn gather(
    handle: &Handle,
    victims: &Victims,
    sets: BTreeSet<SetId>,
) -> Result<Vec<(SetId, Batch)>, ViewError> {
    let mut gatherer = Gatherer::new(victims.keys().copied().collect(), sets, CYCLE_BYTES);
    let read = |key, value: &[u8]| match key {
        Key::Extent { ino, content, end } => {
            let key = keys::extent(ino, content, end);
            Ok(ExtentRow::decode(&key, value)?
                .extent(end)
                .map(|extent| (ino, content, extent)))
        }
        _ => Ok(None),
    };
    each_page(
        handle,
        keys::prefix::all_extents(),
        read,
        |rows: Vec<(Ino, u64, Extent)>| {
            for (ino, content, extent) in rows {
                gatherer.add(ino, content, extent);
            }
            !gatherer.is_full()
        },
    )
    .await?;
    Ok(gatherer.finish())
}

/// Copies the batch's bytes into a new chunk of the set and has the extents refer to it.
async fn rewrite(handle: &Handle, datanodes: &Datanodes, set: SetId, batch: &Batch) -> Result<(), FsError> {
    let status = handle.status().await.ok_or(FsError::Interrupted)?;
    if !whole_sets(&status).contains(&set) || !is_wanted(handle, batch).await? {
        return Ok(());
    }
    let chunk = allocate(handle, &status, set).await?;
    let members: Vec<v1::Node> = status
        .sets
        .get(&set)
        .into_iter()
        .flat_map(|row| &row.members)
        .filter_map(|id| Some(to_wire(*id, &status.nodes.get(id)?.row.address)))
        .collect();
    let pieces = pieces(batch);
    for target in &members {
        let others = members
            .iter()
            .filter(|node| node.id != target.id)
            .cloned()
            .collect();
        tracing::debug!(%chunk, node = target.id, "a chunk is being composed");
        let made = datanodes
            .compose(&target.address, chunk, pieces.clone(), others)
            .await;
        match made {
            Ok(made)
                if u64::from(made.len) == batch.len && made.on_disk.len() >= handle.settings.min_replicas =>
            {
                let new = NewChunk {
                    id: chunk,
                    len: made.len,
                    sha256: made.sha256,
                    missing: Vec::new(),
                    on_disk: made.on_disk,
                };
                return relocate(handle, new, batch).await;
            }
            Ok(made) => {
                tracing::info!(%chunk, copies = made.on_disk.len(), "a rewritten chunk has too few copies")
            }
            Err(error) => tracing::info!(%chunk, node = target.id, %error, "a chunk was not rewritten here"),
        }
    }
    Err(FsError::Io)
}

/// Whether any of the files still has this content.
async fn is_wanted(handle: &Handle, batch: &Batch) -> Result<bool, FsError> {
    let files: BTreeSet<(Ino, u64)> = batch.runs.iter().map(|run| (run.ino, run.content)).collect();
    let found = scan::blocking(&handle.store, move |store| {
        for (ino, content) in files {
            let key = keys::inode(ino);
            if let Some(value) = store.get(&key)?
                && InodeRow::decode(&key, &value)?.content == content
            {
                return Ok(true);
            }
        }
        Ok(false)
    });
    found.await.map_err(unreadable)
}

/// The number of a new chunk in this set, owned by the coordinator so that the chunk is not taken for an orphan.
async fn allocate(handle: &Handle, status: &Status, set: SetId) -> Result<ChunkId, FsError> {
    let avoid = status
        .sets
        .keys()
        .copied()
        .filter(|other| *other != set)
        .collect();
    match handle.own(Op::AllocChunks { count: 1, avoid }).await? {
        Reply::ChunkRange {
            set: given, first, ..
        } if given == set => Ok(ChunkId { set, seq: first }),
        _ => Err(FsError::NoSpace),
    }
}

/// The coordinator's numbers that no chunk was committed with become void; what is stored under them is an orphan.
async fn give_back(handle: &Handle) -> Result<(), FsError> {
    let session = SessionId::COORDINATOR.0;
    handle.own(Op::EndSession { session }).await.map(|_| ())
}

fn to_wire(id: NodeId, address: &str) -> v1::Node {
    v1::Node {
        id: id.0,
        address: address.to_owned(),
        alive: true,
        zone: String::new(),
    }
}

fn pieces(batch: &Batch) -> Vec<ComposePiece> {
    let extents = batch.runs.iter().flat_map(|run| &run.old);
    extents
        .map(|extent| ComposePiece {
            source: Some(extent.chunk.into()),
            offset: extent.chunk_offset,
            len: extent.len as u32,
        })
        .collect()
}

async fn relocate(handle: &Handle, chunk: NewChunk, batch: &Batch) -> Result<(), FsError> {
    let op = Op::Relocate(Relocate {
        chunk: Some(chunk),
        moves: batch.moves(),
    });
    handle.own(op).await?;
    let help = "Content that the cleaner copied into new chunks";
    let metrics = &handle.settings.observer.metrics;
    metrics
        .counter("dfs_coordinator_rewritten_bytes_total", help)
        .add(batch.len);
    Ok(())
}

fn note(rewritten: &mut Victims, chosen: &Victims, batch: &Batch) {
    for extent in batch.runs.iter().flat_map(|run| &run.old) {
        if let Some(victim) = chosen.get(&extent.chunk) {
            rewritten.insert(extent.chunk, *victim);
        }
    }
}

/// Of what the last cycle rewrote, counts what is not sparse any more: gone, since what is live only shrinks.
fn count(handle: &Handle, rewritten: Victims, sparse: &Victims) {
    let gone = rewritten.iter().filter(|(id, _)| !sparse.contains_key(id));
    let (chunks, won) = gone.fold((0, 0), |(chunks, won), (_, victim)| {
        (chunks + 1, won + victim.won)
    });
    if chunks == 0 {
        return;
    }
    let metrics = &handle.settings.observer.metrics;
    let help = "Chunks with little content in use that were rewritten and are not used any more";
    metrics
        .counter("dfs_coordinator_cleaned_chunks_total", help)
        .add(chunks);
    let help = "Space that rewriting chunks with little content in use has won, one copy counted";
    metrics
        .counter("dfs_coordinator_cleaned_bytes_total", help)
        .add(won);
    tracing::info!(
        chunks,
        bytes = won,
        "chunks with little content in use were rewritten"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_chunks_have_all_copies_and_some_content() {
        let row = |live_bytes, references, missing| ChunkRow {
            len: 1000,
            live_bytes,
            references,
            sha256: [0; 32],
            missing,
        };
        assert!(is_sparse(&row(399, 1, 0)));
        assert!(!is_sparse(&row(400, 1, 0)), "enough is in use");
        assert!(!is_sparse(&row(399, 1, 1)), "a copy is to be restored first");
        assert!(!is_sparse(&row(0, 0, 0)), "garbage goes by itself");
    }
}
