//! The thread that opens the cache file, reads its index, and writes blocks into it until the queue ends.

use super::super::cache::BlockKey;
use super::Shared;
use super::entry::{self, ENTRY_BYTES, EXTENT_BYTES, EXTENT_SLOTS, Entry, TABLE_BYTES};
use super::media::Media;
use bytes::Bytes;
use dfs_core::chunk::crc32c;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

impl Shared {
    /// The thread's whole life; `loaded` hears when the index is there, or never will be.
    pub(super) fn run(
        &self,
        open: impl FnOnce() -> io::Result<Box<dyn Media>>,
        jobs: Receiver<(BlockKey, Bytes)>,
        loaded: SyncSender<()>,
    ) {
        if let Err(error) = self.load(open) {
            self.give_up("it cannot be opened", &error);
        }
        drop(loaded);
        let mut may_grow = true;
        // Goes on when the cache is off: whoever fills the queue finds it emptied.
        while let Ok((key, content)) = jobs.recv() {
            if !self.off.load(Ordering::Relaxed)
                && let Err(error) = self.write(key, &content, &mut may_grow)
            {
                self.give_up("it cannot be written", &error);
            }
            self.dealt.fetch_add(1, Ordering::Relaxed);
        }
        self.off.store(true, Ordering::Relaxed);
        if let Some(media) = self.media.get() {
            media.release();
        }
    }

    fn load(&self, open: impl FnOnce() -> io::Result<Box<dyn Media>>) -> io::Result<()> {
        if self.extents_max == 0 {
            return Err(io::Error::other(format!(
                "cache-size is below {} MiB",
                EXTENT_BYTES >> 20
            )));
        }
        let media = open()?;
        let there = (media.len()? / EXTENT_BYTES).min(u64::from(self.extents_max)) as u32;
        if media.len()? != entry::extent_at(there) {
            media.cut(entry::extent_at(there))?;
        }
        let mut table = vec![0; TABLE_BYTES];
        for extent in 0..there {
            media.read_at(&mut table, entry::extent_at(extent))?;
            let entries = table.chunks_exact(ENTRY_BYTES).skip(1);
            self.index
                .lock()
                .add_extent(entries.map(|bytes| Entry::decode(bytes, &self.owner)));
        }
        // Only now: nothing is read or written before all is known.
        let _ = self.media.set(media);
        Ok(())
    }

    fn write(&self, key: BlockKey, content: &[u8], may_grow: &mut bool) -> io::Result<()> {
        let Some(media) = self.media.get() else {
            return Ok(());
        };
        if self.index.lock().contains(&key) {
            return Ok(());
        }
        let Some(slot) = self.slot(media.as_ref(), may_grow)? else {
            return Ok(());
        };
        let crc = crc32c(content);
        let entry = Entry {
            key,
            number: self.index.lock().next_number(),
            len: content.len() as u32,
            crc,
        };
        media.write_at(content, entry::content_at(slot))?;
        media.write_at(&entry.encode(&self.owner), entry::entry_at(slot))?;
        self.index.lock().fill(slot, key, entry.len, crc);
        let bytes = u64::from(entry.len);
        self.happened.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// A slot to write into: an empty one, one of a new extent, or that of an old block.
    fn slot(&self, media: &dyn Media, may_grow: &mut bool) -> io::Result<Option<u32>> {
        if let Some(slot) = self.index.lock().take_free() {
            return Ok(Some(slot));
        }
        let extents = self.index.lock().extents();
        if *may_grow && extents < self.extents_max {
            match media.grow(entry::extent_at(extents)) {
                Ok(()) => {
                    let mut index = self.index.lock();
                    index.add_extent((0..EXTENT_SLOTS).map(|_| None));
                    return Ok(index.take_free());
                }
                Err(error) if error.kind() == io::ErrorKind::StorageFull && extents > 0 => {
                    *may_grow = false;
                    tracing::warn!(place = %self.place.display(), mebibytes = entry::extent_at(extents) >> 20,
                        "the disk of the cache has no room to spare; the cache stays as large as it is");
                }
                Err(error) => return Err(error),
            }
        }
        let slot = self.index.lock().evict();
        self.happened.evicted_blocks.fetch_add(1, Ordering::Relaxed);
        Ok(slot)
    }
}
