//! A client's session as the executor keeps it: its stream, its answers that the client has not acknowledged,
//! what waits to be sent. Transitions are in the files named after them.

use super::event::Moved;
use super::figures::Taken;
use super::lapse::Lapse;
use dfs_core::ids::{Index, OpId};
use dfs_proto::v1;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Something for the client, in order with everything else for it.
pub enum Outgoing {
    /// With the call that it answers, unless it is a repeat.
    Reply(v1::Reply, Option<Box<Taken>>),
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
    /// The newest of the client's streams that was presented here, as the client counts them.
    pub ordinal: u64,
    pub lapse: Lapse,
    /// It changes directories under exclusive leases by itself: it gets them with its changes.
    pub writes_back: bool,
    /// The client has all answers to changes below this.
    pub acked_below: u64,
    pub answered: BTreeMap<u64, Answered>,
    /// The rows that keep them: the highest number of a row's answers, and the one that it is kept under.
    pub reply_rows: BTreeMap<u64, OpId>,
    /// Calls that were taken and not yet answered.
    pub executing: BTreeMap<u64, Taken>,
    /// Messages in order, each with the index that must be durable before it leaves.
    pub outbox: VecDeque<(Index, Outgoing)>,
    /// When it was last told something.
    pub told: Instant,
    /// Upper bound of the locks and waits that it has.
    pub locks_at_most: usize,
    pub counts: Counts,
}

/// What a session did since the coordinator knows it, for people.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub calls: u64,
    pub recalls: u64,
    pub moved: Moved,
}

impl Session {
    pub fn new(client: String, now: Instant) -> Session {
        Session {
            client,
            stream: None,
            heard: now,
            ordinal: 0,
            lapse: Lapse::No,
            writes_back: false,
            acked_below: 0,
            answered: BTreeMap::new(),
            reply_rows: BTreeMap::new(),
            executing: BTreeMap::new(),
            outbox: VecDeque::new(),
            told: now,
            locks_at_most: 0,
            counts: Counts::default(),
        }
    }

    /// Whether this is the stream that speaks for the session.
    pub fn is_current(&self, stream: u64) -> bool {
        self.stream.as_ref().is_some_and(|own| own.number == stream)
    }

    /// Since when the oldest call waits for its answer. Whoever waits for a lock of a file waits for people.
    pub fn oldest_pending(&self, now: Instant) -> Duration {
        let taken = self.executing.values().filter(|taken| taken.kind != "lock");
        taken
            .map(|taken| now.saturating_duration_since(taken.since))
            .max()
            .unwrap_or_default()
    }

    /// Calls that have no answer on its way to the client yet.
    pub fn unanswered(&self) -> usize {
        self.executing.len() + self.outbox.len()
    }
}
