//! What the executor is told, in the core's values. Streams, services and workers make these.

use super::nodes::Order;
use super::status::Status;
use dfs_core::error::FsResult;
use dfs_core::ids::{Index, Ino, SessionId, Term};
use dfs_core::lock::Lock;
use dfs_core::op::{Op, Reply};
use dfs_core::types::LeaseMode;
use dfs_proto::convert::lock::LockAction;
use dfs_proto::v1::ServerMessage;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// The answer to the coordinator's own operation.
pub type Outcome = FsResult<Reply>;

/// A client presents its session on a new stream.
pub struct Greeting {
    pub session: SessionId,
    /// A number that no other stream has.
    pub stream: u64,
    pub client: String,
    pub resume: bool,
    /// It changes directories under exclusive leases by itself.
    pub writes_back: bool,
    /// Which of the session's streams it is, as the client counts them; 0: it does not say.
    pub ordinal: u64,
    pub leases: Vec<(Ino, LeaseMode, bool)>,
    pub locks: Vec<Lock>,
    pub messages: mpsc::Sender<ServerMessage>,
}

/// One call of a client.
pub struct Call {
    pub op_id: u64,
    pub acked_below: u64,
    /// When it arrived, if its client wants to know where the time went.
    pub timed: Option<Instant>,
    pub body: Body,
}

pub enum Body {
    Op(Op),
    Lock(Lock, LockAction),
    /// It could not be understood; it is answered so.
    Wrong,
}

/// What a datanode says of itself.
#[derive(Clone, Debug)]
pub struct Beat {
    pub uuid: [u8; 16],
    pub address: String,
    pub zone: String,
    pub capacity: u64,
    pub used: u64,
    pub free: u64,
    pub chunks: u64,
    pub problem: String,
    pub process: Process,
}

/// What a datanode's process says of itself.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// It is about to stop in order.
    pub leaving: bool,
    pub version: String,
    /// How far its wall clock is ahead of ours (positive) or behind, as far as one message shows.
    pub clock_ahead_ms: i64,
}

/// What a client's applications have moved since its mount began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    pub read: u64,
    pub written: u64,
}

pub enum Event {
    Hello(Box<Greeting>),
    Calls {
        session: SessionId,
        stream: u64,
        calls: Vec<Call>,
    },
    LeaseAck {
        session: SessionId,
        stream: u64,
        ino: Ino,
        mode: LeaseMode,
        open: bool,
        number: u64,
    },
    Heartbeat {
        session: SessionId,
        stream: u64,
        /// What the answer must repeat.
        number: u64,
        moved: Moved,
    },
    CancelLock {
        session: SessionId,
        stream: u64,
        op_id: u64,
    },
    Goodbye {
        session: SessionId,
        stream: u64,
    },
    /// The stream ended without a goodbye.
    Closed {
        session: SessionId,
        stream: u64,
    },
    /// The coordinator's own work, answered when it is durable.
    Own {
        op: Op,
        answer: oneshot::Sender<Outcome>,
    },
    /// Answered with the node's number and the term, when the registration is durable.
    Beat(Beat, oneshot::Sender<Result<(u32, Term), String>>),
    /// Answered when it is durable, or with the reason why it does not fit.
    Order(Order, oneshot::Sender<Result<(), String>>),
    Status(oneshot::Sender<Status>),
    /// A durable checkpoint makes the log up to here unnecessary.
    Trim(Index),
    Stop,
    /// The reign is over; wakes the executor to see it.
    Deposed,
}
