//! Leasing chunk numbers to a session.

use super::tx::{Fault, Outcome, Tx};
use crate::error::FsError;
use crate::ids::SetId;
use crate::keys;
use crate::op::{CHUNK_RANGE_MAX, Reply};
use crate::rows::{CounterRow, RangeRow};

/// The first sequence number of a set.
const FIRST_SEQ: u64 = 1;

pub(super) fn alloc(tx: &mut Tx<'_>, count: u32, avoid: &[SetId]) -> Outcome<Reply> {
    if count == 0 {
        return Err(FsError::Invalid.into());
    }
    let set = tx
        .ctx
        .set
        .filter(|set| !avoid.contains(set))
        .ok_or(Fault::Fs(FsError::NoSpace))?;
    if tx.ctx.usage.available_bytes == 0 {
        return Err(FsError::NoSpace.into());
    }
    let count = count.min(CHUNK_RANGE_MAX);
    let key = keys::chunk_seq(set);
    let first = tx.get::<CounterRow>(&key)?.map_or(FIRST_SEQ, |row| row.value);
    let value = first.checked_add(u64::from(count)).ok_or(FsError::NoSpace)?;
    tx.put(key, &CounterRow { value });
    tx.put(keys::range(tx.ctx.session, set, first), &RangeRow { count });
    Ok(Reply::ChunkRange { set, first, count })
}
