//! Executing a change here, with the core's own functions, when leases make sure that the coordinator would do the
//! same. The kernel's thread does it and answers.

use super::view::Known;
use super::{ENTRIES_MAX, Entries, Entry, MANY};
use crate::inode::apply::Caches;
use dfs_core::error::FsResult;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::keys::{self, Key};
use dfs_core::namespace;
use dfs_core::op::{Op, Reply, Step};
use dfs_core::rows::InodeRow;
use dfs_core::types::{FileKind, LeaseMode, VolumeUsage};
use dfs_core::view::{Context, Execution, NoOpens};
use std::time::Instant;

/// No operation on names looks at it: space is asked for with inode numbers and chunks.
const ROOMY: VolumeUsage = VolumeUsage {
    total_bytes: u64::MAX,
    used_bytes: 0,
    available_bytes: u64::MAX,
    inodes: 0,
};

/// Any session but the coordinator: whose it is matters only to rows that are not kept here.
const ME: SessionId = SessionId(1);

impl Caches {
    /// Executes the change here if everything that it reads is known and everything that it changes is held alone. `None`:
    /// the coordinator has to be asked. The caller has seen that leases are trusted.
    pub fn execute_here(&self, op: &Op, trash: bool) -> Option<FsResult<Reply>> {
        let mut entries = self.journal.entries.lock();
        if entries.last - self.journal.confirmed() >= ENTRIES_MAX {
            self.journal.wanted.notify_one();
            return None;
        }
        let makes = matches!(op, Op::Make(_));
        if self.journal.is_full() && (makes || matches!(op, Op::Link { .. })) {
            return None;
        }
        if makes && !self.has_number(&mut entries) {
            return None;
        }
        let at = self.journal.time()?;
        let fresh = Ino(entries.inos.start);
        let view = Known { caches: self, trash };
        let context = Context {
            now: at,
            session: ME,
            fresh_ino: fresh,
            set: None,
            usage: ROOMY,
            opens: &NoOpens,
            counts: false,
        };
        let execution = namespace::execute(&view, &context, op).ok()?;
        if !self.holds_all(&execution) || !self.may_resize(op) {
            return None;
        }
        let reply = match &execution.result {
            Ok(reply) => reply.clone(),
            Err(error) => return Some(Err(*error)),
        };
        if execution.effects.is_empty() {
            return Some(Ok(reply));
        }
        let made = makes && matches!(reply, Reply::Entry { created: true, .. });
        entries.inos.start += u64::from(made);
        entries.last += 1;
        let place = entries.last;
        let mut inos: Vec<Ino> = execution.writes.iter().copied().collect();
        if made {
            inos.push(fresh);
        }
        self.apply_here(op, &reply, &execution, made.then_some(fresh), place);
        let named = match (op, &reply) {
            (Op::Rename(_), Reply::Renamed { moved, .. }) => Some(*moved),
            (Op::Link { ino, .. }, _) => Some(*ino),
            _ => None,
        };
        if let Some(ino) = named {
            self.with(ino, |state| state.named_here = place);
        }
        entries.waiting.push_back(Entry {
            place,
            since: Instant::now(),
            step: Step {
                at,
                ino: if made { fresh } else { Ino(0) },
                op: op.clone(),
            },
            inos,
            named,
            removed: orphaned(&reply),
        });
        if entries.waiting.len() >= MANY {
            self.journal.wanted.notify_one();
        }
        Some(Ok(reply))
    }

    /// Whether there is a number for a new inode.
    fn has_number(&self, entries: &mut Entries) -> bool {
        if entries.inos.is_empty() {
            entries.inos = std::mem::take(&mut entries.spare);
            self.journal.wanted.notify_one();
        }
        !entries.inos.is_empty()
    }

    /// Whether nobody else can disturb what was read and written, and no call under way changes it.
    fn holds_all(&self, execution: &Execution) -> bool {
        let held = |ino: Ino, mode: LeaseMode| {
            self.table.find(ino).is_some_and(|inode| {
                let state = inode.state.lock();
                state.lease >= mode && state.recalling == 0 && state.changing_there == 0
            })
        };
        let reads = execution.reads.iter().all(|ino| held(*ino, LeaseMode::Shared));
        reads
            && execution
                .writes
                .iter()
                .all(|ino| held(*ino, LeaseMode::Exclusive))
    }

    /// Whether it is known here what a new size leaves of the content: nothing, or all. While something is on its way to
    /// its commit it could come back.
    fn may_resize(&self, op: &Op) -> bool {
        let Op::SetAttr { ino, changes } = op else {
            return true;
        };
        let Some(size) = changes.size else { return true };
        self.table.find(*ino).is_some_and(|inode| {
            let state = inode.state.lock();
            let content = &state.content;
            let quiet = content.hold > 0 && content.flights.is_empty() && content.error.is_none();
            quiet && (size == 0 || state.attr.is_some_and(|attr| size >= attr.size))
        })
    }

    fn apply_here(&self, op: &Op, reply: &Reply, execution: &Execution, made: Option<Ino>, place: u64) {
        let mut touched = Vec::new();
        for (key, value) in &execution.effects.rows {
            if let (Some(Key::Inode(ino)), Some(value)) = (keys::parse(key), value)
                && let Ok(row) = InodeRow::decode(key, value)
            {
                touched.push(row.attr(ino));
            }
        }
        if let Some(ino) = made {
            let inode = self.table.get(ino);
            let mut state = inode.state.lock();
            state.set_lease(LeaseMode::Exclusive);
            state.complete = true;
        }
        for attr in &mut touched {
            self.with(attr.ino, |state| {
                attr.blocks = match state.attr {
                    Some(own) if attr.kind != FileKind::File || attr.size > 0 => own.blocks,
                    _ => 0,
                };
                state.attr = Some(*attr);
            });
        }
        if let (Op::Make(make), Reply::Entry { attr, .. }) = (op, reply)
            && attr.kind == FileKind::Symlink
        {
            self.with(attr.ino, |state| state.target = Some(make.target.clone()));
        }
        let was_touched = |ino: Ino| touched.iter().any(|attr| attr.ino == ino);
        self.succeeded(op, reply, &was_touched, u64::MAX);
        // What the reply says of blocks is not known where it was made.
        for attr in &touched {
            self.with(attr.ino, |state| {
                if let Some(own) = &mut state.attr {
                    own.blocks = attr.blocks;
                }
            });
        }
        for ino in execution.writes.iter().copied().chain(made) {
            self.with(ino, |state| state.changed_here = place);
        }
        if let Some(ino) = made {
            self.with(ino, |state| state.born_here = place);
        }
        if let Op::SetAttr { ino, changes } = op {
            self.with(*ino, |state| {
                state.attrs_here = place;
                if let Some(size) = changes.size {
                    state.size_here = place;
                    state.cut_here = if size == 0 { place } else { state.cut_here };
                }
            });
        }
    }
}

/// What lost its last name and is held here.
fn orphaned(reply: &Reply) -> Option<Ino> {
    match reply {
        Reply::Removed { ino, orphan: true } => Some(*ino),
        Reply::Renamed {
            replaced: Some((ino, true)),
            ..
        } => Some(*ino),
        _ => None,
    }
}
