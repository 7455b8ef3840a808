//! What can go wrong with a file-system operation, in POSIX's words. The only error of the namespace;
//! `errno` is the one table from here to the kernel.

use serde::{Deserialize, Serialize};

/// A refusal that POSIX can express. The discriminants are wire and row values: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[repr(u8)]
pub enum FsError {
    #[error("no such file or directory")]
    NotFound = 1,
    #[error("file exists")]
    Exists = 2,
    #[error("not a directory")]
    NotDirectory = 3,
    #[error("is a directory")]
    IsDirectory = 4,
    #[error("directory not empty")]
    NotEmpty = 5,
    #[error("operation not permitted")]
    NotPermitted = 6,
    #[error("permission denied")]
    AccessDenied = 7,
    #[error("invalid argument")]
    Invalid = 8,
    #[error("name too long")]
    NameTooLong = 9,
    #[error("too many links")]
    TooManyLinks = 10,
    #[error("file too large")]
    FileTooLarge = 11,
    #[error("no space left")]
    NoSpace = 12,
    #[error("quota exceeded")]
    QuotaExceeded = 13,
    #[error("no such attribute")]
    NoAttribute = 14,
    #[error("result does not fit the buffer")]
    Range = 15,
    #[error("argument list or attribute too long")]
    TooBig = 16,
    #[error("not supported")]
    NotSupported = 17,
    #[error("the inode is gone")]
    Stale = 18,
    #[error("would block")]
    WouldBlock = 19,
    #[error("interrupted")]
    Interrupted = 20,
    #[error("input/output error")]
    Io = 21,
    #[error("timed out waiting for a server")]
    TimedOut = 22,
    #[error("read-only")]
    ReadOnly = 23,
    #[error("resource deadlock avoided")]
    Deadlock = 24,
    #[error("no such device or address")]
    NoData = 25,
    #[error("too many symbolic links")]
    Loop = 26,
    #[error("cross-device link")]
    CrossDevice = 27,
    #[error("no locks available")]
    NoLocks = 28,
    #[error("value too large")]
    Overflow = 29,
    #[error("bad file descriptor")]
    BadHandle = 30,
    #[error("device or resource busy")]
    Busy = 31,
}

/// The result of a namespace operation.
pub type FsResult<T> = Result<T, FsError>;

impl FsError {
    /// Every variant with its Linux errno: the table for the kernel's door and for the wire.
    pub const ALL: [(FsError, i32); 31] = [
        (FsError::NotFound, 2),
        (FsError::Exists, 17),
        (FsError::NotDirectory, 20),
        (FsError::IsDirectory, 21),
        (FsError::NotEmpty, 39),
        (FsError::NotPermitted, 1),
        (FsError::AccessDenied, 13),
        (FsError::Invalid, 22),
        (FsError::NameTooLong, 36),
        (FsError::TooManyLinks, 31),
        (FsError::FileTooLarge, 27),
        (FsError::NoSpace, 28),
        (FsError::QuotaExceeded, 122),
        (FsError::NoAttribute, 61),
        (FsError::Range, 34),
        (FsError::TooBig, 7),
        (FsError::NotSupported, 95),
        (FsError::Stale, 116),
        (FsError::WouldBlock, 11),
        (FsError::Interrupted, 4),
        (FsError::Io, 5),
        (FsError::TimedOut, 110),
        (FsError::ReadOnly, 30),
        (FsError::Deadlock, 35),
        (FsError::NoData, 6),
        (FsError::Loop, 40),
        (FsError::CrossDevice, 18),
        (FsError::NoLocks, 37),
        (FsError::Overflow, 75),
        (FsError::BadHandle, 9),
        (FsError::Busy, 16),
    ];

    /// The Linux errno, positive.
    pub fn errno(self) -> i32 {
        Self::ALL[self as usize - 1].1
    }

    /// The variant with this wire number; `None` when it is of a newer version.
    pub fn from_code(code: u8) -> Option<FsError> {
        Self::ALL
            .get(usize::from(code).checked_sub(1)?)
            .map(|(error, _)| *error)
    }

    /// The wire number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_codes() {
        for (position, (error, _)) in FsError::ALL.iter().enumerate() {
            assert_eq!(error.code() as usize, position + 1);
            assert_eq!(FsError::from_code(error.code()), Some(*error));
        }
        assert_eq!(FsError::from_code(0), None);
        assert_eq!(FsError::from_code(200), None);
    }
}
