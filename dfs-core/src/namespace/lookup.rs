//! `lookup` and `readlink`.

use super::names::check_name;
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::op::Reply;
use crate::types::FileKind;

pub(super) fn lookup(tx: &mut Tx<'_>, parent: Ino, name: &[u8]) -> Outcome<Reply> {
    let up = tx.dir(parent)?.parent;
    let ino = match name {
        b"." => parent,
        b".." => up,
        _ => {
            check_name(name)?;
            tx.existing(parent, name)?.ino
        }
    };
    Ok(Reply::Entry {
        attr: tx.attr(ino)?,
        created: false,
    })
}

pub(super) fn read_link(tx: &mut Tx<'_>, ino: Ino) -> Outcome<Reply> {
    let row = tx.inode(ino)?;
    match row.kind {
        FileKind::Symlink => Ok(Reply::Target(row.target.clone())),
        _ => Err(FsError::Invalid.into()),
    }
}
