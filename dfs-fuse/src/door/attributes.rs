//! Callbacks on attributes: stat, statx, setattr, statfs.

use dfs_client::vfs::{Caller, Vfs};
use dfs_core::error::FsResult;
use dfs_core::ids::Ino;
use dfs_core::op::{self, AttrChanges};

use super::convert;
use crate::kernel::answer::{Attributes, Extended, Statistics};
use crate::kernel::request::{SetAttr, SetTime, Statx};

pub fn getattr(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, handle: Option<u64>) -> FsResult<Attributes> {
    let (attr, valid) = vfs.getattr(caller, ino, handle)?;
    Ok(Attributes {
        valid,
        attr: convert::attr(&attr),
    })
}

pub fn statx(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, statx: &Statx) -> FsResult<Extended> {
    let (attr, valid) = vfs.getattr(caller, ino, statx.handle)?;
    Ok(Extended {
        valid,
        attr: convert::attr(&attr),
        birth: Some(convert::time(attr.btime)),
    })
}

pub fn setattr(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, set: &SetAttr) -> FsResult<Attributes> {
    let (attr, valid) = vfs.setattr(caller, ino, set.handle, changes(set))?;
    Ok(Attributes {
        valid,
        attr: convert::attr(&attr),
    })
}

/// The kernel names a ctime only when it keeps times itself, which it does not here.
fn changes(set: &SetAttr) -> AttrChanges {
    AttrChanges {
        mode: set.mode.map(|mode| mode & 0o7777),
        uid: set.uid,
        gid: set.gid,
        size: set.size,
        atime: set.atime.map(set_time),
        mtime: set.mtime.map(set_time),
        ctime: None,
        kill_suidgid: set.kill_suidgid,
    }
}

fn set_time(time: SetTime) -> op::SetTime {
    match time {
        SetTime::Now => op::SetTime::Now,
        SetTime::At(time) => op::SetTime::At(convert::core_time(time)),
    }
}

pub fn statfs(vfs: &Vfs, caller: &Caller<'_>, ino: Ino) -> FsResult<Statistics> {
    let figures = vfs.statfs(caller, ino)?;
    Ok(Statistics {
        blocks: figures.blocks,
        bfree: figures.bfree,
        bavail: figures.bavail,
        files: figures.files,
        ffree: figures.ffree,
        bsize: figures.bsize,
        namelen: figures.namelen,
        frsize: figures.bsize,
    })
}
