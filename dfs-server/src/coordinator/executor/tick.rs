//! What happens by the clock: overdue leases, silent sessions, the end of the grace period, silent datanodes,
//! heartbeats to clients.

use super::session::Outgoing;
use super::{Executor, Fault};
use dfs_core::ids::{Index, SessionId};
use dfs_core::types::Timestamp;
use dfs_proto::v1::{self, server_message::Message};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A client that was told nothing for this long is told that the coordinator lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Ticks further apart than this mean that the coordinator itself stood still.
const ABSENCE: Duration = Duration::from_secs(1);

impl Executor {
    pub(super) fn tick(&mut self) -> Result<(), Fault> {
        let now = self.now.monotonic;
        let absence = now
            .saturating_duration_since(self.last_tick)
            .saturating_sub(ABSENCE);
        self.last_tick = now;
        self.end_grace(now)?;
        self.revoke_overdue(now)?;
        self.end_silent(now)?;
        self.spare_leases();
        self.contended.retain(|_, until| now < *until);
        let healing = self.settings.healing;
        if self.cluster.tick(now, absence, healing.suspect_after) {
            self.push_map();
        }
        let dead = self.cluster.newly_dead(now, healing.dead_after);
        self.note_dead(&dead);
        if self.cluster.untold {
            self.push_map();
        }
        if !self.parked.for_nodes.is_empty() {
            self.retry_for_nodes()?;
        }
        if !self.parked.for_quota.is_empty() {
            self.retry_for_quota()?;
        }
        self.heartbeats(now);
        self.show_figures();
        Ok(())
    }

    /// A client's heartbeat is answered with its number: the client trusts its leases for a term from when it sent
    /// the newest one that was answered, and here they are kept for a term from when it came.
    pub(super) fn on_heartbeat(&mut self, session: SessionId, stream: u64, number: u64) {
        if self.heard(session, stream) {
            let beat = self.heartbeat(number, Some(self.now.wall));
            self.send(session, Index(0), Outgoing::Message(beat));
        }
    }

    fn heartbeats(&mut self, now: Instant) {
        // Whoever makes names by itself is to hear it before it makes many more.
        let full = self.disk_low.load(Ordering::Relaxed);
        let turned = std::mem::replace(&mut self.told_full, full) != full;
        let due = |told| turned || now.saturating_duration_since(told) > HEARTBEAT;
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, own)| own.stream.is_some() && due(own.told))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let beat = self.heartbeat(0, None);
            self.send(id, Index(0), Outgoing::Message(beat));
        }
    }

    fn heartbeat(&self, number: u64, time: Option<Timestamp>) -> v1::ServerMessage {
        v1::ServerMessage {
            message: Some(Message::Heartbeat(v1::Heartbeat {
                number,
                time: time.map(Into::into),
                full: self.disk_low.load(Ordering::Relaxed),
                ..v1::Heartbeat::default()
            })),
        }
    }

    /// Tells every client where chunks are now.
    pub(super) fn push_map(&mut self) {
        self.cluster.untold = false;
        let map = self.cluster.map();
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in sessions {
            let message = v1::ServerMessage {
                message: Some(Message::Map(map.clone())),
            };
            self.send(id, self.batch_or_durable(), Outgoing::Message(message));
        }
    }

    /// The index after which the present picture of the cluster is durable.
    pub(super) fn batch_or_durable(&self) -> Index {
        if self.batch.is_empty() {
            self.in_flight.back().map_or(Index(0), |record| record.index)
        } else {
            self.batch.index
        }
    }
}
