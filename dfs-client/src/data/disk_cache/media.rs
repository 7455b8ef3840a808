//! The cache file: found and locked, grown, read and written. The tests put a faulty double in its place.

use super::entry::EXTENT_BYTES;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Mounts of one volume that can use a directory at the same time.
const MOUNTS_MAX: u32 = 16;
/// One part in so many of the disk stays free for others.
const FREE_PART: u64 = 20;

/// Where blocks are kept.
pub(super) trait Media: Send + Sync {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Bytes that it has.
    fn len(&self) -> io::Result<u64>;
    /// Takes the end away.
    fn cut(&self, len: u64) -> io::Result<()>;
    /// Reserves one more extent at `offset`, which reads as zeros; `StorageFull` when the disk has no room to spare.
    fn grow(&self, offset: u64) -> io::Result<()>;
    /// Lets the next mount have it.
    fn release(&self);
}

/// A file of a mount's own.
pub(super) struct CacheFile {
    file: File,
}

impl CacheFile {
    /// The first file of the directory that no other mount uses.
    pub fn open(directory: &Path) -> io::Result<CacheFile> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let found = std::fs::symlink_metadata(directory)?;
        // SAFETY: it takes nothing and cannot fail.
        let me = unsafe { libc::geteuid() };
        if !found.is_dir() || found.uid() != me || found.mode() & 0o077 != 0 {
            return Err(io::Error::other(
                "the directory must belong to this user and be closed to others (chmod 700)",
            ));
        }
        for number in 0..MOUNTS_MAX {
            let path = directory.join(format!("blocks-{number}"));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => return Ok(CacheFile { file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "{MOUNTS_MAX} mounts use the directory; give this one another cache-dir"
        )))
    }

    /// Whether so many bytes more leave others enough.
    fn has_room(&self, bytes: u64) -> io::Result<bool> {
        // SAFETY: an all-zero statvfs is valid, and fstatvfs fills it in.
        let mut figures: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and the pointer is to a live statvfs.
        if unsafe { libc::fstatvfs(self.file.as_raw_fd(), &mut figures) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let available = figures.f_bavail.saturating_mul(figures.f_frsize);
        let reserve = figures.f_blocks.saturating_mul(figures.f_frsize) / FREE_PART;
        Ok(available >= bytes + reserve)
    }
}

impl Media for CacheFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn grow(&self, offset: u64) -> io::Result<()> {
        if !self.has_room(EXTENT_BYTES)? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (from, len) = (offset as libc::off_t, EXTENT_BYTES as libc::off_t);
        // SAFETY: plain numbers on an open descriptor.
        if unsafe { libc::fallocate(self.file.as_raw_fd(), 0, from, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => self.file.set_len(offset + EXTENT_BYTES),
            _ => Err(error),
        }
    }

    fn release(&self) {
        // Closing it would unlock it as well; a read may still hold it open.
        let _ = self.file.unlock();
    }
}
