//! A chunk on its way into a segment: its blocks are written to a reserved slot as they come. The end is in
//! `finish`.

use super::super::{ChunkWriter, StoreError};
use super::Inner;
use super::create::Slot;
use super::direct::Direct;
use super::index::Place;
use dfs_core::chunk::header::{Layout, header_len, slot_len};
use dfs_core::chunk::{Assembly, Digest, Refusal};
use dfs_core::ids::ChunkId;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes read at once where the content is read back.
const GROUP_READ: usize = 1 << 20;

pub fn begin(
    inner: &Arc<Inner>,
    chunk: ChunkId,
    len: u32,
    replace: bool,
) -> Result<Box<dyn ChunkWriter>, StoreError> {
    let assembly = Assembly::begin(len)?;
    let inner = inner.clone();
    let here = {
        let index = inner.index.read();
        index.get(chunk).is_some() && index.is_trusted(chunk)
    };
    if here && !replace {
        return Ok(Box::new(Comparison {
            inner,
            chunk,
            assembly,
        }));
    }
    let slot = inner.reserve(chunk.set, slot_len(Layout::NEW, len))?;
    let pending = Pending {
        inner,
        slot,
        chunk,
        len,
        replace,
        ended: false,
    };
    let Pending { inner, slot, .. } = &pending;
    let direct = slot.segment.direct(slot_len(Layout::NEW, len)).map(|file| {
        let cached = slot.file.clone();
        Direct::begin(
            &inner.buffers,
            file,
            cached,
            slot.offset,
            header_len(Layout::NEW, len) as usize,
        )
    });
    Ok(Box::new(Writer {
        pending,
        assembly,
        written: 0,
        direct,
    }))
}

/// A slot that is given up when it is dropped unfinished.
pub struct Pending {
    pub inner: Arc<Inner>,
    pub slot: Slot,
    pub chunk: ChunkId,
    pub len: u32,
    pub replace: bool,
    pub ended: bool,
}

impl Pending {
    pub fn place(&self) -> Place {
        Place::new(self.slot.segment.key, self.slot.offset, self.len, Layout::NEW)
    }

    /// The SHA-256 of what was written, read back: only older programs name chunks by it.
    fn content_sha256(&self) -> Result<[u8; 32], StoreError> {
        let mut digest = Digest::default();
        let mut part = vec![0; GROUP_READ];
        let (mut at, mut left) = (self.place().content(), self.len as usize);
        while left > 0 {
            let part = &mut part[..left.min(GROUP_READ)];
            let read = self.slot.file.read_exact_at(part, at);
            read.map_err(|e| StoreError::io("cannot read back a chunk", &e))?;
            digest.update(part);
            at += part.len() as u64;
            left -= part.len();
        }
        Ok(digest.finish())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (segment, file, offset) = (&self.slot.segment, &self.slot.file, self.slot.offset);
        let size = slot_len(Layout::NEW, self.len);
        // Not durable until the next sync; lost, the scan finds a gap and makes the same mark.
        match segment.mark_dead(file, offset, size) {
            Ok(()) => {
                segment.punch(file, offset, size);
                segment.dead.lock().found(offset, size);
            }
            Err(e) => {
                tracing::warn!(segment = %segment.path.display(), offset, error = %e, "cannot mark a slot")
            }
        }
        self.inner.space.give_up(size);
        if segment.slot_ended(false) {
            self.inner.seal(segment, file);
        }
    }
}

struct Writer {
    pending: Pending,
    assembly: Assembly,
    written: u64,
    /// A long slot's way to the disk.
    direct: Option<Direct>,
}

impl ChunkWriter for Writer {
    fn write(&mut self, first: u32, content: &[u8], crcs: &[u32]) -> Result<(), StoreError> {
        self.assembly.accept(first, content, crcs)?;
        let slot = &self.pending.slot;
        let at = self.pending.place().content() + self.written;
        let written = match &mut self.direct {
            Some(direct) => direct.push(content),
            None => slot.file.write_all_at(content, at),
        };
        written.map_err(|e| StoreError::io("cannot write a chunk", &e))?;
        self.written += content.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>, sha256: &[u8; 32]) -> Result<(), StoreError> {
        let Writer {
            pending,
            assembly,
            mut direct,
            ..
        } = *self;
        let ended = assembly.finish(sha256)?;
        if !ended.named_by_table {
            let settled = direct.as_mut().map_or(Ok(()), Direct::settle);
            settled.map_err(|e| StoreError::io("cannot write a chunk", &e))?;
            if pending.content_sha256()? != *sha256 {
                return Err(Refusal::BadDigest.into());
            }
        }
        super::finish::finish(pending, direct, ended, sha256)
    }
}

/// A chunk that is already here comes again: only compared.
struct Comparison {
    inner: Arc<Inner>,
    chunk: ChunkId,
    assembly: Assembly,
}

impl ChunkWriter for Comparison {
    fn write(&mut self, first: u32, content: &[u8], crcs: &[u32]) -> Result<(), StoreError> {
        Ok(self.assembly.accept(first, content, crcs)?)
    }

    fn finish(self: Box<Self>, sha256: &[u8; 32]) -> Result<(), StoreError> {
        let Comparison {
            inner,
            chunk,
            assembly,
        } = *self;
        let ended = assembly.finish(sha256)?;
        let place = inner.index.read().get(chunk).ok_or(StoreError::Busy(chunk))?;
        let here = inner.header(chunk, place)?;
        match here.sha256 == *sha256 && here.crcs == ended.crcs {
            true => Ok(()),
            false => Err(StoreError::Exists(chunk)),
        }
    }
}
