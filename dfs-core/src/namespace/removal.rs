//! What becomes of an inode that lost a name: it keeps others, lives on as an orphan while somebody holds it
//! open, or is freed. Unlink, rmdir, rename, release and the end of a session call it.

use super::tx::{Fault, Outcome, Tx};
use crate::error::FsError;
use crate::ids::{Ino, SessionId};
use crate::keys;
use crate::rows::{HeldRow, Origin, OrphanRow, XattrRow};
use crate::types::Attr;

/// What the caller of a removal knows about the inode it removes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// It said nothing: the table of open files decides.
    Nothing,
    /// It holds the inode open, or not.
    Held(bool),
}

impl Expected {
    /// From an operation's `expect`: when another inode is found, it counts as held open.
    pub fn of(expect: Option<(Ino, bool)>, found: Ino) -> Expected {
        match expect {
            None => Expected::Nothing,
            Some((ino, held)) => Expected::Held(held || ino != found),
        }
    }
}

/// What an inode without a name is, only its holders are told: to a session that learnt of it too late it is gone, and what
/// frees it looks for no lease of such a one.
pub(super) fn reachable(tx: &mut Tx<'_>, ino: Ino) -> Outcome<Attr> {
    let attr = tx.attr(ino)?;
    let me = tx.ctx.session;
    let known = attr.nlink > 0 || me == SessionId::COORDINATOR;
    if !known && tx.get::<HeldRow>(&keys::held(me, ino))?.is_none() {
        return Err(Fault::Fs(FsError::Stale));
    }
    Ok(attr)
}

impl Tx<'_> {
    /// One name of the inode is gone (its entry is removed by the caller). Returns whether the calling session
    /// now holds an orphan.
    /// `from` is the entry that was removed.
    pub fn drop_link(&mut self, ino: Ino, from: (Ino, &[u8]), expected: Expected) -> Outcome<bool> {
        let now = self.time;
        let row = self.change(ino)?;
        row.ctime = now;
        row.nlink = if row.is_dir() {
            0
        } else {
            row.nlink.saturating_sub(1)
        };
        if row.nlink > 0 {
            return Ok(false);
        }
        let me = self.ctx.session;
        let mut holders = self.ctx.opens.holders_open(ino);
        if let Expected::Held(held) = expected {
            holders.retain(|session| *session != me);
            if held {
                holders.push(me);
            }
        }
        let origin = self.origin(from)?;
        if holders.is_empty() {
            self.let_go(ino, origin)?;
            return Ok(false);
        }
        holders.sort();
        holders.dedup();
        let mine = holders.contains(&me);
        let orphan = OrphanRow {
            holders,
            linkable: false,
            origin,
        };
        self.put_orphan(ino, &orphan);
        Ok(mine)
    }

    pub fn put_orphan(&mut self, ino: Ino, orphan: &OrphanRow) {
        for session in &orphan.holders {
            self.put(keys::held(*session, ino), &HeldRow);
        }
        self.put(keys::orphan(ino), orphan);
    }

    /// The inode has a name again.
    pub fn remove_orphan(&mut self, ino: Ino, orphan: &OrphanRow) {
        for session in &orphan.holders {
            self.delete(keys::held(*session, ino));
        }
        self.delete(keys::orphan(ino));
    }

    /// A session no longer holds the inode; without holders an orphan is freed. Says whether it was one.
    pub fn release_orphan(&mut self, ino: Ino, session: SessionId) -> Outcome<bool> {
        let Some(mut orphan) = self.get::<OrphanRow>(&keys::orphan(ino))? else {
            return Ok(false);
        };
        self.delete(keys::held(session, ino));
        orphan.holders.retain(|holder| *holder != session);
        if orphan.holders.is_empty() {
            self.delete(keys::orphan(ino));
            self.let_go(ino, orphan.origin)?;
        } else {
            self.put(keys::orphan(ino), &orphan);
        }
        Ok(true)
    }

    /// Nobody can reach the inode any more: the trash takes it, or it is freed.
    fn let_go(&mut self, ino: Ino, origin: Option<Origin>) -> Outcome<()> {
        match origin {
            Some(origin) => self.enter_trash(ino, origin),
            None => self.free_inode(ino),
        }
    }

    /// Removes the inode with its xattrs and content.
    pub fn free_inode(&mut self, ino: Ino) -> Outcome<()> {
        let Some(row) = self.peek(ino)?.cloned() else {
            return Ok(());
        };
        self.drop_content(ino, &row)?;
        if row.xattrs > 0 {
            for (key, _) in self.scan::<XattrRow>(&keys::prefix::xattrs(ino), usize::MAX)? {
                self.delete(key);
            }
        }
        self.destroy(ino);
        Ok(())
    }
}
