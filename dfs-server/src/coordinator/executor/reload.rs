//! What the executor knows in memory, read from the recovered rows at start.

use super::cluster::Node;
use super::grace::Grace;
use super::lapse::Lapse;
use super::session::{Answered, Session};
use super::{Executor, Fault};
use dfs_core::ids::{Index, NodeId, SessionId, SetId};
use dfs_core::keys::{self, Key, KeyRange};
use dfs_core::rows::{NodeRow, NodeState, PlanRow, RepliesRow, SessionRow, SetRow, SettingRow};
use dfs_core::view::{View, ViewError};
use dfs_proto::convert::reply::outcome_to_wire;
use std::ops::ControlFlow;
use std::time::Instant;

impl Executor {
    pub(super) fn reload(&mut self, now: Instant) -> Result<(), Fault> {
        self.load_counters()?;
        self.load_cluster(now)?;
        self.load_sessions(now)?;
        if !self.sessions.is_empty() {
            tracing::info!(
                sessions = self.sessions.len(),
                "waiting for the clients of before"
            );
            self.grace = Some(Grace {
                until: now + self.settings.lease_term,
                absent: self.sessions.keys().copied().collect(),
                refused: Default::default(),
                parked: Vec::new(),
                locks: Vec::new(),
            });
        }
        Ok(())
    }

    fn load_cluster(&mut self, now: Instant) -> Result<(), Fault> {
        let nodes: Vec<(NodeId, NodeRow)> = self.rows(keys::prefix::nodes(), |key, value| match key {
            Key::Node(id) => NodeRow::decode(&[], value).map(|row| Some((id, row))),
            _ => Ok(None),
        })?;
        for (id, row) in nodes {
            // Believed alive until it was silent as long as any other; a dead one must speak first.
            let alive = row.state != NodeState::Dead;
            self.cluster.nodes.insert(
                id,
                Node {
                    row,
                    heard: now,
                    alive,
                    beat: None,
                },
            );
        }
        let sets: Vec<(SetId, SetRow)> = self.rows(keys::prefix::sets(), |key, value| match key {
            Key::Set(id) => SetRow::decode(&[], value).map(|row| Some((id, row))),
            _ => Ok(None),
        })?;
        self.cluster.sets.extend(sets);
        let plans: Vec<(u64, PlanRow)> = self.rows(keys::prefix::plans(), |key, value| match key {
            Key::Plan(number) => PlanRow::decode(&[], value).map(|row| Some((number, row))),
            _ => Ok(None),
        })?;
        self.cluster.plans.extend(plans);
        self.note_trash()
    }

    /// Whether the volume has a trash now.
    pub(super) fn note_trash(&mut self) -> Result<(), Fault> {
        let key = keys::setting(b"trash_retention");
        let row = self.view.get(&key)?;
        let row = row.map(|value| SettingRow::decode(&key, &value)).transpose()?;
        self.cluster.trash = row.is_some_and(|row| row.value > 0);
        self.cluster.changed();
        Ok(())
    }

    fn load_sessions(&mut self, now: Instant) -> Result<(), Fault> {
        let sessions: Vec<(SessionId, SessionRow)> =
            self.rows(keys::prefix::sessions(), |key, value| match key {
                Key::Session(id) => SessionRow::decode(&[], value).map(|row| Some((id, row))),
                _ => Ok(None),
            })?;
        for (id, row) in sessions {
            let mut own = Session::new(row.client, now);
            if row.lapsed {
                own.lapse = Lapse::Before;
            }
            self.sessions.insert(id, own);
        }
        let replies = self.rows(keys::prefix::replies(), |key, value| match key {
            Key::Reply { session, op } => {
                RepliesRow::decode_under(op, value).map(|row| Some((session, op, row)))
            }
            _ => Ok(None),
        })?;
        for (session, under, row) in replies {
            let Some(own) = self.sessions.get_mut(&session) else {
                continue;
            };
            let last = row.0.iter().map(|(op, _)| *op).max().unwrap_or(under);
            own.reply_rows.insert(last.0, under);
            for (op, result) in row.0 {
                let index = Index(0);
                if let Some(outcome) = outcome_to_wire(result) {
                    own.answered.insert(op.0, Answered { index, outcome });
                }
            }
        }
        Ok(())
    }

    fn rows<T>(
        &self,
        (start, end): KeyRange,
        read: impl Fn(Key, &[u8]) -> Result<Option<T>, ViewError>,
    ) -> Result<Vec<T>, ViewError> {
        let mut found = Vec::new();
        let mut failure = None;
        self.view.scan(&start, &end, &mut |key, value| {
            let Some(parsed) = keys::parse(key) else {
                return ControlFlow::Continue(());
            };
            match read(parsed, value) {
                Ok(row) => found.extend(row),
                Err(error) => failure = Some(error),
            }
            if failure.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        failure.map_or(Ok(found), Err)
    }
}
