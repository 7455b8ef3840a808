//! Keeps the leases of all sessions together within a bound, so that memory does not grow with what clients
//! cache: the fullest sessions are asked for what lies idle, and one that holds more than its share gets nothing new
//! before they have answered. Asked at every tick.

use super::Executor;
use crate::coordinator::limits::SPARED_LEASES;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::types::LeaseMode;

impl Executor {
    /// Whether the session holds more than its share while all together hold too many. A quarter beyond the bound
    /// is left for the time that it takes to get idle ones back.
    pub(super) fn crowded_by(&self, session: SessionId) -> bool {
        let bound = self.settings.max_leases as usize;
        let most = bound + bound / 4;
        self.leases.total() >= most && self.leases.count(session) >= most / self.sessions.len().max(1)
    }

    /// Asks the fullest sessions for what they do not hold open, those made first before others.
    pub(super) fn spare_leases(&mut self) {
        let bound = self.settings.max_leases as usize;
        let mut excess = self.leases.total().saturating_sub(bound);
        if excess == 0 {
            self.spared.clear();
            return;
        }
        self.spared.retain(|id, _| self.sessions.contains_key(id));
        let connected = self.sessions.iter().filter(|(_, own)| own.stream.is_some());
        let mut fullest: Vec<(usize, SessionId)> =
            connected.map(|(id, _)| (self.leases.count(*id), *id)).collect();
        fullest.sort_unstable_by(|one, other| other.cmp(one));
        let share = bound / self.sessions.len().max(1);
        for (held, session) in fullest {
            let asked = self.recalls.count(session);
            excess = excess.saturating_sub(asked);
            let most = excess.min(held.saturating_sub(share));
            let ask = most.min(SPARED_LEASES.saturating_sub(asked));
            if ask > 0 {
                excess -= self.ask_for_idle(session, ask);
            }
            if excess == 0 {
                return;
            }
        }
    }

    fn ask_for_idle(&mut self, session: SessionId, ask: usize) -> usize {
        let after = self.spared.get(&session).copied().unwrap_or(Ino(0));
        let idle = self.leases.idle(session, after, ask);
        // After the last one it begins again with those that it refused or has taken since.
        let reached = idle.last().copied().unwrap_or(Ino(0));
        self.spared.insert(session, reached);
        for ino in &idle {
            self.recall(session, *ino, LeaseMode::None, false);
        }
        idle.len()
    }
}
