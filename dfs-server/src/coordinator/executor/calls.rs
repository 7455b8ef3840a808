//! Calls of a client: repeats are recognised, acknowledged answers forgotten, the rest is attempted.

use super::event::{Body, Call};
use super::figures::Taken;
use super::parked::{Caller, Pending};
use super::rules::Rule;
use super::{Executor, Fault};
use crate::coordinator::limits::SESSION_CALLS;
use dfs_client::observe::request;
use dfs_core::error::FsError;
use dfs_core::ids::{Index, SessionId};
use dfs_core::keys;
use dfs_core::op::Op;
use dfs_proto::convert::reply::outcome_to_wire;
use dfs_proto::v1;
use dfs_proto::v1::refused::Reason;

impl Executor {
    pub(super) fn on_calls(
        &mut self,
        session: SessionId,
        stream: u64,
        calls: Vec<Call>,
    ) -> Result<(), Fault> {
        if !self.heard(session, stream) {
            return Ok(());
        }
        let waiting = self.sessions.get(&session).map_or(0, |own| own.unanswered());
        if waiting + calls.len() > SESSION_CALLS {
            let message = format!("more than {SESSION_CALLS} calls without an answer; wait for answers");
            self.refuse(session, Reason::Protocol, &message);
            return Ok(());
        }
        for call in calls {
            self.forget_answered(session, call.acked_below);
            self.on_call(session, call)?;
        }
        self.unheard.repeated(session, self.recalls.newest());
        Ok(())
    }

    fn on_call(&mut self, session: SessionId, call: Call) -> Result<(), Fault> {
        let op_id = call.op_id;
        let repeats = self.breaks(Rule::OneAnswer);
        let Some(own) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        if let Some(answered) = own.answered.get(&op_id).filter(|_| !repeats).cloned() {
            let op = match &call.body {
                Body::Op(op) => Some(op),
                Body::Lock(..) | Body::Wrong => None,
            };
            return self.repeat(session, op_id, op, answered);
        }
        let change = matches!(&call.body, Body::Op(op) if op.is_change());
        if change && op_id < own.acked_below {
            tracing::debug!(%session, op_id, "an acknowledged call came again and is not executed");
            return Ok(());
        }
        if own.executing.contains_key(&op_id) {
            return Ok(());
        }
        let taken = Taken {
            arrived: call.timed,
            since: self.now.monotonic,
            executed: self.now.monotonic,
            kind: kind(&call.body),
        };
        own.executing.insert(op_id, taken);
        own.counts.calls += 1;
        if let Body::Op(Op::Commit(commit)) = &call.body
            && tracing::enabled!(tracing::Level::DEBUG)
        {
            for chunk in &commit.chunks {
                let (upload, call) = (
                    request::transfer(session, chunk.id),
                    request::call(session, op_id),
                );
                tracing::debug!(request = upload, call, "a chunk is committed");
            }
        }
        match call.body {
            Body::Op(op) => {
                let caller = Caller::Session { id: session, op_id };
                self.attempt(Pending::new(caller, op, self.now.monotonic))
            }
            Body::Lock(lock, action) => {
                self.on_lock(session, op_id, lock, action);
                Ok(())
            }
            Body::Wrong => {
                let reply = v1::Reply {
                    op_id,
                    outcome: outcome_to_wire(Err(FsError::Invalid)),
                    grants: Vec::new(),
                    touched: Vec::new(),
                    repeated: false,
                    timing: None,
                };
                self.reply(session, Index(0), reply);
                Ok(())
            }
        }
    }

    /// The client has these answers: nothing repeats them.
    fn forget_answered(&mut self, session: SessionId, below: u64) {
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        if below <= own.acked_below {
            return;
        }
        own.acked_below = below;
        self.unheard.acknowledged(session, below);
        own.answered = own.answered.split_off(&below);
        let kept = own.reply_rows.split_off(&below);
        let forgotten = std::mem::replace(&mut own.reply_rows, kept);
        for (_, under) in forgotten {
            self.put_row(keys::reply(session, under), None);
        }
    }
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::Op(op) => op.name(),
        Body::Lock(..) => "lock",
        Body::Wrong => "wrong",
    }
}
