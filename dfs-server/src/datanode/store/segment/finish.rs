//! The end of a chunk's way: claim its id, write the header, wait for the group's sync, show it to readers.

use super::super::StoreError;
use super::Inner;
use super::direct::Direct;
use super::index::Place;
use super::put::Pending;
use dfs_core::chunk::Ended;
use dfs_core::chunk::header::{Header, Layout, encode};
use dfs_core::ids::ChunkId;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Holds a chunk's id against other requests until it is dropped.
pub struct Claim {
    inner: Arc<Inner>,
    chunk: ChunkId,
}

impl Claim {
    pub fn take(inner: &Arc<Inner>, chunk: ChunkId) -> Result<Claim, StoreError> {
        if !inner.index.write().claim(chunk) {
            return Err(StoreError::Busy(chunk));
        }
        Ok(Claim {
            inner: inner.clone(),
            chunk,
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.index.write().unclaim(self.chunk);
    }
}

pub fn finish(
    mut pending: Pending,
    direct: Option<Direct>,
    ended: Ended,
    sha256: &[u8; 32],
) -> Result<(), StoreError> {
    let inner = pending.inner.clone();
    let chunk = pending.chunk;
    let _claim = Claim::take(&inner, chunk)?;
    if !pending.replace && already_here(&inner, chunk, sha256)? {
        return Ok(());
    }
    let segment = pending.slot.segment.clone();
    let file = pending.slot.file.clone();
    let header = Header {
        layout: Layout::NEW,
        chunk,
        len: pending.len,
        sha256: *sha256,
        crcs: ended.crcs,
    };
    let bytes = encode(&header, &ended.pages, &segment.uuid, pending.slot.offset);
    let written = match direct {
        Some(direct) => direct.end(&bytes),
        None => file.write_all_at(&bytes, pending.slot.offset),
    };
    written.map_err(|e| StoreError::io("cannot write a header", &e))?;
    segment.sync(&file, &inner.syncs).map_err(|e| {
        inner.report(format!("{}: sync failed: {e}", segment.path.display()));
        StoreError::io("cannot make a chunk durable", &e)
    })?;
    let place = pending.place();
    pending.ended = true;
    inner.space.settle(place.slot());
    let old = inner.index.write().insert(chunk, place);
    if segment.slot_ended(true) {
        inner.seal(&segment, &file);
    }
    if let Some(old) = old {
        drop_replaced(&inner, chunk, old);
    }
    Ok(())
}

/// Whether a trusted copy with this content is here; one with other content is a refusal.
fn already_here(inner: &Inner, chunk: ChunkId, sha256: &[u8; 32]) -> Result<bool, StoreError> {
    let place = {
        let index = inner.index.read();
        if index.is_trusted(chunk) {
            index.get(chunk)
        } else {
            None
        }
    };
    let Some(place) = place else { return Ok(false) };
    match inner.header(chunk, place) {
        Ok(header) if header.sha256 == *sha256 => Ok(true),
        Ok(_) => Err(StoreError::Exists(chunk)),
        // What came was verified whole; what is here cannot even be named.
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The new copy is durable. If the old one's mark is lost, the scan finds both and keeps one that verifies.
fn drop_replaced(inner: &Inner, chunk: ChunkId, old: Place) {
    if let Err(e) = inner.kill(old.segment, &[old]) {
        inner.report(format!("the replaced copy of chunk {chunk} stays: {e}"));
    }
}
