//! The coordinator's own operations: purging, ending sessions, garbage, repair. Executed in order with all others.

use super::event::Outcome;
use super::parked::{Caller, Pending};
use super::{Executor, Fault};
use dfs_core::op::Op;
use tokio::sync::oneshot;

impl Executor {
    pub(super) fn own(&mut self, op: Op, answer: oneshot::Sender<Outcome>) -> Result<(), Fault> {
        self.attempt(Pending::new(Caller::Own(answer), op, self.now.monotonic))
    }
}
