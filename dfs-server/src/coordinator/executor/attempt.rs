//! One attempt at an operation: execute it on the view, and either make its effects part of the batch and answer,
//! or park it until the leases in its way are gone.

use super::parked::{Caller, Pending};
use super::rules::Rule;
use super::{Executor, Fault};
use crate::coordinator::limits::NODES_WAIT;
use dfs_core::error::FsError;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::lease::Conflict;
use dfs_core::namespace;
use dfs_core::op::{Op, Reply};
use dfs_core::types::LeaseMode;
use dfs_core::view::{Context, Effects, Execution, View};
use std::sync::atomic::Ordering;

impl Executor {
    /// Executes the operation or parks it.
    pub(super) fn attempt(&mut self, mut pending: Pending) -> Result<(), Fault> {
        let me = pending.caller.session();
        self.view.begin_reading();
        if let Some(refusal) = self.refusal(me, &pending.op)? {
            return self.finish(pending, failed(refusal));
        }
        let set = match &mut pending.op {
            Op::AllocChunks { avoid, .. } => {
                let set = self.cluster.choose(avoid, self.counters.next_ino);
                if set.is_none() && !self.cluster.is_full() {
                    if self.now.monotonic.saturating_duration_since(pending.since) >= NODES_WAIT {
                        return self.finish(pending, failed(FsError::TimedOut));
                    }
                    self.parked.for_nodes.push(pending);
                    return Ok(());
                }
                set
            }
            _ => None,
        };
        let context = Context {
            now: self.now.wall,
            session: me,
            fresh_ino: Ino(self.counters.next_ino),
            set,
            usage: self.usage(),
            opens: &self.leases,
            counts: !self.breaks(Rule::Sums),
        };
        let mut execution = namespace::execute(&self.view, &context, &pending.op)?;
        if let Op::Acquire {
            ino,
            mode: LeaseMode::Exclusive,
        } = pending.op
        {
            execution.writes.insert(ino);
        }
        if me == SessionId::COORDINATOR && !pending.op.minds_leases() {
            return self.finish(pending, execution);
        }
        if let Op::Ship(_) = &pending.op {
            return self.finish_shipment(pending, execution);
        }
        if self.asks_for_promises(&mut pending, &execution)? {
            self.parked.for_quota.push(pending);
            return Ok(());
        }
        if let Some(grace) = &self.grace
            && !self.breaks(Rule::Grace)
            && !grace.only(me)
            && !self.covered(me, &execution.reads, &execution.writes)
        {
            self.park_for_grace(pending);
            return Ok(());
        }
        let mut conflicts = self.leases.conflicts(me, &execution.reads, &execution.writes);
        if conflicts.is_empty() {
            conflicts = self.unheard(me, &execution.reads);
        }
        if conflicts.is_empty() {
            return self.finish(pending, execution);
        }
        if asks_too_much(&mut pending.op) {
            return self.attempt(pending);
        }
        self.park_behind(pending, conflicts);
        Ok(())
    }

    /// It waits until the leases in its way are given back.
    fn park_behind(&mut self, mut pending: Pending, conflicts: Vec<Conflict>) {
        pending.outstanding.clear();
        for conflict in conflicts {
            pending.wanted.insert(conflict.ino);
            pending.outstanding.insert(conflict.ino);
            self.recall(conflict.session, conflict.ino, conflict.keep, true);
        }
        self.parked.park(pending);
    }

    /// It was done in the belief that nobody could come between: it takes effect at once or never.
    fn finish_shipment(&mut self, pending: Pending, execution: Execution) -> Result<(), Fault> {
        let me = pending.caller.session();
        let covered =
            self.breaks(Rule::LeaseForCommit) || self.covered(me, &execution.reads, &execution.writes);
        let execution = if covered {
            execution
        } else {
            let held = |ino: &Ino| (ino.0, self.leases.mode(me, *ino));
            let reads: Vec<_> = execution.reads.iter().map(held).collect();
            let writes: Vec<_> = execution.writes.iter().map(held).collect();
            tracing::warn!(session = %me, ?reads, ?writes, "a shipment needs leases that its session does not have");
            failed(FsError::Stale)
        };
        self.finish(pending, execution)
    }

    /// Executes again the chunk requests that wait for datanodes.
    pub(super) fn retry_for_nodes(&mut self) -> Result<(), Fault> {
        for pending in std::mem::take(&mut self.parked.for_nodes) {
            self.attempt(pending)?;
        }
        Ok(())
    }

    /// Executes again what was refused for a quota while others may give promises back.
    pub(super) fn retry_for_quota(&mut self) -> Result<(), Fault> {
        for pending in std::mem::take(&mut self.parked.for_quota) {
            self.attempt(pending)?;
        }
        Ok(())
    }

    /// Why the operation is not even tried.
    fn refusal(&self, me: SessionId, op: &Op) -> Result<Option<FsError>, Fault> {
        if me == SessionId::COORDINATOR {
            return Ok(None);
        }
        if op.is_internal() {
            return Ok(Some(FsError::NotPermitted));
        }
        if grows(op) && self.disk_low.load(Ordering::Relaxed) {
            return Ok(Some(FsError::NoSpace));
        }
        let Op::Commit(commit) = op else {
            return Ok(None);
        };
        for file in &commit.files {
            // A file that is gone is skipped by the commit itself.
            let held = self.leases.mode(me, file.ino) == LeaseMode::Exclusive;
            let needed = !self.breaks(Rule::LeaseForCommit);
            if needed && !held && self.view.get(&dfs_core::keys::inode(file.ino))?.is_some() {
                return Ok(Some(FsError::Stale));
            }
        }
        Ok(None)
    }

    /// The result stands: effects into the batch, answer to the caller.
    fn finish(&mut self, pending: Pending, mut execution: Execution) -> Result<(), Fault> {
        let changed = !execution.effects.is_empty();
        if changed {
            self.consume_ino(&execution);
            #[cfg(test)]
            self.note_executed(&pending, &execution);
            self.tell_holders(pending.caller.session(), &pending.op, &execution.effects);
            if let Caller::Own(_) = pending.caller {
                self.add_effects(std::mem::take(&mut execution.effects));
            }
            if let Op::SetSetting { .. } = pending.op {
                self.note_trash()?;
                self.push_map();
            }
        }
        let index = if changed {
            self.batch.index
        } else {
            self.view.seen()
        };
        match pending.caller {
            Caller::Own(answer) if is_partial_end(&pending.op, &execution.result) => {
                self.attempt(Pending::new(Caller::Own(answer), pending.op, self.now.monotonic))
            }
            Caller::Own(answer) => {
                let result = execution.result;
                self.when_durable(index, move || {
                    // A caller that gave up waiting needs no answer.
                    let _ = answer.send(result);
                });
                Ok(())
            }
            Caller::Session { id, op_id } => {
                if changed {
                    self.note_unheard(id, op_id, &pending.op, &execution.writes);
                }
                self.answer(id, op_id, &pending.op, execution, index)
            }
        }
    }

    #[cfg(test)]
    fn note_executed(&mut self, pending: &Pending, execution: &Execution) {
        self.trace.push(crate::coordinator::simulation::Executed {
            session: pending.caller.session(),
            op_id: match pending.caller {
                Caller::Session { op_id, .. } => op_id,
                Caller::Own(_) => 0,
            },
            op: pending.op.clone(),
            result: execution.result.clone(),
            rows: execution.effects.rows.clone(),
            index: self.batch.index,
        });
    }

    fn consume_ino(&mut self, execution: &Execution) {
        if let Ok(Reply::InoRange { first, count }) = execution.result {
            self.counters.give_out(first, count);
            return;
        }
        let made = matches!(&execution.result, Ok(Reply::Entry { attr, created: true })
            if attr.ino.0 == self.counters.next_ino);
        if made
            || execution
                .effects
                .rows
                .contains_key(&dfs_core::keys::inode(Ino(self.counters.next_ino)))
        {
            self.take_ino();
        }
    }
}

/// Whoever wants entries to itself disturbs nobody who has one: then it gets their names only.
fn asks_too_much(op: &mut Op) -> bool {
    match op {
        Op::ReadDir {
            attrs, alone: true, ..
        } => std::mem::take(attrs),
        _ => false,
    }
}

/// A session with very many rows ends in several steps.
fn is_partial_end(op: &Op, result: &Result<Reply, FsError>) -> bool {
    matches!(
        (op, result),
        (Op::EndSession { .. }, Ok(Reply::Progress { more: true }))
    )
}

/// Operations that need space in the log and the state for good; the others shrink or only ask.
fn grows(op: &Op) -> bool {
    matches!(
        op,
        Op::Make(_)
            | Op::MakeTemp { .. }
            | Op::Link { .. }
            | Op::SetXattr { .. }
            | Op::Commit(_)
            | Op::Allocate { .. }
            | Op::CopyRange { .. }
            | Op::AllocChunks { .. }
            // Without numbers a session soon makes nothing more. What it has made already is taken.
            | Op::AllocInos { .. }
    )
}

fn failed(error: FsError) -> Execution {
    Execution {
        result: Err(error),
        effects: Effects::default(),
        reads: Default::default(),
        writes: Default::default(),
    }
}
