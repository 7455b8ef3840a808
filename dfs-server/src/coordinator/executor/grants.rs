//! What a session is offered with an answer: shared leases on what it saw, exclusive ones on what it made, and
//! what it asked for. Never what conflicts, what somebody waits for, or what is being recalled.

use super::Executor;
use crate::coordinator::limits::SESSION_LEASES;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::keys::{self, Key};
use dfs_core::op::{Op, Reply, Ship};
use dfs_core::rows::InodeRow;
use dfs_core::types::{Attr, LeaseMode};
use dfs_core::view::{Execution, View};
use dfs_proto::v1;

impl Executor {
    /// Grants what goes with a successful answer; only what is new to the session is returned.
    pub(super) fn grants(&mut self, session: SessionId, op: &Op, execution: &Execution) -> Vec<v1::Grant> {
        let Ok(reply) = &execution.result else {
            return Vec::new();
        };
        if let Op::Ship(shipment) = op {
            self.keep_shipped(session, shipment, execution);
            return Vec::new();
        }
        let mut grants = Vec::new();
        for ino in execution.reads.union(&execution.writes) {
            if removed(execution, *ino) {
                self.leases.set(session, *ino, LeaseMode::None, false);
            } else if self.is_nameless_to(session, op, *ino) {
                // It is served, and gets nothing that would have to be asked back.
            } else {
                let changes = execution.writes.contains(ino) || self.may_take(op);
                let alone = changes && self.may_go_on_alone(session, op, *ino);
                let wanted = match alone {
                    true => LeaseMode::Exclusive,
                    false => wanted(op, reply, *ino),
                };
                grants.extend(self.grant(session, *ino, wanted));
            }
        }
        if let Reply::Entry { attr, created: true } = reply {
            grants.extend(self.grant(session, attr.ino, LeaseMode::Exclusive));
        }
        grants
    }

    /// Whether the inode that the call names by its number has lost its last name to a session that does not hold it: it learnt
    /// of it too late, and what frees the inode looks for no lease of it.
    fn is_nameless_to(&self, session: SessionId, op: &Op, ino: Ino) -> bool {
        let named = match op {
            Op::SetAttr { ino, .. }
            | Op::GetExtents { ino, .. }
            | Op::Allocate { ino, .. }
            | Op::GetXattr { ino, .. }
            | Op::ListXattr { ino }
            | Op::SetXattr { ino, .. }
            | Op::RemoveXattr { ino, .. } => *ino,
            _ => return false,
        };
        if named != ino || self.leases.mode(session, ino) == LeaseMode::Exclusive {
            return false;
        }
        let key = keys::inode(ino);
        let row = self.view.get(&key).ok().flatten();
        let nameless = row.and_then(|row| InodeRow::decode(&key, &row).ok());
        let held = || matches!(self.view.get(&keys::held(session, ino)), Ok(Some(_)));
        nameless.is_some_and(|row| row.nlink == 0) && !held()
    }

    /// What a session made by itself it has held since; what it removed is gone.
    fn keep_shipped(&mut self, session: SessionId, shipment: &Ship, execution: &Execution) {
        for ino in &execution.writes {
            if removed(execution, *ino) {
                self.leases.set(session, *ino, LeaseMode::None, false);
            }
        }
        for step in &shipment.steps {
            let lives = matches!(execution.effects.rows.get(&keys::inode(step.ino)), Some(Some(_)));
            if lives {
                let open = self.leases.is_open(session, step.ino);
                self.leases.set(session, step.ino, LeaseMode::Exclusive, open);
            }
        }
    }

    /// Whether what the operation looked at is given to the session alone: what it asks for to change it next. What others
    /// hold is known once they all have claimed it after a start.
    fn may_take(&self, op: &Op) -> bool {
        matches!(op, Op::ReadDir { alone: true, .. }) && self.grace.is_none()
    }

    /// Whether a session that has changed the inode's names or attributes is to go on by itself: not while others
    /// keep asking for it. Whoever sets a size writes next.
    fn may_go_on_alone(&self, session: SessionId, op: &Op, ino: Ino) -> bool {
        let names = matches!(
            op,
            Op::Make(_)
                | Op::Link { .. }
                | Op::Unlink(_)
                | Op::Rmdir { .. }
                | Op::Rename(_)
                | Op::SetAttr { .. }
                | Op::ReadDir { alone: true, .. }
        );
        let resizes = matches!(op, Op::SetAttr { changes, .. } if changes.size.is_some());
        let able = resizes || self.sessions.get(&session).is_some_and(|own| own.writes_back);
        let contended = self.contended.get(&ino);
        names && able && contended.is_none_or(|until| self.now.monotonic >= *until)
    }

    fn grant(&mut self, session: SessionId, ino: Ino, wanted: LeaseMode) -> Option<v1::Grant> {
        let before = self.leases.mode(session, ino);
        let withheld = self.recalls.get(session, ino).is_some()
            || self.parked.wants(ino)
            || self.leases.count(session) >= SESSION_LEASES
            || self.crowded_by(session);
        if withheld || wanted <= before {
            return None;
        }
        let mode = self.leases.grant(session, ino, wanted);
        let grant = v1::Grant {
            ino: ino.0,
            mode: v1::LeaseMode::from(mode).into(),
        };
        (mode > before).then_some(grant)
    }

    /// New attributes of the inodes that the operation changed and the session may cache.
    pub(super) fn touched(&self, session: SessionId, op: &Op, execution: &Execution) -> Vec<v1::Attr> {
        let mut touched = Vec::new();
        for (key, value) in &execution.effects.rows {
            let (Some(Key::Inode(ino)), Some(value)) = (keys::parse(key), value) else {
                continue;
            };
            // It knows what it did to names and attributes by itself.
            if matches!(op, Op::Ship(shipment) if !fills(shipment, ino)) {
                continue;
            }
            if self.leases.mode(session, ino) == LeaseMode::None {
                continue;
            }
            match InodeRow::decode(key, value) {
                Ok(row) => touched.push(Attr::into(row.attr(ino))),
                Err(error) => tracing::error!(%error, "an effect does not decode"),
            }
        }
        touched
    }
}

/// Whether content came for the inode.
fn fills(shipment: &Ship, ino: Ino) -> bool {
    let mut files = shipment.commit.iter().flat_map(|commit| &commit.files);
    files.any(|file| file.ino == ino)
}

fn removed(execution: &Execution, ino: Ino) -> bool {
    matches!(execution.effects.rows.get(&keys::inode(ino)), Some(None))
}

fn wanted(op: &Op, reply: &Reply, ino: Ino) -> LeaseMode {
    match (op, reply) {
        (Op::Acquire { mode, .. }, _) => *mode,
        (_, Reply::Entry { attr, created: true }) if attr.ino == ino => LeaseMode::Exclusive,
        _ => LeaseMode::Shared,
    }
}
