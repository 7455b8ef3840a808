//! Leasing inode numbers to a session. They need no row: a number that was given out is below the counter and is
//! never given again, used or not.

use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::keys;
use crate::op::{INO_RANGE_MAX, Reply};
use crate::rows::CounterRow;

/// Below it all numbers are taken.
pub const NEXT_INO: &[u8] = b"next_ino";

pub(super) fn alloc(tx: &mut Tx<'_>, count: u32) -> Outcome<Reply> {
    if count == 0 {
        return Err(FsError::Invalid.into());
    }
    let count = count.min(INO_RANGE_MAX);
    let first = tx.fresh_ino;
    let end = first.0.checked_add(u64::from(count)).ok_or(FsError::NoSpace)?;
    let key = keys::counter(NEXT_INO);
    let taken = tx.get::<CounterRow>(&key)?.unwrap_or_default().value;
    tx.put(
        key,
        &CounterRow {
            value: taken.max(end),
        },
    );
    Ok(Reply::InoRange { first, count })
}
