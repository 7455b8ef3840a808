//! Reading chunks: ranges of blocks for readers, whole chunks for checks, headers for lists.

use super::super::{Blocks, Held, StoreError, Verdict};
use super::Inner;
use super::index::Place;
use super::pages::table_matches;
use dfs_core::chunk::header::{self, Header, Layout, Slot, covered_len};
use dfs_core::chunk::pages::first_bad_block_of_pages;
use dfs_core::chunk::{BLOCK_SIZE, Digest, table_sha256};
use dfs_core::ids::ChunkId;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::io;
use std::os::unix::fs::FileExt;

/// Content read at once by a check.
const CHECK_BLOCKS: u32 = 16;

/// A run of blocks in its segment's file.
pub(super) struct Run {
    pub first: u32,
    pub at: u64,
    pub len: u32,
    pub crcs: Vec<u32>,
}

/// `count` blocks from `first`; fewer at the chunk's end.
pub(super) fn run(header: &Header, place: Place, first: u32, count: u32) -> Run {
    let end = first.saturating_add(count).min(header.crcs.len() as u32);
    let first = first.min(end);
    let start = u64::from(first) * u64::from(BLOCK_SIZE);
    let stop = (u64::from(end) * u64::from(BLOCK_SIZE)).min(u64::from(place.len()));
    Run {
        first,
        at: place.content() + start,
        len: stop.saturating_sub(start) as u32,
        crcs: header.crcs[first as usize..end as usize].to_vec(),
    }
}

impl Inner {
    pub(super) fn read(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Blocks, StoreError> {
        let place = self.trusted(chunk)?;
        let header = self.header(chunk, place)?;
        self.read_blocks(&header, place, first, count)
    }

    /// Where a chunk is that is in service.
    pub(super) fn trusted(&self, chunk: ChunkId) -> Result<Place, StoreError> {
        let index = self.index.read();
        index.check_trusted(chunk)?;
        index.get(chunk).ok_or(StoreError::NotFound(chunk))
    }

    pub(super) fn read_blocks(
        &self,
        header: &Header,
        place: Place,
        first: u32,
        count: u32,
    ) -> Result<Blocks, StoreError> {
        let Run { first, at, len, crcs } = run(header, place, first, count);
        let mut payload = vec![0; len as usize];
        let segment = self.segment(place.segment)?;
        let read = self.file(&segment)?.read_exact_at(&mut payload, at);
        read.map_err(|e| self.read_error(header.chunk, place, &e))?;
        Ok(Blocks {
            first,
            payload: payload.into(),
            crcs,
        })
    }

    /// The header of a chunk, checked.
    pub(super) fn header(&self, chunk: ChunkId, place: Place) -> Result<Header, StoreError> {
        let segment = self.segment(place.segment)?;
        let mut page = vec![0; covered_len(place.layout(), place.len()) as usize];
        let read = self.file(&segment)?.read_exact_at(&mut page, place.offset());
        read.map_err(|e| self.read_error(chunk, place, &e))?;
        decoded(chunk, place, &segment.uuid, &page)
    }

    pub(super) fn read_error(&self, chunk: ChunkId, place: Place, error: &io::Error) -> StoreError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let reason = format!("its segment ends before {}", place.offset() + place.slot());
            return StoreError::Corrupt { chunk, reason };
        }
        StoreError::io(&format!("cannot read chunk {chunk}"), error)
    }

    pub(super) fn list(&self, after: Option<ChunkId>, limit: usize, brief: bool) -> Vec<Held> {
        let places = self.index.read().list(after, limit);
        let held = places.into_iter().map(|(chunk, place, trusted)| {
            let header = (!brief).then(|| self.header(chunk, place).ok()).flatten();
            Held {
                chunk,
                len: place.len(),
                sha256: header.map(|header| header.sha256),
                bad: !trusted,
            }
        });
        held.collect()
    }

    pub(super) fn verify(&self, chunk: ChunkId) -> Verdict {
        let Some(place) = self.index.read().get(chunk) else {
            return Verdict::Missing;
        };
        // What is asked for is what the disk has; and what is read only for this is not kept in the cache.
        self.uncache(place);
        let checked = self.check(chunk, place);
        self.uncache(place);
        let verdict = match checked {
            Ok(header) => Verdict::Good {
                len: header.len,
                sha256: header.sha256,
            },
            Err(StoreError::Corrupt { reason, .. }) => Verdict::Corrupt(reason),
            Err(e) => Verdict::Unreadable(e.to_string()),
        };
        let mut index = self.index.write();
        if index.get(chunk) != Some(place) {
            // Deleted or replaced while it was read.
            return if index.get(chunk).is_none() {
                Verdict::Missing
            } else {
                verdict
            };
        }
        match verdict {
            Verdict::Good { .. } => index.trust(chunk),
            _ => index.distrust(chunk),
        }
        verdict
    }

    /// Has the system forget its cached copy of a slot. Advice: where it is not taken, the cache is what is checked.
    fn uncache(&self, place: Place) {
        let Ok(file) = self
            .segment(place.segment)
            .and_then(|segment| self.file(&segment))
        else {
            return;
        };
        let (offset, len) = (place.offset() as i64, place.slot() as i64);
        if let Err(error) = posix_fadvise(&*file, offset, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
            tracing::debug!(%error, "the system's cache was not given up");
        }
    }

    /// Reads all of a chunk and compares every checksum.
    pub(super) fn check(&self, chunk: ChunkId, place: Place) -> Result<Header, StoreError> {
        let header = self.header(chunk, place)?;
        let corrupt = |reason: String| StoreError::Corrupt { chunk, reason };
        let by_table = table_sha256(header.len, &header.crcs) == header.sha256;
        let mut digest = Digest::default();
        let mut pages = Vec::new();
        for first in (0..header.crcs.len() as u32).step_by(CHECK_BLOCKS as usize) {
            let blocks = self.read_blocks(&header, place, first, CHECK_BLOCKS)?;
            if let Some(bad) = first_bad_block_of_pages(first, &blocks.payload, &blocks.crcs, &mut pages) {
                return Err(corrupt(format!("block {bad} does not match its CRC-32C")));
            }
            if !by_table {
                digest.update(&blocks.payload);
            }
        }
        if place.layout() == Layout::Pages {
            let segment = self.segment(place.segment)?;
            let file = self.file(&segment)?;
            let matches = table_matches(&file, place.offset(), place.len(), &pages);
            if !matches.map_err(|e| self.read_error(chunk, place, &e))? {
                return Err(corrupt("its page table does not match its content".into()));
            }
        }
        match by_table || digest.finish() == header.sha256 {
            true => Ok(header),
            false => Err(corrupt("its content does not match its SHA-256".into())),
        }
    }
}

/// The header of a chunk from the bytes at its place.
pub(super) fn decoded(
    chunk: ChunkId,
    place: Place,
    segment: &[u8; 16],
    bytes: &[u8],
) -> Result<Header, StoreError> {
    let expected = |header: &Header| (header.chunk, header.len, header.layout);
    match header::decode(bytes, segment, place.offset()) {
        Some(Slot::Live(header)) if expected(&header) == (chunk, place.len(), place.layout()) => Ok(header),
        _ => Err(StoreError::Corrupt {
            chunk,
            reason: "its header does not match".into(),
        }),
    }
}
