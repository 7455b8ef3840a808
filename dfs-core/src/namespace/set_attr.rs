//! `setattr`: chmod, chown, truncate, utimens. Sizes change only here, in `commit` and in `allocate`.

use super::acl::{self, Acl};
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::op::{AttrChanges, Reply, SetTime};
use crate::types::{SIZE_MAX, Timestamp};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

pub(super) fn set_attr(tx: &mut Tx<'_>, ino: Ino, changes: &AttrChanges) -> Outcome<Reply> {
    let is_dir = tx.inode(ino)?.is_dir();
    if let Some(size) = changes.size {
        truncate(tx, ino, size)?;
    }
    if changes.uid.is_some() || changes.gid.is_some() {
        let row = tx.change(ino)?;
        row.uid = changes.uid.unwrap_or(row.uid);
        row.gid = changes.gid.unwrap_or(row.gid);
        if !is_dir {
            tx.kill_suidgid(ino)?;
        }
    }
    if changes.kill_suidgid && !is_dir {
        tx.kill_suidgid(ino)?;
    }
    if let Some(mode) = changes.mode {
        chmod(tx, ino, mode)?;
    }
    let now = tx.time;
    let at = |time: SetTime| match time {
        SetTime::Now => now,
        SetTime::At(time) => time,
    };
    let row = tx.change(ino)?;
    if let Some(time) = changes.atime {
        row.atime = at(time);
    }
    if let Some(time) = changes.mtime {
        row.mtime = at(time);
    }
    // A given time comes with an access time that a client tells late: what changed meanwhile counts.
    row.ctime = changes.ctime.map_or(now, |given| row.ctime.max(given));
    Ok(Reply::Attr(tx.attr(ino)?))
}

/// Sets the size. What is cut is gone: growing again shows zeros.
fn truncate(tx: &mut Tx<'_>, ino: Ino, size: u64) -> Outcome<()> {
    let now: Timestamp = tx.time;
    tx.file(ino)?;
    if size > SIZE_MAX {
        return Err(FsError::FileTooLarge.into());
    }
    let row = tx.change(ino)?;
    let old = row.size;
    row.size = size;
    row.mtime = now;
    if size < old {
        row.content_epoch += 1;
    }
    if size <= old {
        tx.cut_tail(ino, size)?;
    }
    tx.drop_capability(ino)
}

/// The permission bits, and the access list that must agree with them.
fn chmod(tx: &mut Tx<'_>, ino: Ino, mode: u32) -> Outcome<()> {
    tx.change(ino)?.mode = mode & 0o7777;
    if let Some(value) = tx.xattr(ino, acl::ACCESS)?
        && let Some(mut list) = Acl::parse(&value)?
    {
        list.set_mode(mode);
        tx.put_xattr(ino, acl::ACCESS, &list.encode())?;
    }
    Ok(())
}

impl Tx<'_> {
    /// Clears set-user-id, set-group-id where the group may execute, and file capabilities.
    pub fn kill_suidgid(&mut self, ino: Ino) -> Outcome<()> {
        let row = self.change(ino)?;
        row.mode &= !SET_UID;
        if row.mode & GROUP_EXECUTE != 0 {
            row.mode &= !SET_GID;
        }
        self.drop_capability(ino)
    }
}
