//! A file's content as extent rows: reading them, laying new ones over, cutting, dropping all, with the counts of
//! chunks and blocks that follow. Size and times are the operations'.

use super::tx::{Fault, Outcome, Tx};
use crate::error::FsError;
use crate::extents::{self, Edit};
use crate::ids::Ino;
use crate::keys::{self, Key};
use crate::rows::{ExtentRow, InodeRow, PurgeRow};
use crate::types::{Extent, FileKind, SIZE_MAX};
use crate::view::ViewError;
use std::ops::ControlFlow;

/// Content of at most this many extents is freed at once; more is queued and purged in steps, so that removing
/// a huge file costs its caller nothing.
pub(super) const FREE_AT_ONCE: usize = 64;

/// Bytes of a unit of `blocks`.
const SECTOR: u64 = 512;

/// `blocks` of one extent.
pub(super) fn sectors(extent: &Extent) -> u64 {
    extent.len.div_ceil(SECTOR)
}

/// The end of a range of a file, refused when it is past the largest size.
pub(super) fn range_end(offset: u64, len: u64) -> Result<u64, FsError> {
    offset
        .checked_add(len)
        .filter(|end| *end <= SIZE_MAX)
        .ok_or(FsError::FileTooLarge)
}

impl Tx<'_> {
    /// The inode, which must be a regular file.
    pub fn file(&mut self, ino: Ino) -> Outcome<&InodeRow> {
        let row = self.inode(ino)?;
        match row.kind {
            FileKind::File => Ok(row),
            FileKind::Directory => Err(FsError::IsDirectory.into()),
            _ => Err(FsError::Invalid.into()),
        }
    }

    /// At most `limit` extents that touch `[start, end)`, whole and in order.
    pub fn touching(
        &self,
        ino: Ino,
        content: u64,
        start: u64,
        end: u64,
        limit: usize,
    ) -> Outcome<Vec<Extent>> {
        let mut found = Vec::new();
        let mut damage = None;
        self.visit(&keys::extents_after(ino, content, start), &mut |key, value| {
            match read_extent(key, value) {
                Ok(extent) if extent.offset >= end || found.len() >= limit => return ControlFlow::Break(()),
                Ok(extent) => found.push(extent),
                Err(error) => {
                    damage = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        damage.map_or(Ok(found), |error| Err(Fault::View(error)))
    }

    /// Lays an extent over the file's content.
    pub fn lay(&mut self, ino: Ino, new: Extent) -> Outcome<()> {
        let row = self.change(ino)?;
        let content = row.content;
        // Most commits are the first of a small file: nothing to look for.
        let existing = match row.blocks {
            0 => Vec::new(),
            _ => self.touching(ino, content, new.offset, new.end(), usize::MAX)?,
        };
        self.apply_edit(ino, content, extents::overlay(&existing, new))
    }

    /// Makes `[start, end)` a hole.
    pub fn cut(&mut self, ino: Ino, start: u64, end: u64) -> Outcome<()> {
        let row = self.change(ino)?;
        if row.blocks == 0 || start >= end {
            return Ok(());
        }
        let content = row.content;
        let existing = self.touching(ino, content, start, end, usize::MAX)?;
        self.apply_edit(ino, content, extents::cut(&existing, start, end))
    }

    /// Takes extents away and puts others in their place.
    pub fn apply_edit(&mut self, ino: Ino, content: u64, (removed, added): Edit) -> Outcome<()> {
        // References first rise, then fall: a chunk that is split is never unreferenced in between.
        let row = self.change(ino)?;
        let (mut blocks, mut charged) = (row.blocks, row.charged);
        for extent in &added {
            self.refer(extent)?;
            blocks += sectors(extent);
            charged += extent.len;
        }
        for extent in &removed {
            self.unrefer(extent)?;
            blocks = blocks.saturating_sub(sectors(extent));
            charged = charged.saturating_sub(extent.len);
            self.delete(keys::extent(ino, content, extent.end()));
        }
        for extent in &added {
            self.put(keys::extent(ino, content, extent.end()), &ExtentRow::of(extent));
        }
        let row = self.change(ino)?;
        row.blocks = blocks;
        if row.quota != Ino(0) {
            row.charged = charged;
        }
        Ok(())
    }

    /// Cuts everything from `start` on. When that is much, what stays is copied to a new content number and
    /// the old content is queued.
    pub fn cut_tail(&mut self, ino: Ino, start: u64) -> Outcome<()> {
        let row = self.change(ino)?;
        if row.blocks == 0 {
            return Ok(());
        }
        let content = row.content;
        let goes = self.touching(ino, content, start, u64::MAX, FREE_AT_ONCE + 1)?;
        if goes.len() <= FREE_AT_ONCE {
            return self.apply_edit(ino, content, extents::cut(&goes, start, u64::MAX));
        }
        let stays = self.touching(ino, content, 0, start, FREE_AT_ONCE + 1)?;
        if stays.len() > FREE_AT_ONCE {
            let goes = self.touching(ino, content, start, u64::MAX, usize::MAX)?;
            return self.apply_edit(ino, content, extents::cut(&goes, start, u64::MAX));
        }
        self.queue_content(ino, content);
        let row = self.change(ino)?;
        row.content += 1;
        row.blocks = 0;
        row.charged = 0;
        let kept = stays
            .iter()
            .filter_map(|extent| extents::clip(extent, 0, start))
            .collect();
        self.apply_edit(ino, content + 1, (Vec::new(), kept))
    }

    /// Drops the present content of an inode that goes away.
    pub fn drop_content(&mut self, ino: Ino, row: &InodeRow) -> Outcome<()> {
        if row.blocks == 0 {
            return Ok(());
        }
        let found = self.touching(ino, row.content, 0, u64::MAX, FREE_AT_ONCE + 1)?;
        if found.len() > FREE_AT_ONCE {
            self.queue_content(ino, row.content);
            return Ok(());
        }
        self.free_extents(ino, row.content, &found)
    }

    /// Frees extents of content that no inode refers to any more.
    pub fn free_extents(&mut self, ino: Ino, content: u64, extents: &[Extent]) -> Outcome<()> {
        for extent in extents {
            self.unrefer(extent)?;
            self.delete(keys::extent(ino, content, extent.end()));
        }
        Ok(())
    }

    fn queue_content(&mut self, ino: Ino, content: u64) {
        let since = self.ctx.now;
        self.put(keys::purge(ino, content), &PurgeRow { since });
    }
}

/// The extent in a row.
pub(crate) fn read_extent(key: &[u8], value: &[u8]) -> Result<Extent, ViewError> {
    let row = ExtentRow::decode(key, value)?;
    match keys::parse(key) {
        Some(Key::Extent { end, .. }) => row.extent(end),
        _ => None,
    }
    .ok_or_else(|| ViewError::Damaged {
        key: crate::rows::print_key(key),
        reason: "an extent of no length, or longer than the place it ends at".to_owned(),
    })
}
