//! The answer to a client's operation: the outcome, what was granted, what changed; remembered with the effects
//! when it was a change, so that a repeat gets the same.

use super::session::{Answered, Outgoing};
use super::{Executor, Fault};
use dfs_core::ids::{Index, OpId, SessionId};
use dfs_core::op::Op;
use dfs_core::view::Execution;
use dfs_proto::convert::reply::outcome_to_wire;
use dfs_proto::v1;

impl Executor {
    /// Sends the answer as soon as `index` is durable.
    pub(super) fn answer(
        &mut self,
        session: SessionId,
        op_id: u64,
        op: &Op,
        execution: Execution,
        index: Index,
    ) -> Result<(), Fault> {
        let grants = self.grants(session, op, &execution);
        let touched = self.touched(session, op, &execution);
        if !execution.effects.is_empty() {
            self.add_effects(execution.effects);
            if self.sessions.contains_key(&session) {
                self.batch.answer(session, OpId(op_id), execution.result.clone());
            }
        }
        let outcome = outcome_to_wire(execution.result);
        if op.is_change()
            && let Some(outcome) = outcome.clone()
        {
            self.remember(session, op_id, Answered { index, outcome });
        }
        self.reply(
            session,
            index,
            v1::Reply {
                op_id,
                outcome,
                grants,
                touched,
                repeated: false,
                timing: None,
            },
        );
        Ok(())
    }

    fn remember(&mut self, session: SessionId, op_id: u64, answered: Answered) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.answered.insert(op_id, answered);
        }
    }

    /// A reply leaves in order with everything else for the session.
    pub(super) fn reply(&mut self, session: SessionId, index: Index, reply: v1::Reply) {
        let own = self.sessions.get_mut(&session);
        let mut taken = own.and_then(|own| own.executing.remove(&reply.op_id));
        if let Some(taken) = &mut taken {
            taken.executed = self.now.monotonic;
        }
        self.send(session, index, Outgoing::Reply(reply, taken.map(Box::new)));
    }
}
