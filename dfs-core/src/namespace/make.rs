//! `mknod`, `mkdir`, `symlink`, `open(O_CREAT)` and `open(O_TMPFILE)`: new inodes with what they inherit.

use super::acl::{self, Acl};
use super::names::{check_name, is_dots};
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::op::{Make, Reply};
use crate::rows::{DentryRow, InodeRow, OrphanRow};
use crate::types::{Credentials, FileKind, SYMLINK_MAX};

const SET_GID: u32 = 0o2000;
/// What `mkdir` takes of a mode: permissions and sticky bit.
const DIR_MODE: u32 = 0o1777;
const FILE_MODE: u32 = 0o7777;

/// The lists that a new inode gets.
#[derive(Default)]
struct Inherited {
    access: Option<Acl>,
    default: Option<Vec<u8>>,
}

pub(super) fn make(tx: &mut Tx<'_>, make: &Make) -> Outcome<Reply> {
    tx.living_dir(make.parent)?;
    check_name(&make.name)?;
    if is_dots(&make.name) {
        return Err(FsError::Exists.into());
    }
    if let Some(entry) = tx.entry(make.parent, &make.name)? {
        return found(tx, make, entry);
    }
    if make.kind == FileKind::Symlink {
        match make.target.len() {
            0 => return Err(FsError::NotFound.into()),
            len if len > SYMLINK_MAX => return Err(FsError::NameTooLong.into()),
            _ => {}
        }
    }
    let (row, inherited) = new_inode(tx, make.parent, make.kind, make.mode, make.umask, make.who)?;
    let row = match make.kind {
        FileKind::Symlink => InodeRow {
            size: make.target.len() as u64,
            target: make.target.clone(),
            ..row
        },
        FileKind::CharDevice | FileKind::BlockDevice => InodeRow {
            rdev: make.rdev,
            ..row
        },
        _ => row,
    };
    let ino = tx.create(row);
    give_lists(tx, ino, inherited)?;
    tx.add_entry(make.parent, &make.name, ino, make.kind)?;
    Ok(Reply::Entry {
        attr: created_attr(tx, ino)?,
        created: true,
    })
}

fn found(tx: &mut Tx<'_>, make: &Make, entry: DentryRow) -> Outcome<Reply> {
    if make.exclusive || make.kind != FileKind::File {
        return Err(FsError::Exists.into());
    }
    match entry.kind {
        FileKind::File => Ok(Reply::Entry {
            attr: tx.attr(entry.ino)?,
            created: false,
        }),
        FileKind::Directory => Err(FsError::IsDirectory.into()),
        _ => Err(FsError::Exists.into()),
    }
}

pub(super) fn make_temp(
    tx: &mut Tx<'_>,
    parent: Ino,
    mode: u32,
    umask: u32,
    who: Credentials,
) -> Outcome<Reply> {
    tx.living_dir(parent)?;
    let (row, inherited) = new_inode(tx, parent, FileKind::File, mode, umask, who)?;
    let ino = tx.create(InodeRow { nlink: 0, ..row });
    give_lists(tx, ino, inherited)?;
    let session = tx.ctx.session;
    let orphan = OrphanRow {
        holders: vec![session],
        linkable: true,
        origin: None,
    };
    tx.put_orphan(ino, &orphan);
    Ok(Reply::Entry {
        attr: created_attr(tx, ino)?,
        created: true,
    })
}

/// A new inode is nobody's to recall: it counts as neither read nor written.
fn created_attr(tx: &mut Tx<'_>, ino: Ino) -> Outcome<crate::types::Attr> {
    let attr = tx.attr(ino)?;
    tx.reads.remove(&ino);
    tx.writes.remove(&ino);
    Ok(attr)
}

fn new_inode(
    tx: &mut Tx<'_>,
    parent: Ino,
    kind: FileKind,
    mode: u32,
    umask: u32,
    who: Credentials,
) -> Outcome<(InodeRow, Inherited)> {
    let now = tx.time;
    let is_dir = kind == FileKind::Directory;
    let dir = tx.inode(parent)?;
    let inherits_group = dir.mode & SET_GID != 0;
    let gid = if inherits_group { dir.gid } else { who.gid };
    let quota = dir.quota;
    let (mut mode, inherited) = match kind {
        FileKind::Symlink => (0o777, Inherited::default()),
        FileKind::Directory => permissions(tx, parent, mode & DIR_MODE, umask, true)?,
        _ => permissions(tx, parent, mode & FILE_MODE, umask, false)?,
    };
    if is_dir && inherits_group {
        mode |= SET_GID;
    }
    let row = InodeRow {
        kind,
        mode,
        nlink: if is_dir { 2 } else { 1 },
        uid: who.uid,
        gid,
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        version: 1,
        content_epoch: 0,
        parent: if is_dir { parent } else { Ino(0) },
        content: 0,
        xattrs: 0,
        target: Vec::new(),
        quota,
        charged: 0,
        home: Ino(0),
        place: 0,
    };
    Ok((row, inherited))
}

/// The mode after the parent's default list or, without one, the umask.
fn permissions(
    tx: &mut Tx<'_>,
    parent: Ino,
    mode: u32,
    umask: u32,
    is_dir: bool,
) -> Outcome<(u32, Inherited)> {
    let Some(value) = tx.xattr(parent, acl::DEFAULT)? else {
        return Ok((mode & !(umask & 0o777), Inherited::default()));
    };
    // The row was checked when it was set; a list that cannot be read now must not open the new inode up.
    let Some(mut list) = Acl::parse(&value)? else {
        return Ok((mode & !(umask & 0o777), Inherited::default()));
    };
    let mode = list.inherit(mode);
    let (_, equivalent) = list.mode();
    let inherited = Inherited {
        access: (!equivalent).then_some(list),
        default: is_dir.then_some(value),
    };
    Ok((mode, inherited))
}

fn give_lists(tx: &mut Tx<'_>, ino: Ino, inherited: Inherited) -> Outcome<()> {
    if let Some(list) = inherited.access {
        tx.put_xattr(ino, acl::ACCESS, &list.encode())?;
    }
    if let Some(value) = inherited.default {
        tx.put_xattr(ino, acl::DEFAULT, &value)?;
    }
    Ok(())
}
