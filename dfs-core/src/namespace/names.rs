//! Names and directories: what may be a name, finding, adding and removing entries with all that a directory
//! keeps about them. The operations on names call it.

use super::tx::{Fault, Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::keys;
use crate::rows::{DentryRow, InodeRow};
use crate::types::{FileKind, NAME_MAX};

/// Most ancestors of a directory: paths are given piece by piece, so only this ends a walk in a damaged tree.
const DEPTH_MAX: usize = 1 << 16;

/// Refuses what cannot be a name of an entry. `.` and `..` are not names: the caller says what they mean.
pub(super) fn check_name(name: &[u8]) -> Result<(), FsError> {
    if name.len() > NAME_MAX {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() {
        return Err(FsError::NotFound);
    }
    if name.contains(&b'/') || name.contains(&0) {
        return Err(FsError::Invalid);
    }
    Ok(())
}

pub(super) fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

impl Tx<'_> {
    /// The inode, which must be a directory.
    pub fn dir(&mut self, ino: Ino) -> Outcome<&InodeRow> {
        let row = self.inode(ino)?;
        match row.is_dir() {
            true => Ok(row),
            false => Err(FsError::NotDirectory.into()),
        }
    }

    /// A directory that can take entries: a removed one that is still open cannot.
    pub fn living_dir(&mut self, ino: Ino) -> Outcome<&InodeRow> {
        let row = self.dir(ino)?;
        match row.nlink {
            0 => Err(FsError::NotFound.into()),
            _ => Ok(row),
        }
    }

    pub fn entry(&self, parent: Ino, name: &[u8]) -> Outcome<Option<DentryRow>> {
        self.get(&keys::dentry(parent, name))
    }

    /// The entry, which must exist.
    pub fn existing(&self, parent: Ino, name: &[u8]) -> Outcome<DentryRow> {
        self.entry(parent, name)?.ok_or(Fault::Fs(FsError::NotFound))
    }

    /// Adds an entry for an inode: the directory's size, times, links and a directory's way up.
    pub fn add_entry(&mut self, parent: Ino, name: &[u8], ino: Ino, kind: FileKind) -> Outcome<()> {
        let now = self.time;
        let dir = self.change(parent)?;
        dir.size += 1;
        dir.mtime = now;
        dir.ctime = now;
        if kind == FileKind::Directory {
            dir.nlink = dir.nlink.checked_add(1).ok_or(FsError::TooManyLinks)?;
            let child = self.peek(ino)?.map(|row| row.parent);
            if child != Some(parent) {
                self.change(ino)?.parent = parent;
            }
        }
        self.put(keys::dentry(parent, name), &DentryRow { ino, kind });
        self.count_name(ino, parent, name)
    }

    /// Removes an entry; the inode itself is the caller's.
    pub fn remove_entry(
        &mut self,
        parent: Ino,
        name: &[u8],
        DentryRow { ino, kind }: DentryRow,
    ) -> Outcome<()> {
        let now = self.time;
        let dir = self.change(parent)?;
        dir.size = dir.size.saturating_sub(1);
        dir.mtime = now;
        dir.ctime = now;
        if kind == FileKind::Directory {
            dir.nlink = dir.nlink.saturating_sub(1);
        }
        self.delete(keys::dentry(parent, name));
        self.uncount_name(ino, parent, name)
    }

    /// Whether `ino` is `dir` or one of the directories above it. Ways up change only by renames, which write
    /// the moved directory; so the walk takes no note of what it reads.
    pub fn is_at_or_above(&mut self, ino: Ino, dir: Ino) -> Outcome<bool> {
        let mut place = dir;
        for _ in 0..DEPTH_MAX {
            if place == ino {
                return Ok(true);
            }
            let up = self.peek(place)?.map_or(Ino::ROOT, |row| row.parent);
            if place == Ino::ROOT || up == place {
                return Ok(false);
            }
            place = up;
        }
        Err(FsError::Loop.into())
    }
}
