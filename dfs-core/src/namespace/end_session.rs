//! The end of a client's session: what it held open, its chunk numbers, its answers.

use super::tx::{Outcome, Tx};
use crate::ids::SessionId;
use crate::keys::{self, Key};
use crate::op::Reply;
use crate::rows::{HeldRow, RangeRow, RepliesRow, ReservedRow};

/// Most orphans and rows that one step removes, so that no record grows without bound. A session with more
/// answers `Progress { more: true }` and is ended by asking again; its own row goes last.
const STEP: usize = 65_536;

pub(super) fn end(tx: &mut Tx<'_>, session: SessionId) -> Outcome<Reply> {
    let mut left = STEP;
    let held = tx.scan::<HeldRow>(&keys::prefix::held_by(session), left)?;
    left -= held.len();
    for (key, _) in held {
        if let Some(Key::Held { ino, .. }) = keys::parse(&key) {
            tx.release_orphan(ino, session)?;
        }
        tx.delete(key);
    }
    let promised = tx.scan::<ReservedRow>(&keys::prefix::reserved_by(session), left)?;
    left -= promised.len();
    for (key, _) in promised {
        if let Some(Key::Reserved { quota, .. }) = keys::parse(&key) {
            tx.promise(session, quota, 0)?;
        }
    }
    let ranges = tx.scan::<RangeRow>(&keys::prefix::ranges_of(session), left)?;
    left -= ranges.len();
    let replies = tx.scan::<RepliesRow>(&keys::prefix::replies_of(session), left)?;
    left -= replies.len();
    for key in ranges
        .into_iter()
        .map(|row| row.0)
        .chain(replies.into_iter().map(|row| row.0))
    {
        tx.delete(key);
    }
    if left == 0 {
        return Ok(Reply::Progress { more: true });
    }
    tx.delete(keys::session(session));
    Ok(Reply::Done)
}
