//! The rows of the trash, of quotas by directory and of the volume's settings. Written by the namespace, shown by
//! the coordinator, judged by the checker.

use crate::ids::Ino;
use crate::types::FileKind;
use serde::{Deserialize, Serialize};

/// A number that an operator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingRow {
    pub value: u64,
}

/// The entry under which an inode was last known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub parent: Ino,
    pub name: Vec<u8>,
}

/// A removed inode that can still be brought back; when it was removed is in the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashRow {
    pub origin: Origin,
    pub kind: FileKind,
    /// Allocated bytes when it was removed.
    pub bytes: u64,
    /// The trash's age then, or a little more: seconds that leaders have counted. Wall clocks jump; this decides how
    /// long it stays.
    pub age: u64,
}

/// Whether a quota counts everything below its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaState {
    /// What was there before is still being counted.
    Counting,
    Active,
    /// It limits nothing any more and is handing back what it counts.
    Removing,
}

/// The quota of a directory and everything below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRow {
    /// `u64::MAX` is no limit.
    pub limit_bytes: u64,
    pub limit_inodes: u64,
    /// Bytes that extents of files below refer to; nested quotas included.
    pub used_bytes: u64,
    /// Inodes below, the directory itself included.
    pub used_inodes: u64,
    /// Bytes promised to sessions that have accepted writes; nested quotas included.
    pub reserved: u64,
    /// The nearest quota above; 0 for none.
    pub parent: Ino,
    pub state: QuotaState,
}

/// Bytes of a quota promised to a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedRow {
    pub bytes: u64,
}

/// A directory whose entries are still to be given to a quota, or taken from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkRow {
    /// The cookie of the last entry that was.
    pub after: u64,
}

/// What is below a directory, or what has come to it and was not added to those above it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRow {
    /// Sum of the sizes of what is no directory.
    pub bytes: i64,
    /// Inodes that are no directories.
    pub files: i64,
    pub dirs: i64,
}

impl CountRow {
    pub fn add(&mut self, other: CountRow) {
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.files = self.files.wrapping_add(other.files);
        self.dirs = self.dirs.wrapping_add(other.dirs);
    }

    pub fn negative(self) -> CountRow {
        CountRow {
            bytes: self.bytes.wrapping_neg(),
            files: self.files.wrapping_neg(),
            dirs: self.dirs.wrapping_neg(),
        }
    }

    pub fn is_zero(&self) -> bool {
        *self == CountRow::default()
    }
}

/// A name of an inode besides the one that counts; which one is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherNameRow;
