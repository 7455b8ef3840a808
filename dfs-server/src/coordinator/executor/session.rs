//! A client's session as the executor keeps it: its stream, its answers that the client has not acknowledged,
//! what waits to be sent. Transitions are in the files named after them.

use super::figures::Taken;
use dfs_core::ids::Index;
use dfs_proto::v1;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;
use tokio::sync::mpsc;

/// Something for the client, in order with everything else for it.
pub enum Outgoing {
    /// With the call that it answers, unless it is a repeat.
    Reply(v1::Reply, Option<Taken>),
    Message(v1::ServerMessage),
}

/// The present stream of a session.
pub struct Stream {
    pub number: u64,
    pub messages: mpsc::Sender<v1::ServerMessage>,
}

/// The first answer to a change, kept for a repeat.
#[derive(Clone)]
pub struct Answered {
    pub index: Index,
    pub outcome: v1::reply::Outcome,
}

pub struct Session {
    pub client: String,
    pub stream: Option<Stream>,
    pub heard: Instant,
    /// The client has all answers to changes below this.
    pub acked_below: u64,
    pub answered: BTreeMap<u64, Answered>,
    /// Calls that were taken and not yet answered.
    pub executing: BTreeMap<u64, Taken>,
    /// Messages in order, each with the index that must be durable before it leaves.
    pub outbox: VecDeque<(Index, Outgoing)>,
    /// When it was last told something.
    pub told: Instant,
    /// Upper bound of the locks and waits that it has.
    pub locks_at_most: usize,
}

impl Session {
    pub fn new(client: String, now: Instant) -> Session {
        Session {
            client,
            stream: None,
            heard: now,
            acked_below: 0,
            answered: BTreeMap::new(),
            executing: BTreeMap::new(),
            outbox: VecDeque::new(),
            told: now,
            locks_at_most: 0,
        }
    }

    /// Whether this is the stream that speaks for the session.
    pub fn is_current(&self, stream: u64) -> bool {
        self.stream.as_ref().is_some_and(|own| own.number == stream)
    }

    /// Calls that have no answer on its way to the client yet.
    pub fn unanswered(&self) -> usize {
        self.executing.len() + self.outbox.len()
    }
}
