//! Which block is in which slot, and which slot is given up next. In memory, bounded by the number of slots. Knows
//! no file.

use super::super::cache::BlockKey;
use super::entry::{EXTENT_SLOTS, Entry};
use dfs_core::ids::{ChunkId, SetId};
use std::collections::HashMap;

/// Blocks that are spared in a row because they were read; then one goes all the same, so that finding one is short.
const SPARED_MAX: usize = 1024;

const NOTHING: BlockKey = (
    ChunkId {
        set: SetId(0),
        seq: 0,
    },
    0,
);

/// `len` is 0 when it holds nothing.
#[derive(Clone, Copy)]
struct Slot {
    key: BlockKey,
    len: u32,
    crc: u32,
    /// Read since the hand came by.
    read: bool,
}

/// Where a block is and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub slot: u32,
    pub len: u32,
    pub crc: u32,
}

#[derive(Default)]
pub(super) struct Index {
    places: HashMap<BlockKey, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Goes round the slots in the order in which they were filled.
    hand: usize,
    number: u64,
}

impl Index {
    /// The slots of one more extent: as its table says, `None` for empty ones.
    pub fn add_extent(&mut self, entries: impl Iterator<Item = Option<Entry>>) {
        let mut empty = Vec::new();
        for entry in entries.take(EXTENT_SLOTS as usize) {
            let slot = self.slots.len() as u32;
            self.slots.push(Slot {
                key: NOTHING,
                len: 0,
                crc: 0,
                read: false,
            });
            match entry {
                // A block is there twice when a bad copy was dropped and fetched again: both are checked when read.
                Some(entry) if !self.places.contains_key(&entry.key) => {
                    self.fill(slot, entry.key, entry.len, entry.crc);
                    if entry.number >= self.number {
                        self.number = entry.number + 1;
                        self.hand = slot as usize + 1;
                    }
                }
                _ => empty.push(slot),
            }
        }
        // Taken from the end: slots are filled upwards, as the hand goes.
        self.free.extend(empty.into_iter().rev());
    }

    pub fn extents(&self) -> u32 {
        self.slots.len() as u32 / EXTENT_SLOTS
    }

    pub fn blocks(&self) -> usize {
        self.places.len()
    }

    pub fn contains(&self, key: &BlockKey) -> bool {
        self.places.contains_key(key)
    }

    /// Where the block is; it counts as read.
    pub fn find(&mut self, key: &BlockKey) -> Option<Place> {
        let slot = *self.places.get(key)?;
        let held = self.slots.get_mut(slot as usize)?;
        held.read = true;
        Some(Place {
            slot,
            len: held.len,
            crc: held.crc,
        })
    }

    /// A slot that holds nothing.
    pub fn take_free(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives up the oldest block that was not read lately; `None` when nothing is held.
    pub fn evict(&mut self) -> Option<u32> {
        let mut spared = 0;
        for _ in 0..2 * self.slots.len() {
            let at = self.hand % self.slots.len();
            self.hand = at + 1;
            let slot = &mut self.slots[at];
            if slot.len == 0 {
                continue;
            }
            if slot.read && spared < SPARED_MAX {
                slot.read = false;
                spared += 1;
                continue;
            }
            slot.len = 0;
            self.places.remove(&slot.key);
            return Some(at as u32);
        }
        None
    }

    /// The number for the next entry.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }

    /// The slot, taken before, now holds the block.
    pub fn fill(&mut self, slot: u32, key: BlockKey, len: u32, crc: u32) {
        self.slots[slot as usize] = Slot {
            key,
            len,
            crc,
            read: false,
        };
        self.places.insert(key, slot);
    }

    /// The slot's content is not what it must be: whether the block was still said to be there.
    pub fn forget(&mut self, key: &BlockKey, place: Place) -> bool {
        let held = self
            .slots
            .get_mut(place.slot as usize)
            .filter(|held| held.key == *key && held.len == place.len && held.crc == place.crc);
        let Some(held) = held else { return false };
        held.len = 0;
        self.places.remove(key);
        self.free.push(place.slot);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seq: u64) -> BlockKey {
        (ChunkId { set: SetId(1), seq }, 0)
    }

    fn full() -> Index {
        let mut index = Index::default();
        index.add_extent((0..EXTENT_SLOTS).map(|_| None));
        while let Some(slot) = index.take_free() {
            index.fill(slot, key(u64::from(slot)), 10, slot);
        }
        index
    }

    #[test]
    fn what_is_read_outlives_what_is_not() {
        let mut index = full();
        for seq in 0..100 {
            index.find(&key(seq)).unwrap();
        }
        for _ in 0..155 {
            let slot = index.evict().unwrap();
            assert!(slot >= 100);
            index.fill(slot, key(1000 + u64::from(slot)), 10, 0);
        }
        assert!((0..100).all(|seq| index.contains(&key(seq))));
        assert_eq!(index.evict(), Some(0));
        assert_eq!(index.blocks(), 254);
    }

    #[test]
    fn one_goes_even_when_all_were_read() {
        let mut index = full();
        assert!((0..255).all(|seq| index.find(&key(seq)).is_some()));
        assert!(index.evict().is_some());
        assert_eq!(Index::default().evict(), None);
    }

    #[test]
    fn after_a_restart_the_oldest_goes_first() {
        let entry = |slot: u64| Entry {
            key: key(slot),
            // The newest is in slot 99.
            number: (slot + 155) % 255,
            len: 1,
            crc: 0,
        };
        let mut index = Index::default();
        index.add_extent((0..255).map(|slot| Some(entry(slot))));
        assert_eq!(index.evict(), Some(100));
        assert_eq!(index.next_number(), 255);
    }

    #[test]
    fn only_what_is_still_there_is_forgotten() {
        let mut index = full();
        let place = index.find(&key(7)).unwrap();
        assert!(index.forget(&key(7), place));
        assert!(!index.forget(&key(7), place));
        assert_eq!(index.take_free(), Some(7));
        index.fill(7, key(1007), 10, 1);
        assert!(!index.forget(&key(7), place) && index.contains(&key(1007)));
    }
}
