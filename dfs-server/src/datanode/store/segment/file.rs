//! One segment file: what of it is given out, what lives in it, and when it is sealed. The store's transitions
//! call it; it knows no index.

use super::dead::Dead;
use super::space::Space;
use super::sync::SyncGate;
use dfs_core::chunk::header::{SLOT_ALIGN, SMALL_SLOT, encode_dead};
use dfs_core::chunk::segment::{SEAL_AT, encode_seal};
use nix::fcntl::{FallocateFlags, fallocate};
use parking_lot::Mutex;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Short slots are preceded by so many written zeros: `fdatasync` of 8 KiB then takes 0.09 ms instead of 0.13,
/// since no unwritten extent has to be converted. For long slots the zeros would double the traffic. A MiB at a time took
/// 0.5 to 0.9 ms of CPU at each member, once in a hundred small writes.
const ZEROS: usize = 128 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Takes new slots.
    Open,
    /// Takes none; some are not finished.
    Closing,
    /// Complete: every byte up to its end is a slot, live or dead.
    Sealed,
    /// A sync failed: nothing is added, what is there is served.
    Closed,
    /// The scan found damage: what is there is served, and the file stays for people to look at.
    Damaged,
}

pub struct State {
    pub phase: Phase,
    /// Where the next slot begins.
    pub end: u64,
    /// Size of the file.
    pub size: u64,
    /// Slots that are given out and neither finished nor given up.
    open_slots: u32,
    /// Chunks in it.
    pub live: u32,
    /// Written zeros reach to here.
    zeroed: u64,
}

pub struct Segment {
    pub key: u32,
    pub uuid: [u8; 16],
    pub path: PathBuf,
    pub state: Mutex<State>,
    /// Locked while marks are written, so that they agree with one another.
    pub dead: Mutex<Dead>,
    gate: SyncGate,
    /// For long slots, while slots are given out and where the file system takes it.
    direct: Mutex<Option<Arc<File>>>,
    /// The disk fails to sync this file.
    #[cfg(test)]
    pub broken: std::sync::atomic::AtomicBool,
}

impl Segment {
    pub fn new(key: u32, uuid: [u8; 16], path: PathBuf, phase: Phase, end: u64, size: u64) -> Segment {
        let state = State {
            phase,
            end,
            size,
            open_slots: 0,
            live: 0,
            zeroed: end,
        };
        Segment {
            key,
            uuid,
            path,
            state: Mutex::new(state),
            dead: Mutex::default(),
            gate: SyncGate::default(),
            direct: Mutex::default(),
            #[cfg(test)]
            broken: Default::default(),
        }
    }

    fn sync_file(&self, file: &File, syncs: &AtomicU64) -> io::Result<()> {
        syncs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        file.sync_data()
    }

    /// Gives out the next `slot` bytes; none when they do not fit or nothing is added any more.
    pub fn reserve(&self, slot: u64, file: &File, space: &Space) -> Option<u64> {
        let mut state = self.state.lock();
        if state.phase != Phase::Open || state.end + slot > state.size {
            return None;
        }
        let offset = state.end;
        if slot <= SMALL_SLOT && offset + slot > state.zeroed {
            let zeros = (state.size - offset).min(ZEROS as u64);
            // Only for speed; a failure shows again when the content is written.
            if file.write_all_at(&vec![0; zeros as usize], offset).is_ok() {
                state.zeroed = offset + zeros;
            }
        }
        state.end += slot;
        state.open_slots += 1;
        space.ahead_taken(slot);
        Some(offset)
    }

    /// Makes what was written durable, together with whoever else waits for this segment.
    pub fn sync(&self, file: &File, syncs: &AtomicU64) -> io::Result<()> {
        self.gate.sync(|| self.sync_file(file, syncs)).inspect_err(|_| {
            let mut state = self.state.lock();
            if state.phase != Phase::Damaged {
                state.phase = Phase::Closed;
            }
        })
    }

    /// Makes dead marks durable, also after a sync failed: what was written before it may be lost without another
    /// word, but the marks were written since, and nothing else that was not durable is promised to anybody.
    pub fn sync_marks(&self, file: &File, syncs: &AtomicU64) -> io::Result<()> {
        match self.is_closed() {
            true => self.sync_file(file, syncs),
            false => self.sync(file, syncs),
        }
    }

    /// Whether a sync failed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().phase == Phase::Closed
    }

    /// Gives the unused tail of a segment back to which nothing is added after a failed sync.
    pub fn give_tail_back(&self, file: &File, space: &Space) -> io::Result<()> {
        let mut state = self.state.lock();
        file.set_len(state.end)?;
        space.ahead_taken(state.size - state.end);
        state.size = state.end;
        Ok(())
    }

    /// Long slots may be written past the system's cache from now on, until the segment is closed.
    pub fn write_directly(&self, file: Option<Arc<File>>) {
        *self.direct.lock() = file;
    }

    /// Where a slot of `slot` bytes is written past the system's cache.
    pub fn direct(&self, slot: u64) -> Option<Arc<File>> {
        (slot > SMALL_SLOT).then(|| self.direct.lock().clone()).flatten()
    }

    /// Takes no more slots; sealed when the last one is finished. True when that is now.
    pub fn close(&self) -> bool {
        *self.direct.lock() = None;
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        state.phase == Phase::Closing && state.open_slots == 0
    }

    /// A slot is finished (then a chunk lives in it) or given up. True when the segment has its end now.
    pub fn slot_ended(&self, lives: bool) -> bool {
        let mut state = self.state.lock();
        state.open_slots -= 1;
        state.live += u32::from(lives);
        matches!(state.phase, Phase::Closing | Phase::Closed) && state.open_slots == 0
    }

    /// Writes the seal and gives the unused tail back. The slots are synced first: a seal that is on the disk
    /// promises that every slot is.
    pub fn seal(&self, file: &File, space: &Space, syncs: &AtomicU64) -> io::Result<()> {
        self.sync(file, syncs)?;
        let mut state = self.state.lock();
        if state.phase != Phase::Closing {
            return Ok(());
        }
        file.write_all_at(&encode_seal(state.end, &self.uuid), SEAL_AT)?;
        file.set_len(state.end)?;
        space.ahead_taken(state.size - state.end);
        state.size = state.end;
        state.phase = Phase::Sealed;
        Ok(())
    }

    /// Marks a slot dead. Durable after the next sync.
    pub fn mark_dead(&self, file: &File, offset: u64, slot: u64) -> io::Result<()> {
        file.write_all_at(&encode_dead(slot, &self.uuid, offset), offset)
    }

    /// Frees a dead slot's bytes but the page with its mark.
    pub fn punch(&self, file: &File, offset: u64, slot: u64) {
        self.punch_all(file, offset + SLOT_ALIGN, slot.saturating_sub(SLOT_ALIGN));
    }

    /// Frees bytes. A failure costs space, not truth.
    pub fn punch_all(&self, file: &File, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let Err(e) = fallocate(file, flags, offset as i64, len as i64) {
            tracing::warn!(segment = %self.path.display(), offset, error = %e, "cannot punch a hole");
        }
    }

    /// Whether the file can go: nothing lives in it and nothing is added.
    pub fn is_empty_for_good(&self) -> bool {
        let state = self.state.lock();
        state.live == 0 && state.open_slots == 0 && matches!(state.phase, Phase::Sealed | Phase::Closed)
    }
}
