//! The first page of a segment file: whose it is, and, once it is full, that it is. Datanodes write and read
//! it. Two sectors: the identity, written at creation, and the seal, written when nothing will be added. The identity's
//! version is the layout of the slots: programs before a layout take such a segment for a damaged one and leave it alone.

use super::header::{DEAD_LEN, Layout, seal, sealed, u32_at, u64_at};
use crate::ids::SetId;

/// Slots begin after the first page.
pub const FIRST_SLOT: u64 = super::header::SLOT_ALIGN;
/// The seal's place in the first page: a sector of its own.
pub const SEAL_AT: u64 = 512;
/// The part of the first page that is used.
pub const PAGE_LEN: usize = 1024;

const MAGIC: [u8; 8] = *b"DFSSEGM\x01";
const SEAL: [u8; 8] = *b"DFSSEAL\x01";
const SEAL_VERSION: u32 = 1;
const SECTOR: usize = DEAD_LEN;
const CRC_AT: usize = SECTOR - 4;

/// What the first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPage {
    pub set: SetId,
    /// Of all its slots.
    pub layout: Layout,
    /// Where the last slot ends, when the segment is sealed.
    pub sealed_at: Option<u64>,
}

/// The identity of a segment of replica set `set`.
pub fn encode_identity(layout: Layout, set: SetId, segment: &[u8; 16]) -> Vec<u8> {
    sector(&MAGIC, layout.version().into(), set.0.into(), segment)
}

/// The seal of a segment whose last slot ends at `end`.
pub fn encode_seal(end: u64, segment: &[u8; 16]) -> Vec<u8> {
    sector(&SEAL, SEAL_VERSION, end, segment)
}

fn sector(magic: &[u8; 8], version: u32, value: u64, segment: &[u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SECTOR);
    out.extend_from_slice(magic);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(segment);
    out.resize(SECTOR, 0);
    seal(&mut out, CRC_AT);
    out
}

/// Reads the first page of segment `segment`; none when its identity is damaged or another's. A damaged seal
/// counts as absent: the reader then checks each chunk.
pub fn decode(page: &[u8], segment: &[u8; 16]) -> Option<FirstPage> {
    let (version, set) = values(page.get(..SECTOR)?, &MAGIC, segment)?;
    let seal = page.get(SEAL_AT as usize..PAGE_LEN);
    let seal = seal.and_then(|sector| values(sector, &SEAL, segment));
    Some(FirstPage {
        set: SetId(u32::try_from(set).ok()?),
        layout: Layout::of_version(version)?,
        sealed_at: seal.and_then(|(version, end)| (version == SEAL_VERSION).then_some(end)),
    })
}

/// The version of a sector, and what it says.
fn values(sector: &[u8], magic: &[u8; 8], segment: &[u8; 16]) -> Option<(u32, u64)> {
    let own = sector[..8] == *magic && sector[24..40] == *segment;
    if own && sealed(sector, CRC_AT) {
        Some((u32_at(sector, 8)?, u64_at(sector, 16)?))
    } else {
        None
    }
}
