//! `unlink` and `rmdir`.

use super::names::check_name;
use super::removal::Expected;
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::op::{Reply, Unlink};
use crate::types::FileKind;

pub(super) fn unlink(tx: &mut Tx<'_>, unlink: &Unlink) -> Outcome<Reply> {
    tx.dir(unlink.parent)?;
    check_name(&unlink.name)?;
    if super::names::is_dots(&unlink.name) {
        return Err(FsError::IsDirectory.into());
    }
    let entry = tx.existing(unlink.parent, &unlink.name)?;
    if entry.kind == FileKind::Directory {
        return Err(FsError::IsDirectory.into());
    }
    tx.remove_entry(unlink.parent, &unlink.name, entry)?;
    let from = (unlink.parent, &unlink.name[..]);
    let orphan = tx.drop_link(entry.ino, from, Expected::of(unlink.expect, entry.ino))?;
    Ok(Reply::Removed {
        ino: entry.ino,
        orphan,
    })
}

pub(super) fn rmdir(tx: &mut Tx<'_>, parent: Ino, name: &[u8], held: bool) -> Outcome<Reply> {
    tx.dir(parent)?;
    check_name(name)?;
    match name {
        b"." => return Err(FsError::Invalid.into()),
        b".." => return Err(FsError::NotEmpty.into()),
        _ => {}
    }
    let entry = tx.existing(parent, name)?;
    if entry.kind != FileKind::Directory {
        return Err(FsError::NotDirectory.into());
    }
    if tx.inode(entry.ino)?.size > 0 {
        return Err(FsError::NotEmpty.into());
    }
    tx.remove_entry(parent, name, entry)?;
    let orphan = tx.drop_link(entry.ino, (parent, name), Expected::Held(held))?;
    Ok(Reply::Removed {
        ino: entry.ino,
        orphan,
    })
}
