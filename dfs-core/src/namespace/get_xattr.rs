//! Reading extended attributes: one, or all names.

use super::tx::{Fault, Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::keys::{self, Key};
use crate::op::Reply;
use crate::rows::XattrRow;
use crate::types::{FileKind, XATTR_NAME_MAX};

/// Refuses names that Linux does not know; `user.` belongs to files and directories only.
pub(super) fn check(name: &[u8], kind: FileKind, on_user: FsError) -> Result<(), FsError> {
    if name.is_empty() || name.len() > XATTR_NAME_MAX {
        return Err(FsError::Range);
    }
    if name == super::acl::ACCESS || name == super::acl::DEFAULT {
        return match kind {
            FileKind::Symlink => Err(FsError::NotSupported),
            _ => Ok(()),
        };
    }
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    let Some(prefix) = prefixes.iter().find(|prefix| name.starts_with(prefix)) else {
        return Err(FsError::NotSupported);
    };
    if name.len() == prefix.len() || name.contains(&0) {
        return Err(FsError::Invalid);
    }
    if *prefix == b"user." && !matches!(kind, FileKind::File | FileKind::Directory) {
        return Err(on_user);
    }
    Ok(())
}

pub(super) fn get(tx: &mut Tx<'_>, ino: Ino, name: &[u8]) -> Outcome<Reply> {
    if let Some(wanted) = name.strip_prefix(super::counts::NAMES) {
        return super::counts::value(tx, ino, wanted);
    }
    let row = tx.inode(ino)?;
    let some = row.xattrs > 0;
    check(name, row.kind, FsError::NoAttribute)?;
    let value = match some {
        true => tx.get::<XattrRow>(&keys::xattr(ino, name))?,
        false => None,
    };
    value
        .map(|row| Reply::Value(row.value))
        .ok_or(Fault::Fs(FsError::NoAttribute))
}

pub(super) fn list(tx: &mut Tx<'_>, ino: Ino) -> Outcome<Reply> {
    let mut names = Vec::new();
    if tx.inode(ino)?.xattrs > 0 {
        for (key, _) in tx.scan::<XattrRow>(&keys::prefix::xattrs(ino), usize::MAX)? {
            if let Some(Key::Xattr { name, .. }) = keys::parse(&key) {
                names.push(name);
            }
        }
    }
    Ok(Reply::Names(names))
}
