//! Giving what is below a directory to its new quota, and taking it back when the quota is removed: in bounded
//! steps, entry by entry, while the tree is in use. A directory is given before its entries are; directories do not
//! leave a quota (`carry_over`); so nothing is missed, and what is made meanwhile inherits the right quota.

use super::tx::{Outcome, Tx};
use crate::ids::Ino;
use crate::keys::{self, Key};
use crate::op::Reply;
use crate::rows::{QuotaRow, QuotaState, WalkRow};
use std::collections::BTreeMap;

pub(super) fn walk(tx: &mut Tx<'_>, limit: u32) -> Outcome<Reply> {
    let next = tx.scan::<WalkRow>(&keys::prefix::walks(), 1)?;
    let Some((key, place)) = next.first() else {
        return Ok(Reply::Progress { more: false });
    };
    let Some(Key::Walk { quota, dir }) = keys::parse(key) else {
        tx.delete(key.clone());
        return Ok(Reply::Progress { more: true });
    };
    match walk_directory(tx, dir, place.after, limit)? {
        Some(after) => tx.put(key.clone(), &WalkRow { after }),
        None => tx.delete(key.clone()),
    }
    if tx.scan::<WalkRow>(&keys::prefix::walks_of(quota), 1)?.is_empty()
        && let Some(mut row) = tx.get::<QuotaRow>(&keys::quota(quota))?
    {
        if row.state == QuotaState::Counting {
            row.state = QuotaState::Active;
        }
        tx.put_quota(quota, &row)?;
    }
    Ok(Reply::Progress { more: true })
}

/// Gives at most `limit` entries to the quota that their directory was given to: where to go on, `None` at the end.
fn walk_directory(tx: &mut Tx<'_>, dir: Ino, after: u64, limit: u32) -> Outcome<Option<u64>> {
    let Some(row) = tx.peek(dir)?.filter(|row| row.is_dir() && row.nlink > 0) else {
        return Ok(None);
    };
    let to = row.quota;
    let Reply::Page { entries, end } = super::read_dir::read_dir(tx, dir, after, limit, false)? else {
        return Ok(None);
    };
    for entry in &entries {
        tx.give(entry.ino, to)?;
    }
    Ok(entries.last().map(|entry| entry.cookie).filter(|_| !end))
}

impl Tx<'_> {
    /// An entry comes to a quota, and what is below it is walked after it. A nested quota comes as a whole.
    pub fn give(&mut self, ino: Ino, to: Ino) -> Outcome<()> {
        let Some(row) = self.peek(ino)? else {
            return Ok(());
        };
        let (own, is_dir) = (row.quota, row.is_dir());
        let nested = match own == ino {
            true => self.get::<QuotaRow>(&keys::quota(ino))?,
            false => None,
        };
        if let Some(nested) = nested {
            return self.hang_below(ino, nested, to);
        }
        if own == to {
            return Ok(());
        }
        self.adopt(ino, to)?;
        if is_dir {
            let removed = self
                .get::<QuotaRow>(&keys::quota(own))?
                .is_some_and(|row| row.state == QuotaState::Removing);
            let walk = if removed { own } else { to };
            self.put(keys::walk(walk, ino), &WalkRow::default());
        }
        Ok(())
    }

    /// A quota gets another one above it: those that now count it, and those that no longer do.
    pub fn hang_below(&mut self, quota: Ino, row: QuotaRow, to: Ino) -> Outcome<()> {
        if row.parent == to || quota == to {
            return Ok(());
        }
        let old: BTreeMap<Ino, QuotaRow> = self.quotas_from(row.parent)?.into_iter().collect();
        let new: BTreeMap<Ino, QuotaRow> = self.quotas_from(to)?.into_iter().collect();
        self.put(keys::quota(quota), &QuotaRow { parent: to, ..row });
        for (place, mut above) in new
            .iter()
            .filter(|(place, _)| !old.contains_key(place))
            .map(copied)
        {
            above.used_bytes += row.used_bytes;
            above.used_inodes += row.used_inodes;
            above.reserved += row.reserved;
            self.put_quota(place, &above)?;
        }
        for (place, mut above) in old
            .iter()
            .filter(|(place, _)| !new.contains_key(place))
            .map(copied)
        {
            above.used_bytes = above.used_bytes.saturating_sub(row.used_bytes);
            above.used_inodes = above.used_inodes.saturating_sub(row.used_inodes);
            above.reserved = above.reserved.saturating_sub(row.reserved);
            self.put_quota(place, &above)?;
        }
        Ok(())
    }
}

fn copied((place, row): (&Ino, &QuotaRow)) -> (Ino, QuotaRow) {
    (*place, *row)
}
