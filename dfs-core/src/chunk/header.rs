//! What precedes each chunk in a segment file, byte for byte. Datanodes write and scan it. The segment's UUID
//! and the chunk's own place are in it, so that user data that looks like a header is never taken for one.
//!
//! Little-endian, padded with zeros to a multiple of 512 bytes:
//! magic 8, version u16, zero u16, header length u32, set u32, content length u32, sequence u64,
//! segment UUID 16, place u64, SHA-256 32, block count u32, CRC-32C of the header with this field zero u32,
//! CRC-32C of each block u32. The content follows. A dead slot (deleted, or never finished) has instead
//! magic 8, version u16, zero u16, zero u32, slot length u64, segment UUID 16, place u64, CRC-32C u32.

use super::{BLOCKS_MAX, CHUNK_MAX, block_count, crc32c};
use crate::ids::{ChunkId, SetId};

/// Slots begin at multiples of this: a torn or unreadable page harms one chunk, and a punched hole frees all.
pub const SLOT_ALIGN: u64 = 4096;
/// Headers are multiples of a disk sector.
pub const HEADER_ALIGN: u32 = 512;
/// The longest header.
pub const HEADER_MAX: usize = header_len(CHUNK_MAX) as usize;
/// A dead slot's mark: one sector, so that it is written whole or not at all.
pub const DEAD_LEN: usize = HEADER_ALIGN as usize;

const LIVE: [u8; 8] = *b"DFSCHNK\x01";
const DEAD: [u8; 8] = *b"DFSDEAD\x01";
const VERSION: u16 = 1;
const FIXED: u32 = 96;
const CRC_AT: usize = 92;
const DEAD_CRC_AT: usize = 48;

/// A chunk in its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub chunk: ChunkId,
    /// Content bytes.
    pub len: u32,
    pub sha256: [u8; 32],
    /// CRC-32C of each block.
    pub crcs: Vec<u32>,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    Live(Header),
    /// Nothing any more; the next slot begins `len` bytes after this one.
    Dead {
        len: u64,
    },
}

/// Bytes of the header of a chunk of `len` content bytes.
pub const fn header_len(len: u32) -> u32 {
    (FIXED + 4 * block_count(len)).next_multiple_of(HEADER_ALIGN)
}

/// Bytes that a chunk of `len` content bytes takes in its segment.
pub const fn slot_len(len: u32) -> u64 {
    (header_len(len) as u64 + len as u64).next_multiple_of(SLOT_ALIGN)
}

/// The header of a chunk at `place` of segment `segment`.
pub fn encode(header: &Header, segment: &[u8; 16], place: u64) -> Vec<u8> {
    let size = header_len(header.len);
    let mut out = Vec::with_capacity(size as usize);
    out.extend_from_slice(&LIVE);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&header.chunk.set.0.to_le_bytes());
    out.extend_from_slice(&header.len.to_le_bytes());
    out.extend_from_slice(&header.chunk.seq.to_le_bytes());
    out.extend_from_slice(segment);
    out.extend_from_slice(&place.to_le_bytes());
    out.extend_from_slice(&header.sha256);
    out.extend_from_slice(&(header.crcs.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for crc in &header.crcs {
        out.extend_from_slice(&crc.to_le_bytes());
    }
    out.resize(size as usize, 0);
    seal(&mut out, CRC_AT);
    out
}

/// The mark of a dead slot of `len` bytes at `place` of segment `segment`.
pub fn encode_dead(len: u64, segment: &[u8; 16], place: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(DEAD_LEN);
    out.extend_from_slice(&DEAD);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(segment);
    out.extend_from_slice(&place.to_le_bytes());
    out.resize(DEAD_LEN, 0);
    seal(&mut out, DEAD_CRC_AT);
    out
}

/// What `page`, found at `place` of segment `segment`, says; none when it is no slot of that place.
/// `page` has `HEADER_MAX` bytes, fewer only at the end of the file.
pub fn decode(page: &[u8], segment: &[u8; 16], place: u64) -> Option<Slot> {
    match page.get(..8)? {
        magic if magic == LIVE => live(page, segment, place).map(Slot::Live),
        magic if magic == DEAD => dead(page, segment, place).map(|len| Slot::Dead { len }),
        _ => None,
    }
}

fn live(page: &[u8], segment: &[u8; 16], place: u64) -> Option<Header> {
    let (size, len, blocks) = (u32_at(page, 12)?, u32_at(page, 20)?, u32_at(page, 88)?);
    let sane = len > 0 && len <= CHUNK_MAX && blocks == block_count(len) && blocks <= BLOCKS_MAX;
    if !sane || size != header_len(len) || version(page)? != VERSION {
        return None;
    }
    let page = page.get(..size as usize)?;
    let own = page[32..48] == *segment && u64_at(page, 48)? == place;
    if !own || !sealed(page, CRC_AT) {
        return None;
    }
    let crcs = (0..blocks as usize)
        .map(|at| u32_at(page, FIXED as usize + 4 * at))
        .collect::<Option<_>>()?;
    Some(Header {
        chunk: ChunkId {
            set: SetId(u32_at(page, 16)?),
            seq: u64_at(page, 24)?,
        },
        len,
        sha256: page[56..88].try_into().ok()?,
        crcs,
    })
}

fn dead(page: &[u8], segment: &[u8; 16], place: u64) -> Option<u64> {
    let page = page.get(..DEAD_LEN)?;
    let len = u64_at(page, 16)?;
    let own = page[24..40] == *segment && u64_at(page, 40)? == place && version(page)? == VERSION;
    let sane = len > 0 && len.is_multiple_of(SLOT_ALIGN);
    (own && sane && sealed(page, DEAD_CRC_AT)).then_some(len)
}

/// Writes the CRC-32C of `out` into its own field, which is zero.
pub(super) fn seal(out: &mut [u8], at: usize) {
    let crc = crc32c(out);
    out[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Whether `page` matches the CRC-32C that it carries at `at`.
pub(super) fn sealed(page: &[u8], at: usize) -> bool {
    let mut copy = page.to_vec();
    copy[at..at + 4].fill(0);
    u32_at(page, at) == Some(crc32c(&copy))
}

fn version(page: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(page.get(8..10)?.try_into().ok()?))
}

pub(super) fn u32_at(page: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(page.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(page: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(page.get(at..at + 8)?.try_into().ok()?))
}
