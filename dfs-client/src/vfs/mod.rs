//! The file system as the kernel's door calls it.

mod types;

pub use types::*;

use crate::config::MountConfig;
use crate::wait::Cancel;
use bytes::Bytes;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::lock::Lock;
use dfs_core::op::{AttrChanges, RenameMode, XattrMode};
use dfs_core::types::{Attr, FileKind};
use std::sync::Arc;

pub struct Vfs {}

type LockDone = Box<dyn FnOnce(FsResult<()>) + Send>;
const NOT_YET: FsError = FsError::NotSupported;

#[rustfmt::skip]
#[allow(unused_variables)]
impl Vfs {
    pub fn start(config: MountConfig) -> Result<Arc<Vfs>, MountError> { Ok(Arc::new(Vfs {})) }
    pub fn set_kernel_cache(&self, cache: Arc<dyn KernelCache>) {}
    pub fn root_attr(&self) -> FsResult<Attr> { Err(NOT_YET) }
    pub fn lookup(&self, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<Found> { Err(NOT_YET) }
    pub fn forget(&self, ino: Ino, nlookup: u64) {}
    pub fn getattr(&self, caller: &Caller<'_>, ino: Ino, fh: Option<u64>) -> FsResult<(Attr, Ttl)> { Err(NOT_YET) }
    pub fn setattr(&self, caller: &Caller<'_>, ino: Ino, fh: Option<u64>, changes: AttrChanges) -> FsResult<(Attr, Ttl)> { Err(NOT_YET) }
    pub fn readlink(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<Vec<u8>> { Err(NOT_YET) }
    #[allow(clippy::too_many_arguments)]
    pub fn make(&self, caller: &Caller<'_>, parent: Ino, name: &[u8], kind: FileKind, mode: u32, umask: u32, rdev: u32, target: &[u8]) -> FsResult<Entry> { Err(NOT_YET) }
    pub fn create(&self, caller: &Caller<'_>, parent: Ino, name: &[u8], mode: u32, umask: u32, flags: i32) -> FsResult<(Entry, Opened)> { Err(NOT_YET) }
    pub fn tmpfile(&self, caller: &Caller<'_>, parent: Ino, mode: u32, umask: u32, flags: i32) -> FsResult<(Entry, Opened)> { Err(NOT_YET) }
    pub fn unlink(&self, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<()> { Err(NOT_YET) }
    pub fn rmdir(&self, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<()> { Err(NOT_YET) }
    pub fn rename(&self, caller: &Caller<'_>, parent: Ino, name: &[u8], new_parent: Ino, new_name: &[u8], mode: RenameMode) -> FsResult<()> { Err(NOT_YET) }
    pub fn link(&self, caller: &Caller<'_>, ino: Ino, new_parent: Ino, new_name: &[u8]) -> FsResult<Entry> { Err(NOT_YET) }
    pub fn open(&self, caller: &Caller<'_>, ino: Ino, flags: i32, kill_suidgid: bool) -> FsResult<Opened> { Err(NOT_YET) }
    pub fn read(&self, caller: &Caller<'_>, ino: Ino, fh: u64, offset: u64, size: u32) -> FsResult<Vec<Bytes>> { Err(NOT_YET) }
    pub fn write(&self, caller: &Caller<'_>, ino: Ino, fh: u64, offset: u64, data: &[u8], kill_suidgid: bool) -> FsResult<usize> { Err(NOT_YET) }
    pub fn flush(&self, caller: &Caller<'_>, ino: Ino, fh: u64, lock_owner: u64) -> FsResult<()> { Err(NOT_YET) }
    pub fn release(&self, ino: Ino, fh: u64, flock_owner: Option<u64>) {}
    pub fn fsync(&self, caller: &Caller<'_>, ino: Ino, fh: Option<u64>, datasync: bool) -> FsResult<()> { Err(NOT_YET) }
    pub fn fsyncdir(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<()> { Err(NOT_YET) }
    pub fn syncfs(&self, caller: &Caller<'_>) -> FsResult<()> { Err(NOT_YET) }
    pub fn opendir(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<Opened> { Err(NOT_YET) }
    pub fn releasedir(&self, ino: Ino, fh: u64) {}
    pub fn readdir(&self, caller: &Caller<'_>, ino: Ino, fh: u64, offset: u64, plus: bool, sink: &mut dyn FnMut(DirSlot<'_>) -> bool) -> FsResult<()> { Err(NOT_YET) }
    pub fn statfs(&self, caller: &Caller<'_>) -> FsResult<StatFs> { Err(NOT_YET) }
    pub fn getxattr(&self, caller: &Caller<'_>, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> { Err(NOT_YET) }
    pub fn listxattr(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<Vec<Vec<u8>>> { Err(NOT_YET) }
    pub fn setxattr(&self, caller: &Caller<'_>, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode, kill_sgid: bool) -> FsResult<()> { Err(NOT_YET) }
    pub fn removexattr(&self, caller: &Caller<'_>, ino: Ino, name: &[u8]) -> FsResult<()> { Err(NOT_YET) }
    pub fn getlk(&self, caller: &Caller<'_>, ino: Ino, lock: Lock) -> FsResult<Option<Lock>> { Err(NOT_YET) }
    pub fn setlk(&self, caller: &Caller<'_>, ino: Ino, lock: Lock, wait: bool, cancel: Option<Cancel>, done: LockDone) { done(Err(NOT_YET)) }
    pub fn fallocate(&self, caller: &Caller<'_>, ino: Ino, fh: u64, mode: i32, offset: u64, len: u64) -> FsResult<()> { Err(NOT_YET) }
    pub fn lseek(&self, caller: &Caller<'_>, ino: Ino, fh: u64, offset: u64, whence: i32) -> FsResult<u64> { Err(NOT_YET) }
    #[allow(clippy::too_many_arguments)]
    pub fn copy_file_range(&self, caller: &Caller<'_>, src: Ino, src_fh: u64, src_offset: u64, dst: Ino, dst_fh: u64, dst_offset: u64, len: u64) -> FsResult<u64> { Err(NOT_YET) }
    pub fn shutdown(&self) {}
}
