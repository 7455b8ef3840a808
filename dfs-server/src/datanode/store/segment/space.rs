//! How much the store holds and may still take. Writers reserve here before they write.

use super::super::StoreError;
use super::Settings;
use parking_lot::Mutex;
use std::path::Path;

#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// Slots of chunks that are here.
    pub used: u64,
    /// Slots of chunks on their way.
    pub pending: u64,
    /// Preallocated and not yet given to a slot: on the disk these bytes count as used already.
    pub ahead: u64,
}

#[derive(Default)]
pub struct Space(Mutex<Counts>);

impl Space {
    pub fn counts(&self) -> Counts {
        *self.0.lock()
    }

    /// Reserves a slot below `capacity`.
    pub fn take(&self, slot: u64, capacity: u64) -> Result<(), StoreError> {
        let mut counts = self.0.lock();
        if counts.used + counts.pending + slot > capacity {
            return Err(StoreError::Full { needed: slot });
        }
        counts.pending += slot;
        Ok(())
    }

    /// A slot on its way is given up.
    pub fn give_up(&self, slot: u64) {
        self.0.lock().pending -= slot;
    }

    /// A slot on its way has arrived.
    pub fn settle(&self, slot: u64) {
        let mut counts = self.0.lock();
        counts.pending -= slot;
        counts.used += slot;
    }

    /// A chunk is found at opening.
    pub fn found(&self, slot: u64) {
        self.0.lock().used += slot;
    }

    /// A chunk is deleted.
    pub fn release(&self, slot: u64) {
        self.0.lock().used -= slot;
    }

    /// `added` bytes were preallocated.
    pub fn ahead(&self, added: u64) {
        self.0.lock().ahead += added;
    }

    /// `taken` preallocated bytes became a slot, or went back to the disk.
    pub fn ahead_taken(&self, taken: u64) {
        self.0.lock().ahead -= taken;
    }
}

/// Bytes of the disk that holds `path` that are free for us, this store's part, without the reserve.
pub fn disk_free(path: &Path, settings: &Settings) -> Result<u64, StoreError> {
    let figures = nix::sys::statvfs::statvfs(path)
        .map_err(|e| StoreError::Io(format!("cannot ask the disk for its space: {e}")))?;
    let free = figures.blocks_available() as u64 * figures.fragment_size() as u64;
    Ok(free.saturating_sub(settings.reserve) / settings.sharers.max(1))
}

impl super::Inner {
    /// Most bytes of slots.
    pub(super) fn capacity(&self) -> u64 {
        let counts = self.space.counts();
        let disk = disk_free(&self.root, &self.settings).unwrap_or(0);
        let all = counts.used + counts.pending + counts.ahead + disk;
        self.settings.capacity.map_or(all, |set| set.min(all))
    }

    pub(super) fn usage(&self) -> super::Usage {
        let capacity = self.capacity();
        let counts = self.space.counts();
        super::Usage {
            capacity,
            used: counts.used,
            free: capacity.saturating_sub(counts.used + counts.pending),
            chunks: self.index.read().len(),
        }
    }
}
