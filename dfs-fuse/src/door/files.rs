//! Callbacks on open files: open, write, close, sync, allocate, seek, copy.

use dfs_client::vfs::{Caller, Vfs, WriteHow};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;

use super::convert;
use crate::kernel::answer::{Copied, Created, Done, Offset, Opened, Written};
use crate::kernel::request::{Allocate, CopyRange, Create, Open, Release, Seek, Write};

pub fn open(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, open: &Open) -> FsResult<Opened> {
    vfs.open(caller, ino, open.flags as i32, open.kill_suidgid)
        .map(|opened| convert::opened(&opened))
}

pub fn create(
    vfs: &Vfs,
    caller: &Caller<'_>,
    parent: Ino,
    name: &[u8],
    create: &Create,
) -> FsResult<Created> {
    let mode = create.mode & 0o7777;
    let (entry, opened) = vfs.create(caller, parent, name, mode, create.umask, create.flags as i32)?;
    Ok(Created {
        entry: convert::entry(&entry),
        opened: convert::opened(&opened),
    })
}

pub fn tmpfile(vfs: &Vfs, caller: &Caller<'_>, parent: Ino, create: &Create) -> FsResult<Created> {
    let mode = create.mode & 0o7777;
    let (entry, opened) = vfs.tmpfile(caller, parent, mode, create.umask, create.flags as i32)?;
    Ok(Created {
        entry: convert::entry(&entry),
        opened: convert::opened(&opened),
    })
}

/// `sync`: mounted so that no write returns before it is durable.
pub fn write(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, write: &Write<'_>, sync: bool) -> FsResult<Written> {
    let how = WriteHow {
        flags: write.flags as i32,
        from_cache: write.from_cache,
        kill_suidgid: write.kill_suidgid,
    };
    let taken = vfs.write(caller, ino, write.handle, write.offset, write.data, how)?;
    if sync {
        vfs.fsync(caller, ino, Some(write.handle), true)?;
    }
    Ok(Written(u32::try_from(taken).map_err(|_| FsError::Io)?))
}

pub fn flush(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, handle: u64, lock_owner: u64) -> FsResult<Done> {
    vfs.flush(caller, ino, handle, lock_owner).map(|()| Done)
}

pub fn release(vfs: &Vfs, _caller: &Caller<'_>, ino: Ino, release: &Release) -> FsResult<Done> {
    vfs.release(ino, release.handle);
    Ok(Done)
}

pub fn fsync(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, handle: u64, data_only: bool) -> FsResult<Done> {
    vfs.fsync(caller, ino, Some(handle), data_only).map(|()| Done)
}

pub fn fallocate(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, allocate: &Allocate) -> FsResult<Done> {
    let Allocate {
        handle,
        offset,
        length,
        mode,
    } = *allocate;
    vfs.fallocate(caller, ino, handle, mode as i32, offset, length)
        .map(|()| Done)
}

pub fn lseek(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, seek: &Seek) -> FsResult<Offset> {
    vfs.lseek(caller, ino, seek.handle, seek.offset, seek.whence as i32)
        .map(Offset)
}

pub fn copy_file_range(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, copy: &CopyRange) -> FsResult<Copied> {
    if copy.flags != 0 {
        return Err(FsError::Invalid);
    }
    let to = Ino(copy.node_out);
    let copied = vfs.copy_file_range(
        caller,
        ino,
        copy.handle_in,
        copy.offset_in,
        to,
        copy.handle_out,
        copy.offset_out,
        copy.length,
    )?;
    Ok(Copied(copied))
}
