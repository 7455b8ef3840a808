//! Leases that come back: acknowledged recalls, gifts, and leases taken from holders that stay silent.

use super::{Executor, Fault};
use crate::coordinator::limits::RECALL_TERMS;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::types::LeaseMode;
use std::time::Instant;

impl Executor {
    /// A session says what it holds of an inode. Only the answer to the newest recall lowers the table: a gift
    /// may cross a grant on its way, so it is confirmed by a recall, which the client answers in stream order.
    pub(super) fn lease_ack(
        &mut self,
        session: SessionId,
        ino: Ino,
        mode: LeaseMode,
        open: bool,
        number: u64,
    ) -> Result<(), Fault> {
        let held = self.leases.mode(session, ino);
        let recall = self.recalls.get(session, ino).copied();
        match recall {
            Some(recall) if recall.number == number => {
                self.figures
                    .recall_time
                    .took(self.now.monotonic.saturating_duration_since(recall.since));
                self.recalls.remove(session, ino);
                self.unheard.answered(session, ino, number);
                self.leases
                    .set(session, ino, mode.min(recall.keep).min(held), open);
                if recall.taken {
                    self.settle(session)?;
                    self.end_grace(self.now.monotonic)?;
                }
                self.retry(ino)
            }
            _ => {
                self.leases.set(session, ino, held, open);
                if number == 0 && mode < held {
                    self.recall(session, ino, mode, false);
                }
                Ok(())
            }
        }
    }

    /// Executes again what waited for the inode.
    pub(super) fn retry(&mut self, ino: Ino) -> Result<(), Fault> {
        for pending in self.parked.take(ino) {
            self.attempt(pending)?;
        }
        Ok(())
    }

    /// Takes leases that somebody waits for from holders that were silent for a lease term (they have stopped
    /// trusting them by themselves) or that do not answer for much longer.
    pub(super) fn revoke_overdue(&mut self, now: Instant) -> Result<(), Fault> {
        let term = self.settings.lease_term;
        let overdue: Vec<(SessionId, Ino)> = self
            .recalls
            .iter()
            .filter(|(session, ino, recall)| {
                let silent = self
                    .sessions
                    .get(session)
                    .is_none_or(|holder| now - holder.heard > term);
                let wanted = recall.pressed && self.parked.wants(*ino);
                wanted && (silent || now - recall.since > term * RECALL_TERMS)
            })
            .map(|(session, ino, _)| (session, ino))
            .collect();
        for (session, ino) in overdue {
            tracing::warn!(%session, %ino, "a lease was taken from a session that did not give it back");
            self.figures.revoked.inc();
            self.lapse(session)?;
            self.tell_taken(session, ino, LeaseMode::None);
            // Whether it holds the inode open is not known: assume so until the session ends.
            self.leases.set(session, ino, LeaseMode::None, true);
            self.retry(ino)?;
        }
        Ok(())
    }
}
