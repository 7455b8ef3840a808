//! Gives out slots: from the segment that a set writes to, or from a new one.

use super::super::StoreError;
use super::file::{Phase, Segment};
use super::space::disk_free;
use super::{Inner, Writing};
use dfs_core::chunk::header::Layout;
use dfs_core::chunk::segment::{FIRST_SLOT, encode_identity};
use dfs_core::ids::SetId;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// Sets of one directory: directories stay short.
const SETS_OF_DIRECTORY: u32 = 1000;
/// A store with little capacity has short segments, so that what is deleted comes back soon.
const SEGMENTS_OF_CAPACITY: u64 = 16;

/// A slot that was given out.
pub struct Slot {
    pub segment: Arc<Segment>,
    pub file: Arc<File>,
    pub offset: u64,
}

/// Where the segments of `set` are.
pub fn set_directory(root: &Path, set: SetId) -> PathBuf {
    root.join(format!("{:03}", set.0 / SETS_OF_DIRECTORY))
        .join(set.0.to_string())
}

impl Inner {
    /// A slot of `slot` bytes for a chunk of `set`.
    pub(super) fn reserve(&self, set: SetId, slot: u64) -> Result<Slot, StoreError> {
        self.space.take(slot, self.capacity())?;
        let given = self.reserve_taken(set, slot);
        if given.is_err() {
            self.space.give_up(slot);
        }
        given
    }

    fn reserve_taken(&self, set: SetId, slot: u64) -> Result<Slot, StoreError> {
        let writing = self.sets.lock().entry(set).or_default().clone();
        let mut writing = writing.lock();
        if let Some(segment) = writing.active.clone() {
            let file = self.file(&segment)?;
            if let Some(offset) = segment.reserve(slot, &file, &self.space) {
                return Ok(Slot {
                    segment,
                    file,
                    offset,
                });
            }
            writing.active = None;
            if segment.close() {
                self.seal(&segment, &file);
            }
        }
        let (segment, file) = self.create(set, &mut writing, slot)?;
        let offset = segment.reserve(slot, &file, &self.space);
        let offset = offset.ok_or_else(|| StoreError::Io("a new segment has no room".into()))?;
        Ok(Slot {
            segment,
            file,
            offset,
        })
    }

    pub(super) fn file(&self, segment: &Segment) -> Result<Arc<File>, StoreError> {
        let opened = self.files.get(segment.key, &segment.path);
        opened.map_err(|e| StoreError::io(&format!("cannot open {}", segment.path.display()), &e))
    }

    /// Nothing is added to the segment any more, and every slot is finished or given up.
    pub(super) fn seal(&self, segment: &Segment, file: &File) {
        let ended = match segment.is_closed() {
            true => segment.give_tail_back(file, &self.space),
            false => segment.seal(file, &self.space, &self.syncs),
        };
        if let Err(e) = ended {
            self.report(format!("cannot seal {}: {e}", segment.path.display()));
        }
        self.unlink_if_empty(segment);
    }

    fn create(
        &self,
        set: SetId,
        writing: &mut Writing,
        slot: u64,
    ) -> Result<(Arc<Segment>, Arc<File>), StoreError> {
        let failed = |what: &str, e: &std::io::Error| StoreError::io(what, e);
        let dir = set_directory(&self.root, set);
        self.make_directory(&dir)
            .map_err(|e| failed("cannot make a set's directory", &e))?;
        let uuid = Uuid::new_v4();
        let path = dir.join(format!("{:08}-{uuid}.seg", writing.next_number));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let file = file.map_err(|e| failed("cannot make a segment", &e))?;
        let made = self.preallocate_at_need(&file, slot).and_then(|size| {
            let identity = encode_identity(Layout::NEW, set, uuid.as_bytes());
            let written = file.write_all_at(&identity, 0).and_then(|()| file.sync_data());
            written
                .and_then(|()| File::open(&dir)?.sync_all())
                .map_err(|e| failed("cannot begin a segment", &e))?;
            Ok(size)
        });
        let size = made.inspect_err(|_| {
            if let Err(e) = std::fs::remove_file(&path) {
                tracing::warn!(segment = %path.display(), error = %e, "cannot remove an unfinished segment");
            }
        })?;
        writing.next_number += 1;
        let key = self.next_key.fetch_add(1, Ordering::Relaxed) as u32;
        let segment = Segment::new(key, *uuid.as_bytes(), path, Phase::Open, FIRST_SLOT, size);
        segment.write_directly(super::direct::open(&segment.path));
        let (segment, file) = (Arc::new(segment), Arc::new(file));
        self.space.ahead(size - FIRST_SLOT);
        self.files.keep(key, file.clone());
        self.segments.write().insert(key, segment.clone());
        writing.active = Some(segment.clone());
        Ok((segment, file))
    }

    /// On a full disk the unused tails of other sets' segments go back first.
    fn preallocate_at_need(&self, file: &File, slot: u64) -> Result<u64, StoreError> {
        match self.preallocate(file, slot) {
            Err(StoreError::Full { .. }) => {
                self.give_back_tails();
                self.preallocate(file, slot)
            }
            other => other,
        }
    }

    /// Closes the segments that other sets write to; a set that is busy is passed over, since its owner may be
    /// waiting for ours.
    pub(super) fn give_back_tails(&self) {
        let all: Vec<_> = self.sets.lock().values().cloned().collect();
        for writing in all {
            let Some(mut writing) = writing.try_lock() else {
                continue;
            };
            let Some(segment) = writing.active.take() else {
                continue;
            };
            if segment.close()
                && let Ok(file) = self.file(&segment)
            {
                self.seal(&segment, &file);
            }
        }
    }

    /// Allocates the file's blocks: the wanted size, or on a nearly full disk less, but at least `slot`.
    fn preallocate(&self, file: &File, slot: u64) -> Result<u64, StoreError> {
        let least = FIRST_SLOT + slot;
        let part = self.capacity() / SEGMENTS_OF_CAPACITY;
        let mut size = self
            .settings
            .segment_size
            .min(part.next_multiple_of(FIRST_SLOT))
            .max(least);
        let free = disk_free(&self.root, &self.settings)?;
        if free < least {
            return Err(StoreError::Full { needed: least });
        }
        loop {
            let fits = size <= free;
            match fits.then(|| fallocate(file, FallocateFlags::empty(), 0, size as i64)) {
                Some(Ok(())) => return Ok(size),
                Some(Err(e)) if e != nix::Error::ENOSPC => {
                    return Err(StoreError::Io(format!("cannot preallocate a segment: {e}")));
                }
                _ if size == least => return Err(StoreError::Full { needed: least }),
                _ => size = (size / 2).next_multiple_of(FIRST_SLOT).max(least),
            }
        }
    }

    fn make_directory(&self, dir: &Path) -> std::io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(dir)?;
        let above = dir.ancestors().take_while(|path| path.starts_with(&self.root));
        for path in above {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    }
}
