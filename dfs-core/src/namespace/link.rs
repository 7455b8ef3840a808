//! `link`: another name for an inode; also the first one of an `O_TMPFILE` inode.

use super::names::{check_name, is_dots};
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::keys;
use crate::op::Reply;
use crate::rows::OrphanRow;
use crate::types::LINK_MAX;

pub(super) fn link(tx: &mut Tx<'_>, ino: Ino, parent: Ino, name: &[u8]) -> Outcome<Reply> {
    let quota = tx.living_dir(parent)?.quota;
    check_name(name)?;
    if is_dots(name) || tx.entry(parent, name)?.is_some() {
        return Err(FsError::Exists.into());
    }
    let row = tx.inode(ino)?;
    let (kind, nlink) = (row.kind, row.nlink);
    if row.is_dir() {
        return Err(FsError::NotPermitted.into());
    }
    if nlink >= LINK_MAX {
        return Err(FsError::TooManyLinks.into());
    }
    if nlink == 0 {
        match tx.get::<OrphanRow>(&keys::orphan(ino))? {
            Some(orphan) if orphan.linkable => tx.remove_orphan(ino, &orphan),
            _ => return Err(FsError::NotFound.into()),
        }
    }
    match nlink {
        0 => tx.adopt(ino, quota)?,
        // It would be in two quotas.
        _ if tx.inode(ino)?.quota != quota => return Err(FsError::CrossDevice.into()),
        _ => {}
    }
    let now = tx.time;
    let row = tx.change(ino)?;
    row.nlink += 1;
    row.ctime = now;
    tx.add_entry(parent, name, ino, kind)?;
    Ok(Reply::Entry {
        attr: tx.attr(ino)?,
        created: false,
    })
}
