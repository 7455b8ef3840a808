//! The bytes that say what a slot of the cache file holds. Read when a mount starts, written after each block; pure.
//!
//! An extent of the file is 256 slots of 64 KiB. The first holds the table: an entry of 64 bytes for each other slot.

use super::super::cache::BlockKey;
use dfs_core::chunk::{BLOCK_SIZE, BLOCKS_MAX, crc32c};
use dfs_core::ids::{ChunkId, SetId};

pub(super) const ENTRY_BYTES: usize = 64;
/// Slots for content in an extent.
pub(super) const EXTENT_SLOTS: u32 = 255;
/// The file grows by this: small beside any cache, large enough that the index is read in few pieces.
pub(super) const EXTENT_BYTES: u64 = (EXTENT_SLOTS as u64 + 1) * BLOCK_SIZE as u64;
/// The table of an extent, entry 0 unused.
pub(super) const TABLE_BYTES: usize = (EXTENT_SLOTS as usize + 1) * ENTRY_BYTES;

/// The last byte is the version of the format.
const MAGIC: [u8; 8] = *b"DFSBLCK\x01";
const CRC_AT: usize = ENTRY_BYTES - 4;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: BlockKey,
    /// Rises with every block written.
    pub number: u64,
    /// Bytes of content, 1 to 64 KiB.
    pub len: u32,
    /// CRC-32C of the content.
    pub crc: u32,
}

impl Entry {
    /// `owner` (the cluster) is part of the checksum: another one's entry does not verify.
    pub fn encode(&self, owner: &[u8]) -> [u8; ENTRY_BYTES] {
        let (chunk, block) = self.key;
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&chunk.seq.to_le_bytes());
        bytes[24..28].copy_from_slice(&chunk.set.0.to_le_bytes());
        bytes[28..32].copy_from_slice(&block.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.len.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.crc.to_le_bytes());
        let crc = checksum(&bytes, owner);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for an empty slot, damage, or another owner's.
    pub fn decode(bytes: &[u8], owner: &[u8]) -> Option<Entry> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes.len() != ENTRY_BYTES || bytes[..8] != MAGIC || word(CRC_AT)? != checksum(bytes, owner) {
            return None;
        }
        let chunk = ChunkId {
            set: SetId(word(24)?),
            seq: long(16)?,
        };
        let entry = Entry {
            key: (chunk, word(28)?),
            number: long(8)?,
            len: word(32)?,
            crc: word(36)?,
        };
        (entry.len > 0 && entry.len <= BLOCK_SIZE && entry.key.1 < BLOCKS_MAX).then_some(entry)
    }
}

fn checksum(bytes: &[u8], owner: &[u8]) -> u32 {
    crc32c(&[owner, &bytes[..CRC_AT]].concat())
}

/// Where a slot's content begins in the file.
pub(super) fn content_at(slot: u32) -> u64 {
    extent_at(slot / EXTENT_SLOTS) + u64::from(slot % EXTENT_SLOTS + 1) * u64::from(BLOCK_SIZE)
}

/// Where a slot's entry is in the file.
pub(super) fn entry_at(slot: u32) -> u64 {
    extent_at(slot / EXTENT_SLOTS) + u64::from(slot % EXTENT_SLOTS + 1) * ENTRY_BYTES as u64
}

pub(super) fn extent_at(extent: u32) -> u64 {
    u64::from(extent) * EXTENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry = Entry {
        key: (
            ChunkId {
                set: SetId(0x01020304),
                seq: 0x1112_1314_1516_1718,
            },
            5,
        ),
        number: 9,
        len: 4096,
        crc: 0xa1a2a3a4,
    };

    #[test]
    fn its_bytes_stay_as_they_are() {
        let bytes = ENTRY.encode(&[7; 16]);
        let hex: String = bytes[..40].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "444653424c434b01090000000000000018171615141312110403020105000000\
             00100000a4a3a2a1"
        );
        assert_eq!(Entry::decode(&bytes, &[7; 16]), Some(ENTRY));
    }

    #[test]
    fn any_flipped_bit_and_any_other_owner_is_noticed() {
        let bytes = ENTRY.encode(&[7; 16]);
        for bit in 0..ENTRY_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&bad, &[7; 16]), None, "bit {bit}");
        }
        assert_eq!(Entry::decode(&bytes, &[8; 16]), None);
        assert_eq!(Entry::decode(&[0; ENTRY_BYTES], &[7; 16]), None);
    }

    #[test]
    fn slots_do_not_overlap() {
        assert_eq!(content_at(0), u64::from(BLOCK_SIZE));
        assert_eq!(content_at(EXTENT_SLOTS - 1) + u64::from(BLOCK_SIZE), extent_at(1));
        assert_eq!(entry_at(EXTENT_SLOTS), extent_at(1) + ENTRY_BYTES as u64);
        assert!(TABLE_BYTES <= BLOCK_SIZE as usize);
    }
}
