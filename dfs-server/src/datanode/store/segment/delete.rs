//! Deleting: a durable mark for each run of dead slots, one sync for all of a segment, then holes; a segment in which nothing
//! lives goes whole.

use super::super::StoreError;
use super::Inner;
use super::file::Segment;
use super::index::Place;
use dfs_core::ids::ChunkId;
use std::collections::HashMap;
use std::fs::File;

impl Inner {
    pub(super) fn delete(&self, chunks: &[ChunkId]) -> Vec<(ChunkId, StoreError)> {
        let mut failures = Vec::new();
        let mut by_segment: HashMap<u32, Vec<(ChunkId, Place)>> = HashMap::new();
        {
            let mut index = self.index.write();
            for &chunk in chunks {
                if !index.claim(chunk) {
                    failures.push((chunk, StoreError::Busy(chunk)));
                } else if let Some(place) = index.get(chunk) {
                    by_segment.entry(place.segment).or_default().push((chunk, place));
                } else {
                    index.unclaim(chunk);
                }
            }
        }
        for (key, group) in by_segment {
            let places: Vec<Place> = group.iter().map(|(_, place)| *place).collect();
            let killed = self.kill(key, &places);
            let mut index = self.index.write();
            for (chunk, _) in group {
                match &killed {
                    Ok(()) => drop(index.remove(chunk)),
                    Err(e) => failures.push((chunk, e.clone())),
                }
                index.unclaim(chunk);
            }
        }
        failures
    }

    /// Marks slots of one segment dead, durably, and frees them.
    pub(super) fn kill(&self, key: u32, places: &[Place]) -> Result<(), StoreError> {
        let segment = self.segment(key)?;
        let file = self.file(&segment)?;
        let failed = |e: std::io::Error| StoreError::io("cannot delete", &e);
        {
            let mut dead = segment.dead.lock();
            let deeds = dead.plan(places);
            for (offset, len) in &deeds.marks {
                segment.mark_dead(&file, *offset, *len).map_err(failed)?;
            }
            segment.sync_marks(&file, &self.syncs).map_err(failed)?;
            dead.done(&deeds.marks);
            for (offset, len) in deeds.holes {
                segment.punch_all(&file, offset, len);
            }
        }
        for place in places {
            self.space.release(place.slot());
        }
        segment.state.lock().live -= places.len() as u32;
        self.unlink_if_empty(&segment);
        Ok(())
    }

    /// Removes the file of a segment that nobody needs. Lost in a crash, the scan removes it.
    pub(super) fn unlink_if_empty(&self, segment: &Segment) {
        if !segment.is_empty_for_good() || self.segments.write().remove(&segment.key).is_none() {
            return;
        }
        self.files.forget(segment.key);
        let removed = std::fs::remove_file(&segment.path);
        let synced = removed.and_then(|()| match segment.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        });
        if let Err(e) = synced {
            self.report(format!("cannot remove {}: {e}", segment.path.display()));
        }
    }
}
