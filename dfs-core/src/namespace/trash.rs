//! The trash: what was removed stays for a while, with its attributes, xattrs and content, under the entry it had.
//! Off unless the volume has a retention. An inode in the trash has no links, belongs to no quota, and was last
//! changed when it came there, so that its row is found by its change time.

use super::names::{check_name, is_dots};
use super::tx::{Fault, Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::keys::{self, Key};
use crate::op::Reply;
use crate::rows::{Origin, SettingRow, TrashRow};
use crate::types::{FileKind, Timestamp};

/// The setting that turns the trash on: seconds that it keeps what it has.
pub const RETENTION: &[u8] = b"trash_retention";
/// Seconds for which leaders have kept a trash: never behind the present leader's count, ahead of it a little, so that
/// nothing looks older than it is. Not an operator's; the coordinator moves it.
pub const AGE: &[u8] = b"trash_age";
/// Settings that there are.
const SETTINGS: [&[u8]; 2] = [RETENTION, AGE];
/// Removed directories that one restoration brings back on its way up.
const PARENTS_MAX: usize = 256;
/// Bytes of a unit of `blocks`.
const SECTOR: u64 = 512;

pub(super) fn set(tx: &mut Tx<'_>, name: &[u8], value: u64) -> Outcome<Reply> {
    if !SETTINGS.contains(&name) {
        return Err(FsError::NotFound.into());
    }
    match value {
        0 => tx.delete(keys::setting(name)),
        _ => tx.put(keys::setting(name), &SettingRow { value }),
    }
    Ok(Reply::Done)
}

/// Back to where it was (directories that are gone come back with it; where one of that name was made since, that
/// one is used), or to `to`.
pub(super) fn restore(tx: &mut Tx<'_>, ino: Ino, to: Option<&(Ino, Vec<u8>)>) -> Outcome<Reply> {
    let (key, row) = trashed(tx, ino)?.ok_or(Fault::Fs(FsError::NotFound))?;
    let (parent, name) = match to {
        Some((parent, name)) => (*parent, name.clone()),
        None => (living(tx, row.origin.parent, PARENTS_MAX)?, row.origin.name),
    };
    bring_back(tx, ino, key, row.kind, (parent, &name))?;
    Ok(Reply::Entry {
        attr: tx.attr(ino)?,
        created: false,
    })
}

/// The row of an inode in the trash.
fn trashed(tx: &mut Tx<'_>, ino: Ino) -> Outcome<Option<(Vec<u8>, TrashRow)>> {
    let Some(since) = tx.peek(ino)?.map(|row| row.ctime) else {
        return Ok(None);
    };
    let key = keys::trash(since, ino);
    Ok(tx.get(&key)?.map(|row| (key, row)))
}

/// The directory, after it was brought back if need be, or the one that took its place.
fn living(tx: &mut Tx<'_>, dir: Ino, left: usize) -> Outcome<Ino> {
    match tx.peek(dir)? {
        Some(row) if row.nlink > 0 => return Ok(dir),
        Some(_) if left > 0 => {}
        _ => return Err(FsError::NotFound.into()),
    }
    let (key, row) = trashed(tx, dir)?.ok_or(Fault::Fs(FsError::NotFound))?;
    let above = living(tx, row.origin.parent, left - 1)?;
    match tx.entry(above, &row.origin.name)? {
        None => {
            bring_back(tx, dir, key, row.kind, (above, &row.origin.name))?;
            Ok(dir)
        }
        Some(entry) if entry.kind == FileKind::Directory => Ok(entry.ino),
        Some(_) => Err(FsError::Exists.into()),
    }
}

fn bring_back(
    tx: &mut Tx<'_>,
    ino: Ino,
    key: Vec<u8>,
    kind: FileKind,
    (parent, name): (Ino, &[u8]),
) -> Outcome<()> {
    let quota = tx.living_dir(parent)?.quota;
    check_name(name)?;
    if is_dots(name) || tx.entry(parent, name)?.is_some() {
        return Err(FsError::Exists.into());
    }
    tx.delete(key);
    let now = tx.ctx.now;
    let row = tx.change(ino)?;
    row.ctime = now;
    row.nlink = if row.is_dir() { 2 } else { 1 };
    tx.adopt(ino, quota)?;
    tx.add_entry(parent, name, ino, kind)
}

/// Frees what was removed before, by the wall clocks that there were.
pub(super) fn empty(tx: &mut Tx<'_>, before: Timestamp, limit: u32) -> Outcome<Reply> {
    let limit = limit.max(1) as usize;
    let range = (keys::prefix::trash().0, keys::trash(before, Ino(0)));
    let found = tx.scan::<TrashRow>(&range, limit)?;
    let more = found.len() == limit;
    for (key, _) in found {
        if let Some(Key::Trash { ino, .. }) = keys::parse(&key) {
            tx.free_inode(ino)?;
        }
        tx.delete(key);
    }
    Ok(Reply::Progress { more })
}

/// One that came back and was removed again since is not meant; nor is any when the trash was turned on since.
pub(super) fn expire(tx: &mut Tx<'_>, inos: &[Ino], age: u64) -> Outcome<Reply> {
    if age == u64::MAX && tx.keeps_trash()? {
        return Ok(Reply::Done);
    }
    for ino in inos {
        if let Some((key, row)) = trashed(tx, *ino)?
            && row.age <= age
        {
            tx.free_inode(*ino)?;
            tx.delete(key);
        }
    }
    Ok(Reply::Done)
}

pub(super) fn discard(tx: &mut Tx<'_>, ino: Ino) -> Outcome<Reply> {
    let (key, _) = trashed(tx, ino)?.ok_or(Fault::Fs(FsError::NotFound))?;
    tx.free_inode(ino)?;
    tx.delete(key);
    Ok(Reply::Done)
}

impl Tx<'_> {
    /// Where a removed inode was, when the trash wants to know.
    pub fn origin(&self, (parent, name): (Ino, &[u8])) -> Outcome<Option<Origin>> {
        Ok(self.keeps_trash()?.then(|| Origin {
            parent,
            name: name.to_vec(),
        }))
    }

    fn keeps_trash(&self) -> Outcome<bool> {
        let retention = self.get::<SettingRow>(&keys::setting(RETENTION))?;
        Ok(retention.is_some_and(|row| row.value > 0))
    }

    /// An inode without links comes to the trash now.
    pub fn enter_trash(&mut self, ino: Ino, origin: Origin) -> Outcome<()> {
        self.adopt(ino, Ino(0))?;
        let now = self.ctx.now;
        let age = self.get::<SettingRow>(&keys::setting(AGE))?;
        let row = self.change(ino)?;
        row.ctime = now;
        let trash = TrashRow {
            origin,
            kind: row.kind,
            bytes: row.blocks * SECTOR,
            age: age.map_or(0, |row| row.value),
        };
        self.put(keys::trash(now, ino), &trash);
        Ok(())
    }
}
