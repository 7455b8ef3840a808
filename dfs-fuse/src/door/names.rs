//! Callbacks on names in directories: look up, make, remove, rename, link.

use dfs_client::vfs::{Caller, Found, Vfs};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::RenameMode;
use dfs_core::types::FileKind;

use super::convert;
use crate::kernel::answer::{Done, Entry};
use crate::kernel::request::{MkNod, Rename};

pub fn lookup(vfs: &Vfs, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<Entry> {
    match vfs.lookup(caller, parent, name)? {
        Found::Entry(entry) => Ok(convert::entry(&entry)),
        // An absence that may not be kept is a plain error, which the kernel does not cache.
        Found::Absent { ttl } if ttl.is_zero() => Err(FsError::NotFound),
        Found::Absent { ttl } => Ok(Entry::absent(ttl)),
    }
}

pub fn symlink(vfs: &Vfs, caller: &Caller<'_>, parent: Ino, name: &[u8], target: &[u8]) -> FsResult<Entry> {
    let made = vfs.make(caller, parent, name, FileKind::Symlink, 0o777, 0, 0, target)?;
    Ok(convert::entry(&made))
}

pub fn mknod(vfs: &Vfs, caller: &Caller<'_>, parent: Ino, name: &[u8], make: &MkNod) -> FsResult<Entry> {
    let kind = convert::kind(make.mode).ok_or(FsError::Invalid)?;
    let made = vfs.make(
        caller,
        parent,
        name,
        kind,
        make.mode & 0o7777,
        make.umask,
        make.rdev,
        &[],
    )?;
    Ok(convert::entry(&made))
}

pub fn mkdir(
    vfs: &Vfs,
    caller: &Caller<'_>,
    parent: Ino,
    name: &[u8],
    mode: u32,
    umask: u32,
) -> FsResult<Entry> {
    let made = vfs.make(
        caller,
        parent,
        name,
        FileKind::Directory,
        mode & 0o7777,
        umask,
        0,
        &[],
    )?;
    Ok(convert::entry(&made))
}

pub fn unlink(vfs: &Vfs, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<Done> {
    vfs.unlink(caller, parent, name).map(|()| Done)
}

pub fn rmdir(vfs: &Vfs, caller: &Caller<'_>, parent: Ino, name: &[u8]) -> FsResult<Done> {
    vfs.rmdir(caller, parent, name).map(|()| Done)
}

pub fn rename(vfs: &Vfs, caller: &Caller<'_>, parent: Ino, rename: &Rename<'_>) -> FsResult<Done> {
    let mode = match rename.flags {
        0 => RenameMode::Replace,
        libc::RENAME_NOREPLACE => RenameMode::NoReplace,
        libc::RENAME_EXCHANGE => RenameMode::Exchange,
        _ => return Err(FsError::Invalid),
    };
    vfs.rename(
        caller,
        parent,
        rename.name,
        Ino(rename.new_parent),
        rename.new_name,
        mode,
    )
    .map(|()| Done)
}

pub fn link(vfs: &Vfs, caller: &Caller<'_>, parent: Ino, node: u64, new_name: &[u8]) -> FsResult<Entry> {
    vfs.link(caller, Ino(node), parent, new_name)
        .map(|entry| convert::entry(&entry))
}
