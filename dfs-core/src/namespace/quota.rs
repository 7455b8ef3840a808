//! Quotas by directory. Each inode names the nearest quota at or above it and is charged there, and quotas above
//! are charged with it, so that a change of a file touches one row for each level. The rows are settled once, when
//! an operation finishes: no operation counts by itself, and none can exceed a limit. Sessions are promised bytes
//! before they accept writes; their commits use the promise up, so that a commit is not refused for the quota.

use super::tx::{Fault, Outcome, Tx};
use crate::error::FsError;
use crate::ids::{Ino, SessionId};
use crate::keys;
use crate::op::Reply;
use crate::rows::{InodeRow, QuotaRow, QuotaState, ReservedRow, WalkRow};
use crate::types::QuotaUsage;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Quotas that one directory may lie in: each is a row of every change below.
const NESTING_MAX: usize = 16;
/// Most bytes promised to a session at a time.
const PROMISE_MAX: u64 = 1 << 50;
/// A file of more extents is not counted while its caller waits: moving it into a quota is left to a copy.
const ADOPT_EXTENTS_MAX: usize = 65_536;

/// Whether an operation may exceed limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charging {
    Limited,
    /// What the session was promised is its to use.
    Promised,
    /// It only moves what is there already.
    Unlimited,
}

/// An inode's share of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charge {
    quota: Ino,
    bytes: u64,
}

impl Charge {
    pub fn of(row: &InodeRow) -> Option<Charge> {
        (row.quota != Ino(0)).then_some(Charge {
            quota: row.quota,
            bytes: row.charged,
        })
    }
}

/// What an operation adds to a quota.
#[derive(Clone, Copy, Default)]
struct Growth {
    bytes: i64,
    inodes: i64,
    /// Of the bytes, those that were promised.
    promised: u64,
}

impl Growth {
    fn add(&mut self, other: Growth) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
        self.promised += other.promised;
    }
}

pub(super) fn get(tx: &mut Tx<'_>, ino: Ino) -> Outcome<Reply> {
    let quota = tx.inode(ino)?.quota;
    let row = tx
        .get::<QuotaRow>(&keys::quota(quota))?
        .filter(|row| row.state != QuotaState::Removing)
        .ok_or(Fault::Fs(FsError::NoAttribute))?;
    let mut usage = QuotaUsage {
        limit_bytes: row.limit_bytes,
        limit_inodes: row.limit_inodes,
        used_bytes: row.used_bytes,
        used_inodes: row.used_inodes,
        available_bytes: u64::MAX,
        available_inodes: u64::MAX,
    };
    for (_, row) in tx.quotas_from(quota)? {
        usage.available_bytes = usage.available_bytes.min(room(&row));
        usage.available_inodes = usage
            .available_inodes
            .min(row.limit_inodes.saturating_sub(row.used_inodes));
    }
    Ok(Reply::Quota(usage))
}

fn room(row: &QuotaRow) -> u64 {
    row.limit_bytes
        .saturating_sub(row.used_bytes.saturating_add(row.reserved))
}

/// A quota that is gone promises whatever is asked: nothing is counted.
pub(super) fn reserve(tx: &mut Tx<'_>, quota: Ino, bytes: u64) -> Outcome<Reply> {
    let session = tx.ctx.session;
    let bytes = bytes.min(PROMISE_MAX);
    let quotas = tx.quotas_from(quota)?;
    let had = tx
        .get::<ReservedRow>(&keys::reserved(session, quota))?
        .unwrap_or_default()
        .bytes;
    let left = quotas.iter().map(|(_, row)| room(row)).min().unwrap_or(u64::MAX);
    let more = bytes.saturating_sub(had);
    if more > left {
        return Err(FsError::QuotaExceeded.into());
    }
    tx.promise(session, quota, if quotas.is_empty() { 0 } else { bytes })?;
    Ok(Reply::Reserved {
        bytes,
        room: left - more,
    })
}

pub(super) fn set(tx: &mut Tx<'_>, dir: Ino, bytes: u64, inodes: u64) -> Outcome<Reply> {
    let above = tx.living_dir(dir)?.quota;
    let key = keys::quota(dir);
    if let Some(row) = tx.get::<QuotaRow>(&key)? {
        if row.state == QuotaState::Removing {
            return set_again(tx, dir, row, bytes, inodes);
        }
        let row = QuotaRow {
            limit_bytes: bytes,
            limit_inodes: inodes,
            ..row
        };
        tx.put(key, &row);
        return Ok(Reply::Done);
    }
    if tx.quotas_from(above)?.len() >= NESTING_MAX {
        return Err(FsError::TooBig.into());
    }
    let row = QuotaRow {
        limit_bytes: bytes,
        limit_inodes: inodes,
        used_bytes: 0,
        used_inodes: 0,
        reserved: 0,
        parent: above,
        state: QuotaState::Counting,
    };
    tx.put(key, &row);
    tx.put(keys::walk(dir, dir), &WalkRow::default());
    tx.charging = Charging::Unlimited;
    tx.adopt(dir, dir)?;
    Ok(Reply::Done)
}

/// A removed quota that still counts something (files with a name elsewhere, open files) counts all again.
fn set_again(tx: &mut Tx<'_>, dir: Ino, row: QuotaRow, bytes: u64, inodes: u64) -> Outcome<Reply> {
    if !tx.scan::<WalkRow>(&keys::prefix::walks_of(dir), 1)?.is_empty() {
        return Err(FsError::Busy.into());
    }
    let above = tx.living_dir(dir)?.quota;
    let row = QuotaRow {
        limit_bytes: bytes,
        limit_inodes: inodes,
        state: QuotaState::Counting,
        ..row
    };
    tx.put(keys::quota(dir), &row);
    tx.hang_below(dir, row, above)?;
    tx.put(keys::walk(dir, dir), &WalkRow::default());
    tx.charging = Charging::Unlimited;
    tx.adopt(dir, dir)?;
    Ok(Reply::Done)
}

pub(super) fn remove(tx: &mut Tx<'_>, dir: Ino) -> Outcome<Reply> {
    let key = keys::quota(dir);
    let row = tx.get::<QuotaRow>(&key)?.ok_or(Fault::Fs(FsError::NoAttribute))?;
    if row.state != QuotaState::Active {
        return Err(FsError::Busy.into());
    }
    let row = QuotaRow {
        limit_bytes: u64::MAX,
        limit_inodes: u64::MAX,
        state: QuotaState::Removing,
        ..row
    };
    tx.put(key, &row);
    tx.put(keys::walk(dir, dir), &WalkRow::default());
    tx.charging = Charging::Unlimited;
    // A directory that was removed has left its quota already.
    if tx.peek(dir)?.is_some_and(|inode| inode.quota == dir) {
        tx.adopt(dir, row.parent)?;
    }
    Ok(Reply::Done)
}

impl Tx<'_> {
    /// The quota and those above it, the nearest first.
    pub fn quotas_from(&self, quota: Ino) -> Outcome<Vec<(Ino, QuotaRow)>> {
        let mut found: Vec<(Ino, QuotaRow)> = Vec::new();
        let mut place = quota;
        while place != Ino(0) && found.len() <= NESTING_MAX {
            let Some(row) = self.get::<QuotaRow>(&keys::quota(place))? else {
                break;
            };
            found.push((place, row));
            place = row.parent;
        }
        Ok(found)
    }

    /// Makes the promise to a session `bytes`, without a look at limits.
    pub fn promise(&mut self, session: SessionId, quota: Ino, bytes: u64) -> Outcome<()> {
        let key = keys::reserved(session, quota);
        let had = self.get::<ReservedRow>(&key)?.unwrap_or_default().bytes;
        if had == bytes {
            return Ok(());
        }
        match bytes {
            0 => self.delete(key),
            _ => self.put(key, &ReservedRow { bytes }),
        }
        for (place, mut row) in self.quotas_from(quota)? {
            row.reserved = row.reserved.saturating_sub(had).saturating_add(bytes);
            self.put_quota(place, &row)?;
        }
        Ok(())
    }

    /// A quota that was removed goes when it counts nothing any more.
    pub fn put_quota(&mut self, quota: Ino, row: &QuotaRow) -> Outcome<()> {
        let counts = row.used_bytes > 0 || row.used_inodes > 0 || row.reserved > 0;
        let over = row.state == QuotaState::Removing
            && !counts
            && self
                .scan::<WalkRow>(&keys::prefix::walks_of(quota), 1)?
                .is_empty();
        match over {
            true => self.delete(keys::quota(quota)),
            false => self.put(keys::quota(quota), row),
        }
        Ok(())
    }

    /// The inode belongs to this quota from now on.
    pub fn adopt(&mut self, ino: Ino, quota: Ino) -> Outcome<()> {
        let Some(row) = self.peek(ino)? else {
            return Ok(());
        };
        let (old, content, blocks, mut charged) = (row.quota, row.content, row.blocks, row.charged);
        if old == quota {
            return Ok(());
        }
        if quota == Ino(0) {
            charged = 0;
        } else if old == Ino(0) && blocks > 0 {
            charged = self.extent_bytes(ino, content)?;
        }
        let row = self.change(ino)?;
        row.quota = quota;
        row.charged = charged;
        Ok(())
    }

    fn extent_bytes(&self, ino: Ino, content: u64) -> Outcome<u64> {
        let mut bytes = 0;
        let mut damage = None;
        self.visit(
            &keys::prefix::extents(ino, content),
            &mut |key, value| match super::content::read_extent(key, value) {
                Ok(extent) => {
                    bytes += extent.len;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    damage = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        damage.map_or(Ok(bytes), |error| Err(error.into()))
    }

    /// An entry moves from one directory into another: a single file takes its charge along, a directory cannot
    /// leave its quota.
    pub fn carry_over(&mut self, ino: Ino, from: Ino, to: Ino) -> Outcome<()> {
        let there = self.peek(to)?.map_or(Ino(0), |row| row.quota);
        let here = self.peek(from)?.map_or(Ino(0), |row| row.quota);
        let Some(row) = self.peek(ino)? else {
            return Ok(());
        };
        let (own, content, blocks) = (row.quota, row.content, row.blocks);
        let single = !row.is_dir() && row.nlink <= 1;
        let belongs = match own == ino {
            true => self
                .get::<QuotaRow>(&keys::quota(ino))?
                .is_none_or(|row| row.parent == there),
            false => own == there,
        };
        if belongs {
            return Ok(());
        }
        if here == there {
            // A walk has not come to this entry, and might miss it under its new name.
            self.charging = Charging::Unlimited;
            return self.give(ino, there);
        }
        let many = own == Ino(0)
            && blocks > 0
            && self
                .touching(ino, content, 0, u64::MAX, ADOPT_EXTENTS_MAX + 1)?
                .len()
                > ADOPT_EXTENTS_MAX;
        if !single || many {
            return Err(FsError::CrossDevice.into());
        }
        self.adopt(ino, there)
    }

    /// Adds what the operation's inodes are charged for to their quotas, or refuses.
    pub fn settle_quotas(&mut self, charges: &[(Option<Charge>, Option<Charge>)]) -> Outcome<()> {
        let mut direct: BTreeMap<Ino, Growth> = BTreeMap::new();
        for (before, after) in charges.iter().filter(|(before, after)| before != after) {
            for (charge, sign) in [(before, -1), (after, 1)] {
                if let Some(charge) = charge {
                    let growth = direct.entry(charge.quota).or_default();
                    growth.bytes += sign * charge.bytes as i64;
                    growth.inodes += sign;
                }
            }
        }
        let mut all: BTreeMap<Ino, (QuotaRow, Growth)> = BTreeMap::new();
        for (quota, mut growth) in direct {
            let quotas = self.quotas_from(quota)?;
            if self.charging == Charging::Promised && growth.bytes > 0 && !quotas.is_empty() {
                growth.promised = self.use_promise(quota, growth.bytes as u64)?;
            }
            for (place, row) in quotas {
                all.entry(place).or_insert((row, Growth::default())).1.add(growth);
            }
        }
        for (quota, (row, growth)) in all {
            let row = self.charge(row, growth)?;
            self.put_quota(quota, &row)?;
        }
        Ok(())
    }

    /// Takes at most `bytes` from what the session was promised; the quotas' rows are the caller's.
    fn use_promise(&mut self, quota: Ino, bytes: u64) -> Outcome<u64> {
        let key = keys::reserved(self.ctx.session, quota);
        let had = self.get::<ReservedRow>(&key)?.unwrap_or_default().bytes;
        let used = had.min(bytes);
        if used == 0 {
            return Ok(0);
        }
        match had - used {
            0 => self.delete(key),
            bytes => self.put(key, &ReservedRow { bytes }),
        }
        Ok(used)
    }

    fn charge(&self, row: QuotaRow, growth: Growth) -> Outcome<QuotaRow> {
        let add = |value: u64, change: i64| value.saturating_add_signed(change);
        let row = QuotaRow {
            used_bytes: add(row.used_bytes, growth.bytes),
            used_inodes: add(row.used_inodes, growth.inodes),
            reserved: row.reserved.saturating_sub(growth.promised),
            ..row
        };
        let grows = growth.bytes > growth.promised as i64;
        let over = grows && row.used_bytes.saturating_add(row.reserved) > row.limit_bytes
            || growth.inodes > 0 && row.used_inodes > row.limit_inodes;
        if over && self.charging != Charging::Unlimited {
            return Err(FsError::QuotaExceeded.into());
        }
        Ok(row)
    }
}
