//! What precedes each chunk in a segment file, byte for byte. Datanodes write and scan it. The segment's UUID
//! and the chunk's own place are in it, so that user data that looks like a header is never taken for one.
//!
//! Little-endian, padded with zeros:
//! magic 8, version u16, zero u16, header length u32, set u32, content length u32, sequence u64,
//! segment UUID 16, place u64, SHA-256 32, block count u32, CRC-32C of the header with this field zero u32,
//! CRC-32C of each block u32. The content follows. A dead slot (deleted, or never finished) has instead
//! magic 8, version u16, zero u16, zero u32, slot length u64, segment UUID 16, place u64, CRC-32C u32.
//!
//! There are two layouts, which the version tells apart. In the first, the header's own CRC covers its padding. In the
//! second it ends before the page table: the CRC-32C of each page, u32, which the blocks' CRCs vouch for (`pages`).

use super::pages::page_count;
use super::{BLOCKS_MAX, CHUNK_MAX, block_count, crc32c};
use crate::ids::{ChunkId, SetId};

/// Slots begin at multiples of this: a torn or unreadable page harms one chunk, and a punched hole frees all.
pub const SLOT_ALIGN: u64 = 4096;
/// Headers are multiples of a disk sector.
pub const HEADER_ALIGN: u32 = 512;
/// Longer slots are written past the system's cache: in the second layout their content begins at a page of the disk.
pub const SMALL_SLOT: u64 = 128 * 1024;
/// So many bytes of a slot hold any header, but for the page table.
pub const HEADER_MAX: usize = header_len(Layout::Blocks, CHUNK_MAX) as usize;
/// A dead slot's mark: one sector, so that it is written whole or not at all.
pub const DEAD_LEN: usize = HEADER_ALIGN as usize;

const LIVE: [u8; 8] = *b"DFSCHNK\x01";
const DEAD: [u8; 8] = *b"DFSDEAD\x01";
const DEAD_VERSION: u16 = 1;
const FIXED: u32 = 96;
const CRC_AT: usize = 92;
const DEAD_CRC_AT: usize = 48;

/// What a slot has checksums of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Of blocks: what programs before the page table wrote. It is still read.
    Blocks,
    /// Of blocks and of pages.
    Pages,
}

impl Layout {
    /// Of all slots that are made.
    pub const NEW: Layout = Layout::Pages;

    /// As headers and segments say it.
    pub(super) const fn version(self) -> u16 {
        match self {
            Layout::Blocks => 1,
            Layout::Pages => 2,
        }
    }

    pub(super) fn of_version(version: u32) -> Option<Layout> {
        match version {
            1 => Some(Layout::Blocks),
            2 => Some(Layout::Pages),
            _ => None,
        }
    }
}

/// A chunk in its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub layout: Layout,
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

/// Where the content of a chunk of `len` bytes begins in its slot.
pub const fn header_len(layout: Layout, len: u32) -> u32 {
    match layout {
        Layout::Blocks => table_at(len).next_multiple_of(HEADER_ALIGN),
        Layout::Pages => {
            let end = table_at(len) + 4 * page_count(len);
            let short = end.next_multiple_of(HEADER_ALIGN);
            if short as u64 + len as u64 <= SMALL_SLOT {
                short
            } else {
                end.next_multiple_of(SLOT_ALIGN as u32)
            }
        }
    }
}

/// Bytes that a chunk of `len` content bytes takes in its segment.
pub const fn slot_len(layout: Layout, len: u32) -> u64 {
    (header_len(layout, len) as u64 + len as u64).next_multiple_of(SLOT_ALIGN)
}

/// So many bytes of a slot are what its header's own checksum covers.
pub const fn covered_len(layout: Layout, len: u32) -> u32 {
    match layout {
        Layout::Blocks => header_len(layout, len),
        Layout::Pages => table_at(len),
    }
}

/// Where the page table begins in the slot of a chunk of `len` bytes.
pub const fn table_at(len: u32) -> u32 {
    FIXED + 4 * block_count(len)
}

/// What precedes the content of a chunk at `place` of segment `segment`. `pages` is the CRC-32C of each page; the first
/// layout has no room for it.
pub fn encode(header: &Header, pages: &[u32], segment: &[u8; 16], place: u64) -> Vec<u8> {
    let size = header_len(header.layout, header.len);
    let mut out = Vec::with_capacity(size as usize);
    out.extend_from_slice(&LIVE);
    out.extend_from_slice(&header.layout.version().to_le_bytes());
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
    push_all(&mut out, &header.crcs);
    if header.layout == Layout::Blocks {
        out.resize(size as usize, 0);
        seal(&mut out, CRC_AT);
    } else {
        seal(&mut out, CRC_AT);
        push_all(&mut out, pages);
        out.resize(size as usize, 0);
    }
    out
}

fn push_all(out: &mut Vec<u8>, crcs: &[u32]) {
    out.extend(crcs.iter().flat_map(|crc| crc.to_le_bytes()));
}

/// The checksums of part of a page table.
pub fn decode_table(part: &[u8]) -> Vec<u32> {
    let crcs = part.as_chunks::<4>().0.iter();
    crcs.map(|crc| u32::from_le_bytes(*crc)).collect()
}

/// The mark of a dead slot of `len` bytes at `place` of segment `segment`.
pub fn encode_dead(len: u64, segment: &[u8; 16], place: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(DEAD_LEN);
    out.extend_from_slice(&DEAD);
    out.extend_from_slice(&DEAD_VERSION.to_le_bytes());
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
    let layout = Layout::of_version(version(page)?.into())?;
    if !sane || size != header_len(layout, len) {
        return None;
    }
    let page = page.get(..covered_len(layout, len) as usize)?;
    let own = page[32..48] == *segment && u64_at(page, 48)? == place;
    if !own || !sealed(page, CRC_AT) {
        return None;
    }
    let crcs = (0..blocks as usize)
        .map(|at| u32_at(page, FIXED as usize + 4 * at))
        .collect::<Option<_>>()?;
    Some(Header {
        layout,
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
    let own = page[24..40] == *segment && u64_at(page, 40)? == place && version(page)? == DEAD_VERSION;
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
