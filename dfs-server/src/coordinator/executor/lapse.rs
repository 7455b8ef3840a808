//! Sessions that others were given something of behind their back: a lease was taken from a silent one, or one did
//! not come back in the grace period. It is noted durably, before anything that follows from it leaves, so that the
//! next leader does not believe what such a session claims. Ends when the session knows what it has lost.

use super::{Executor, Fault};
use dfs_core::ids::SessionId;
use dfs_core::keys;
use dfs_core::rows::SessionRow;
use dfs_core::view::View;

/// Whether a session may believe to hold what others were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// No leader gave anything of it to others without its knowledge.
    No,
    /// This leader did, and its tables tell what is left.
    Here,
    /// An earlier leader did: nobody knows what is left.
    Before,
}

impl Executor {
    /// From here on others may be given what the session may believe to hold.
    pub(super) fn lapse(&mut self, id: SessionId) -> Result<(), Fault> {
        match self.sessions.get_mut(&id) {
            Some(own) if own.lapse == Lapse::No => own.lapse = Lapse::Here,
            _ => return Ok(()),
        }
        self.note_lapse(id, true)
    }

    /// Ends the lapse when the session has confirmed all that it was told to have lost. Until then the grace period
    /// waits for it: its trust may be from the leader before.
    pub(super) fn settle(&mut self, id: SessionId) -> Result<(), Fault> {
        let Some(own) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        if own.lapse != Lapse::No {
            if own.lapse == Lapse::Before || own.stream.is_none() || self.recalls.has_taken(id) {
                return Ok(());
            }
            own.lapse = Lapse::No;
            self.note_lapse(id, false)?;
        }
        self.no_longer_absent(id);
        Ok(())
    }

    /// Nothing leaves any more before what the present batch says is durable.
    pub(super) fn hold_back(&mut self) {
        if !self.batch.is_empty() {
            self.floor = self.batch.index;
        }
    }

    fn note_lapse(&mut self, id: SessionId, lapsed: bool) -> Result<(), Fault> {
        let key = keys::session(id);
        let Some(value) = self.view.get(&key)? else {
            return Ok(());
        };
        let row = SessionRow::decode(&key, &value)?;
        self.put_row(key, Some(SessionRow { lapsed, ..row }.encode()));
        self.hold_back();
        Ok(())
    }
}
