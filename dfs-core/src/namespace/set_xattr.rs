//! Setting and removing extended attributes, with the ties of POSIX ACLs to the permission bits.

use super::acl::{self, Acl};
use super::get_xattr::check;
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::keys;
use crate::op::{Reply, XattrMode};
use crate::rows::XattrRow;
use crate::types::XATTR_VALUE_MAX;

/// Most xattrs of an inode: their names fit what `listxattr` can return, and freeing an inode stays one step.
const XATTRS_MAX: u32 = 1024;
/// File capabilities: gone with each change of the content or the owner, as on Linux.
const CAPABILITY: &[u8] = b"security.capability";
const SET_GID: u32 = 0o2000;

pub(super) fn set(
    tx: &mut Tx<'_>,
    ino: Ino,
    name: &[u8],
    value: &[u8],
    mode: XattrMode,
    kill_sgid: bool,
) -> Outcome<Reply> {
    let kind = tx.inode(ino)?.kind;
    check(name, kind, FsError::NotPermitted)?;
    if value.len() > XATTR_VALUE_MAX {
        return Err(FsError::TooBig.into());
    }
    if name == acl::ACCESS {
        set_access_acl(tx, ino, value, kill_sgid)?;
    } else if name == acl::DEFAULT {
        set_default_acl(tx, ino, value)?;
    } else {
        let exists = tx.has_xattr(ino, name)?;
        match mode {
            XattrMode::Create if exists => return Err(FsError::Exists.into()),
            XattrMode::Replace if !exists => return Err(FsError::NoAttribute.into()),
            _ => tx.put_xattr(ino, name, value)?,
        }
    }
    let now = tx.time;
    tx.change(ino)?.ctime = now;
    Ok(Reply::Done)
}

/// The list sets the permission bits; one that says no more than they do is not kept.
fn set_access_acl(tx: &mut Tx<'_>, ino: Ino, value: &[u8], kill_sgid: bool) -> Outcome<()> {
    let Some(list) = Acl::parse(value)? else {
        tx.delete_xattr(ino, acl::ACCESS)?;
        return Ok(());
    };
    let (bits, equivalent) = list.mode();
    let row = tx.change(ino)?;
    row.mode = row.mode & !0o777 | bits;
    if kill_sgid {
        row.mode &= !SET_GID;
    }
    match equivalent {
        true => tx.delete_xattr(ino, acl::ACCESS).map(|_| ()),
        false => tx.put_xattr(ino, acl::ACCESS, &list.encode()),
    }
}

fn set_default_acl(tx: &mut Tx<'_>, ino: Ino, value: &[u8]) -> Outcome<()> {
    let list = Acl::parse(value)?;
    let is_dir = tx.inode(ino)?.is_dir();
    match list {
        None => tx.delete_xattr(ino, acl::DEFAULT).map(|_| ()),
        Some(_) if !is_dir => Err(FsError::AccessDenied.into()),
        Some(list) => tx.put_xattr(ino, acl::DEFAULT, &list.encode()),
    }
}

/// Removing a list that is not there succeeds, as on Linux's local file systems.
pub(super) fn remove(tx: &mut Tx<'_>, ino: Ino, name: &[u8]) -> Outcome<Reply> {
    let kind = tx.inode(ino)?.kind;
    check(name, kind, FsError::NotPermitted)?;
    let removed = tx.delete_xattr(ino, name)?;
    if !removed && name != acl::ACCESS && name != acl::DEFAULT {
        return Err(FsError::NoAttribute.into());
    }
    if removed {
        let now = tx.time;
        tx.change(ino)?.ctime = now;
    }
    Ok(Reply::Done)
}

impl Tx<'_> {
    pub fn xattr(&mut self, ino: Ino, name: &[u8]) -> Outcome<Option<Vec<u8>>> {
        if self.peek(ino)?.is_none_or(|row| row.xattrs == 0) {
            return Ok(None);
        }
        Ok(self
            .get::<XattrRow>(&keys::xattr(ino, name))?
            .map(|row| row.value))
    }

    pub fn has_xattr(&mut self, ino: Ino, name: &[u8]) -> Outcome<bool> {
        Ok(self.xattr(ino, name)?.is_some())
    }

    pub fn put_xattr(&mut self, ino: Ino, name: &[u8], value: &[u8]) -> Outcome<()> {
        let exists = self.has_xattr(ino, name)?;
        let row = self.change(ino)?;
        if !exists {
            if row.xattrs >= XATTRS_MAX {
                return Err(FsError::NoSpace.into());
            }
            row.xattrs += 1;
        }
        self.put(
            keys::xattr(ino, name),
            &XattrRow {
                value: value.to_vec(),
            },
        );
        Ok(())
    }

    /// Says whether it was there.
    pub fn delete_xattr(&mut self, ino: Ino, name: &[u8]) -> Outcome<bool> {
        if !self.has_xattr(ino, name)? {
            return Ok(false);
        }
        self.change(ino)?.xattrs -= 1;
        self.delete(keys::xattr(ino, name));
        Ok(true)
    }

    pub fn drop_capability(&mut self, ino: Ino) -> Outcome<()> {
        self.delete_xattr(ino, CAPABILITY).map(|_| ())
    }
}
