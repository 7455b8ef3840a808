//! Listings in pages: the entries of a directory, the extents of a file.

use super::tx::{Outcome, Tx};
use crate::ids::Ino;
use crate::keys::{self, Key};
use crate::op::{EXTENT_PAGE_MAX, PAGE_ENTRIES_MAX, Reply};
use crate::rows::DentryRow;
use crate::types::DirEntry;
use crate::view::ViewError;
use std::ops::ControlFlow;

/// Entries in the order of their cookies. The listing position is in the cookie, so no state is kept.
pub(super) fn read_dir(tx: &mut Tx<'_>, ino: Ino, after: u64, limit: u32, attrs: bool) -> Outcome<Reply> {
    tx.dir(ino)?;
    let limit = limit.clamp(1, PAGE_ENTRIES_MAX) as usize;
    let mut entries: Vec<DirEntry> = Vec::new();
    let mut end = true;
    let mut damage = None;
    let mut place = (0, 0);
    tx.visit(&keys::dentry_range(ino, after), &mut |key, value| {
        match read_entry(key, value, &mut place) {
            Ok(entry) if entry.cookie <= after => {}
            Ok(_) if entries.len() >= limit => {
                end = false;
                return ControlFlow::Break(());
            }
            Ok(entry) => entries.push(entry),
            Err(error) => {
                damage = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = damage {
        return Err(error.into());
    }
    if attrs {
        for entry in &mut entries {
            entry.attr = Some(tx.attr(entry.ino)?);
        }
    }
    Ok(Reply::Page { entries, end })
}

/// `place` is the hash of the entry before and its position among names of equal hash.
fn read_entry(key: &[u8], value: &[u8], place: &mut (u64, u64)) -> Result<DirEntry, ViewError> {
    let row = DentryRow::decode(key, value)?;
    let Some(Key::Dentry { hash, name, .. }) = keys::parse(key) else {
        return Err(ViewError::Damaged {
            key: crate::rows::print_key(key),
            reason: "not a directory entry's key".to_owned(),
        });
    };
    *place = if place.0 == hash {
        (hash, place.1 + 1)
    } else {
        (hash, 0)
    };
    let cookie = keys::cookie(hash, place.1);
    Ok(DirEntry {
        name,
        ino: row.ino,
        kind: row.kind,
        cookie,
        attr: None,
    })
}

pub(super) fn get_extents(tx: &mut Tx<'_>, ino: Ino, offset: u64, len: u64) -> Outcome<Reply> {
    let content = tx.file(ino)?.content;
    let end = offset.saturating_add(len);
    let mut extents = tx.touching(ino, content, offset, end, EXTENT_PAGE_MAX + 1)?;
    let mut next = None;
    if extents.len() > EXTENT_PAGE_MAX {
        extents.truncate(EXTENT_PAGE_MAX);
        next = extents.last().map(|extent| extent.end());
    }
    Ok(Reply::Extents { extents, next })
}
