//! Making written content part of files: chunks become known, extents are laid over what was there.

use super::content::range_end;
use super::tx::{Fault, Outcome, Tx};
use crate::chunk::CHUNK_MAX;
use crate::error::FsError;
use crate::ids::{ChunkId, NodeId, SetId};
use crate::keys;
use crate::op::{CHUNK_RANGE_MAX, COMMIT_CHUNKS_MAX, COMMIT_FILES_MAX, Commit, FileCommit, NewChunk, Reply};
use crate::rows::{ChunkRow, GarbageRow, MissingRow, RangeRow, SetRow};
use crate::types::{Extent, FileKind};
use std::collections::BTreeSet;

pub(super) fn commit(tx: &mut Tx<'_>, commit: &Commit) -> Outcome<Reply> {
    if commit.chunks.len() > COMMIT_CHUNKS_MAX || commit.files.len() > COMMIT_FILES_MAX {
        return Err(FsError::Invalid.into());
    }
    for chunk in &commit.chunks {
        add_chunk(tx, chunk)?;
    }
    let mut seen = BTreeSet::new();
    for file in &commit.files {
        if !seen.insert(file.ino) {
            return Err(FsError::Invalid.into());
        }
        commit_file(tx, file)?;
    }
    Ok(Reply::Done)
}

pub(super) fn add_chunk(tx: &mut Tx<'_>, chunk: &NewChunk) -> Outcome<()> {
    let id = chunk.id;
    if id.set == SetId(0) || chunk.len == 0 || chunk.len > CHUNK_MAX {
        return Err(FsError::Invalid.into());
    }
    if !is_leased(tx, id)? {
        return Err(FsError::NotPermitted.into());
    }
    if tx.chunk(id)?.is_some() || tx.get::<GarbageRow>(&keys::garbage(id))?.is_some() {
        return Err(FsError::Invalid.into());
    }
    let nodes = lacking(tx, chunk)?;
    let since = tx.ctx.now;
    for node in &nodes {
        tx.put(keys::missing(id, *node), &MissingRow { since });
    }
    let row = ChunkRow {
        len: chunk.len,
        live_bytes: 0,
        references: 0,
        sha256: chunk.sha256,
        missing: nodes.len() as u32,
    };
    tx.put_chunk(id, row)
}

/// The set's present members that do not have the chunk. The writer may have known the members of before: one
/// that has joined meanwhile lacks it. `WouldBlock` when nobody who has it is a member any more: it must be
/// written again.
fn lacking(tx: &Tx<'_>, chunk: &NewChunk) -> Outcome<BTreeSet<NodeId>> {
    let Some(set) = tx.get::<SetRow>(&keys::set(chunk.id.set))? else {
        return Ok(chunk.missing.iter().copied().collect());
    };
    let lacks = |node: &NodeId| match chunk.on_disk.as_slice() {
        [] => chunk.missing.contains(node) || set.is_joining(*node),
        stored => !stored.contains(node) || set.is_before(*node, chunk.id.seq),
    };
    let nodes: BTreeSet<NodeId> = set.members.iter().copied().filter(lacks).collect();
    if nodes.len() >= set.members.len() {
        return Err(FsError::WouldBlock.into());
    }
    Ok(nodes)
}

/// Whether the chunk's number is in a range leased to the session. Ranges are short, so those that can hold
/// the number begin shortly before it.
fn is_leased(tx: &Tx<'_>, id: ChunkId) -> Outcome<bool> {
    let session = tx.ctx.session;
    let first = id.seq.saturating_sub(u64::from(CHUNK_RANGE_MAX) - 1);
    let range = (
        keys::range(session, id.set, first),
        keys::range(session, id.set, id.seq.checked_add(1).ok_or(FsError::Invalid)?),
    );
    for (key, row) in tx.scan::<RangeRow>(&range, usize::MAX)? {
        if let Some(keys::Key::Range { first, .. }) = keys::parse(&key)
            && id.seq - first < u64::from(row.count)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A file that is gone is skipped: its last close came before the write-back.
fn commit_file(tx: &mut Tx<'_>, file: &FileCommit) -> Outcome<()> {
    let mut end = 0;
    for extent in &file.extents {
        if extent.len == 0 || extent.offset < end {
            return Err(FsError::Invalid.into());
        }
        end = range_end(extent.offset, extent.len)?;
        check_source(tx, extent)?;
    }
    match tx.peek(file.ino)?.map(|row| row.kind) {
        None => return Ok(()),
        Some(FileKind::File) => {}
        Some(_) => return Err(FsError::Invalid.into()),
    }
    for extent in &file.extents {
        tx.lay(file.ino, *extent)?;
    }
    if file.kill_suidgid {
        tx.kill_suidgid(file.ino)?;
    }
    if !file.extents.is_empty() {
        tx.drop_capability(file.ino)?;
    }
    let row = tx.change(file.ino)?;
    row.size = row.size.max(end);
    row.mtime = file.mtime;
    row.ctime = row.ctime.max(file.mtime);
    row.atime = file.atime.unwrap_or(row.atime);
    Ok(())
}

/// The extent must lie inside a chunk that exists or came with the commit.
fn check_source(tx: &mut Tx<'_>, extent: &Extent) -> Outcome<()> {
    if extent.chunk == ChunkId::ZEROS {
        return match extent.chunk_offset {
            0 => Ok(()),
            _ => Err(FsError::Invalid.into()),
        };
    }
    let chunk = tx.chunk(extent.chunk)?.ok_or(Fault::Fs(FsError::Invalid))?;
    match u64::from(extent.chunk_offset).checked_add(extent.len) {
        Some(end) if end <= u64::from(chunk.len) => Ok(()),
        _ => Err(FsError::Invalid.into()),
    }
}
