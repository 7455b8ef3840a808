//! Bytes of quotas that the coordinator has promised to this mount, so that a write which is accepted can be
//! committed. Writers take from a promise before they write, files give back what they do not need any more, and
//! what nobody uses is returned. `vfs::write` and the flusher call it; it knows no file.

use crate::session::Session;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Asked for beyond what a write needs, doubling with each request up to the most.
const AHEAD_FIRST: u64 = 1 << 20;
const AHEAD_MOST: u64 = 64 << 20;
/// Never more than this part of what is left, so that little lies idle when a quota is nearly full.
const ROOM_SHARE: u64 = 16;
/// Waits look at their caller's cancellation this often.
const TICK: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Account {
    promised: u64,
    /// At most so much the coordinator has noted: what it was last asked for. Commits that only overwrite leave it there.
    noted: u64,
    used: u64,
    /// All that commits have used up: some of it may be told before the answer to a request that counted it.
    consumed: u64,
    /// What the next request asks for beyond the need.
    ahead: u64,
    /// What the coordinator could promise beyond the last request.
    room: u64,
    /// Something was taken since the last look of the flusher.
    busy: bool,
}

#[derive(Default)]
pub(crate) struct Promises {
    accounts: Mutex<BTreeMap<Ino, Account>>,
    /// Held by whoever changes what is promised: requests say the whole sum, so they must leave in order.
    asking: Mutex<()>,
    /// The coordinator wants back what is not used; the flusher sees to it.
    pub wanted: tokio::sync::Notify,
}

impl Promises {
    /// Takes so many bytes for a write, when they are promised and unused.
    pub fn take(&self, quota: Ino, bytes: u64) -> bool {
        let mut accounts = self.accounts.lock();
        let account = accounts.entry(quota).or_default();
        account.busy = true;
        let fits = account.used + bytes <= account.promised;
        if fits {
            account.used += bytes;
        }
        fits
    }

    pub fn give_back(&self, quota: Ino, bytes: u64) {
        if bytes > 0
            && let Some(account) = self.accounts.lock().get_mut(&quota)
        {
            account.used = account.used.saturating_sub(bytes);
        }
    }

    /// A commit has used them up: they are neither needed nor promised any more.
    pub fn use_up(&self, quota: Ino, bytes: u64) {
        if bytes > 0
            && let Some(account) = self.accounts.lock().get_mut(&quota)
        {
            account.used = account.used.saturating_sub(bytes);
            account.promised = account.promised.saturating_sub(bytes);
            account.consumed += bytes;
        }
    }

    /// Has at least so many unused bytes promised; refused when the quota has no room for them.
    pub fn ask(&self, session: &Session, quota: Ino, bytes: u64, patience: Patience<'_>) -> FsResult<()> {
        let _asking = loop {
            match self.asking.try_lock_for(patience.left()?.min(TICK)) {
                Some(guard) => break guard,
                None => continue,
            }
        };
        let (need, wanted, consumed) = {
            let mut accounts = self.accounts.lock();
            let account = accounts.entry(quota).or_default();
            let need = account.used + bytes;
            if need <= account.promised {
                return Ok(());
            }
            account.ahead = (account.ahead * 2).clamp(AHEAD_FIRST, AHEAD_MOST);
            let wanted = need + account.ahead.min(account.room / ROOM_SHARE);
            (need, wanted, account.consumed)
        };
        let asked = |bytes| match session.call(Op::ReserveQuota { quota, bytes }, patience)? {
            Reply::Reserved { bytes, room } => Ok((bytes, room)),
            _ => Err(FsError::Io),
        };
        let answer = match asked(wanted) {
            Err(FsError::QuotaExceeded) if wanted > need => asked(need),
            answer => answer,
        };
        let mut accounts = self.accounts.lock();
        let account = accounts.entry(quota).or_default();
        match answer {
            Ok((promised, room)) => {
                account.promised = promised.saturating_sub(account.consumed.saturating_sub(consumed));
                account.noted = promised;
                account.room = room;
                Ok(())
            }
            Err(error) => {
                account.room = 0;
                account.ahead = 0;
                Err(error)
            }
        }
    }

    /// Returns what is not used: of quotas that nobody wrote to since the last call, or of all.
    pub fn return_unused(&self, session: &Session, all: bool) {
        // A writer that is asking needs it.
        let Some(_asking) = self.asking.try_lock() else {
            return;
        };
        let mut lowered = Vec::new();
        self.accounts.lock().retain(|quota, account| {
            let idle = all || !account.busy;
            account.busy = false;
            if idle && account.noted > account.used {
                account.promised = account.promised.min(account.used);
                account.noted = account.used;
                account.ahead = 0;
                lowered.push((*quota, account.used));
            }
            account.promised > 0 || account.used > 0 || !idle
        });
        for (quota, bytes) in lowered {
            session.send(Op::ReserveQuota { quota, bytes });
        }
    }

    /// The session is gone, and its promises with it.
    pub fn clear(&self) {
        self.accounts.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_that_was_not_promised() {
        let promises = Promises::default();
        let quota = Ino(7);
        assert!(promises.take(quota, 0) && !promises.take(quota, 1));
        promises.accounts.lock().entry(quota).or_default().promised = 10;
        assert!(promises.take(quota, 10) && !promises.take(quota, 1));
        promises.give_back(quota, 4);
        assert!(!promises.take(quota, 5) && promises.take(quota, 4));
        promises.use_up(quota, 6);
        assert!(
            promises.take(quota, 0) && !promises.take(quota, 1),
            "what a commit used is gone"
        );
        promises.give_back(quota, 99);
        promises.clear();
        assert!(!promises.take(quota, 1));
    }
}
