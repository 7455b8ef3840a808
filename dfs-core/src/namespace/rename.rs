//! `rename`: onto nothing, over something, or exchanging two entries. Refusals come in Linux's order.

use super::names::{check_name, is_dots};
use super::removal::Expected;
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::op::{Rename, RenameMode, Reply};
use crate::rows::DentryRow;
use crate::types::FileKind;

pub(super) fn rename(tx: &mut Tx<'_>, rename: &Rename) -> Outcome<Reply> {
    tx.dir(rename.parent)?;
    tx.dir(rename.new_parent)?;
    if is_dots(&rename.name) {
        return Err(FsError::Busy.into());
    }
    if is_dots(&rename.new_name) {
        return Err(match rename.mode {
            RenameMode::NoReplace => FsError::Exists.into(),
            _ => FsError::Busy.into(),
        });
    }
    check_name(&rename.name)?;
    let source = tx.existing(rename.parent, &rename.name)?;
    tx.living_dir(rename.new_parent)?;
    check_name(&rename.new_name)?;
    let target = tx.entry(rename.new_parent, &rename.new_name)?;
    match (rename.mode, target) {
        (RenameMode::NoReplace, Some(_)) => return Err(FsError::Exists.into()),
        (RenameMode::Exchange, None) => return Err(FsError::NotFound.into()),
        _ => {}
    }
    check_loops(tx, rename, source, target)?;
    match target {
        Some(target) if target.ino == source.ino => Ok(renamed(source.ino, None)),
        Some(target) if rename.mode == RenameMode::Exchange => exchange(tx, rename, source, target),
        target => replace(tx, rename, source, target),
    }
}

fn renamed(moved: Ino, replaced: Option<(Ino, bool)>) -> Reply {
    Reply::Renamed { moved, replaced }
}

/// Neither may the source be at or above the directory it moves into, nor the target above the source.
fn check_loops(
    tx: &mut Tx<'_>,
    rename: &Rename,
    source: DentryRow,
    target: Option<DentryRow>,
) -> Outcome<()> {
    if rename.parent == rename.new_parent {
        return Ok(());
    }
    if source.kind == FileKind::Directory && tx.is_at_or_above(source.ino, rename.new_parent)? {
        return Err(FsError::Invalid.into());
    }
    if let Some(target) = target.filter(|target| target.kind == FileKind::Directory)
        && tx.is_at_or_above(target.ino, rename.parent)?
    {
        return Err(match rename.mode {
            RenameMode::Exchange => FsError::Invalid.into(),
            _ => FsError::NotEmpty.into(),
        });
    }
    Ok(())
}

fn replace(tx: &mut Tx<'_>, rename: &Rename, source: DentryRow, target: Option<DentryRow>) -> Outcome<Reply> {
    let moves_dir = source.kind == FileKind::Directory;
    let mut replaced = None;
    if let Some(target) = target {
        match (moves_dir, target.kind == FileKind::Directory) {
            (true, false) => return Err(FsError::NotDirectory.into()),
            (false, true) => return Err(FsError::IsDirectory.into()),
            (true, true) if tx.inode(target.ino)?.size > 0 => return Err(FsError::NotEmpty.into()),
            _ => {}
        }
        tx.remove_entry(rename.new_parent, &rename.new_name, target)?;
        let from = (rename.new_parent, &rename.new_name[..]);
        let orphan = tx.drop_link(target.ino, from, Expected::of(rename.expect, target.ino))?;
        replaced = Some((target.ino, orphan));
    }
    tx.carry_over(source.ino, rename.parent, rename.new_parent)?;
    tx.remove_entry(rename.parent, &rename.name, source)?;
    touch(tx, source.ino)?;
    tx.add_entry(rename.new_parent, &rename.new_name, source.ino, source.kind)?;
    Ok(renamed(source.ino, replaced))
}

fn exchange(tx: &mut Tx<'_>, rename: &Rename, source: DentryRow, target: DentryRow) -> Outcome<Reply> {
    tx.carry_over(source.ino, rename.parent, rename.new_parent)?;
    tx.carry_over(target.ino, rename.new_parent, rename.parent)?;
    tx.remove_entry(rename.parent, &rename.name, source)?;
    tx.remove_entry(rename.new_parent, &rename.new_name, target)?;
    touch(tx, source.ino)?;
    touch(tx, target.ino)?;
    tx.add_entry(rename.new_parent, &rename.new_name, source.ino, source.kind)?;
    tx.add_entry(rename.parent, &rename.name, target.ino, target.kind)?;
    // Both live on; the caller must know which inode the old name means now.
    Ok(renamed(source.ino, Some((target.ino, false))))
}

fn touch(tx: &mut Tx<'_>, ino: Ino) -> Outcome<()> {
    let now = tx.time;
    tx.change(ino)?.ctime = now;
    Ok(())
}
