//! Calls under way and what is to be sent next. Calls that gather while the stream is busy leave as one message.
//! Owned by the session, behind its lock; knows no network.

use dfs_core::error::FsResult;
use dfs_core::lock::{Lock, LockType};
use dfs_core::op::{Op, Reply};
use dfs_proto::convert::{LockAction, lock_request_to_wire, op_to_wire};
use dfs_proto::v1;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;
use v1::client_message::Message;

/// Most calls under way; more are refused. The coordinator takes 8,192 of a session. Threads of the kernel's door
/// and flushes are far fewer, so that only changes given up by their callers while no coordinator answers come
/// near it.
const CALLS_MAX: usize = 4096;
/// Most calls in one message, and most content in it: it must stay below the receiver's message limit.
const BATCH_CALLS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

pub(crate) enum Answer {
    Reply(Reply),
    /// The lock in the way, `None` when granted.
    Lock(Option<Lock>),
}

pub(crate) type Done = Box<dyn FnOnce(FsResult<Answer>) + Send>;

#[derive(Clone)]
pub(crate) enum Body {
    Op(Arc<Op>),
    Lock(Lock, LockAction),
}

impl Body {
    pub fn op(op: Op) -> Body {
        Body::Op(Arc::new(op))
    }

    /// What it is called in figures and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Body::Op(op) => op.name(),
            Body::Lock(..) => "lock",
        }
    }

    /// Whether it tells what was done under leases of this session: no other one may tell it.
    fn is_shipment(&self) -> bool {
        matches!(self, Body::Op(op) if matches!(op.as_ref(), Op::Ship(_)))
    }

    /// Whether it is right only if leases were held from when it was made until it takes effect.
    fn builds_on_leases(&self) -> bool {
        matches!(self, Body::Op(op) if matches!(op.as_ref(), Op::Ship(_) | Op::Commit(_)))
    }

    /// Whether it must be performed even when nobody waits: it may have been already.
    fn is_change(&self) -> bool {
        match self {
            Body::Op(op) => op.is_change(),
            Body::Lock(_, action) => *action != LockAction::Test,
        }
    }
}

pub(crate) struct Pending {
    pub body: Body,
    /// `None` when the caller gave up.
    pub done: Option<Done>,
    pub since: Instant,
    sent: bool,
}

enum Item {
    Call(u64),
    Message(Message),
}

pub(crate) struct Outbox {
    pub session: u128,
    /// The coordinator knows the session.
    pub known: bool,
    /// Counts streams; only the newest sends.
    pub stream: u64,
    pub connected: bool,
    next: u64,
    pending: BTreeMap<u64, Pending>,
    items: VecDeque<Item>,
    waker: Option<Waker>,
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox {
            session: uuid::Uuid::new_v4().as_u128(),
            known: false,
            stream: 0,
            connected: false,
            next: 1,
            pending: BTreeMap::new(),
            items: VecDeque::new(),
            waker: None,
        }
    }

    /// Queues a call, behind what `before` says must come first: its number. `Err` gives `done` back when there is no room, or nothing when `build` made no
    /// call.
    pub fn begin(
        &mut self,
        build: impl FnOnce() -> Option<Body>,
        before: impl FnOnce(&mut Body) -> Vec<Op>,
        done: Done,
    ) -> Result<u64, Option<Done>> {
        if self.pending.len() >= CALLS_MAX {
            return Err(Some(done));
        }
        let Some(mut body) = build() else {
            return Err(None);
        };
        for op in before(&mut body) {
            self.push(Body::op(op), Box::new(|_| {}));
        }
        Ok(self.push(body, done))
    }

    fn push(&mut self, body: Body, done: Done) -> u64 {
        let number = self.next;
        self.next += 1;
        self.pending.insert(
            number,
            Pending {
                body,
                done: Some(done),
                since: Instant::now(),
                sent: false,
            },
        );
        self.items.push_back(Item::Call(number));
        self.wake();
        number
    }

    /// Queues a message that is no call. It is lost with the stream: a new one begins with everything held.
    pub fn tell(&mut self, message: Message) {
        self.items.push_back(Item::Message(message));
        self.wake();
    }

    /// The caller gave up. What was never sent, or only asks, is forgotten; a change that may have arrived stays
    /// until its reply comes.
    pub fn abandon(&mut self, number: u64) {
        let Some(pending) = self.pending.get_mut(&number) else {
            return;
        };
        if pending.sent && pending.body.is_change() {
            pending.done = None;
        } else {
            self.pending.remove(&number);
        }
    }

    /// The call that a reply answers.
    pub fn take(&mut self, number: u64) -> Option<Pending> {
        self.pending.remove(&number)
    }

    /// A new stream begins: its number. What is queued for the old one is dropped, calls are kept.
    pub fn new_stream(&mut self) -> u64 {
        self.connected = false;
        self.stream += 1;
        self.items.clear();
        self.wake();
        self.stream
    }

    /// The coordinator welcomed the stream: every call that has no reply is sent (again) in order, those first that build on
    /// leases. They count as far as the leases were held all the time, and others may bring them back anew.
    pub fn welcomed(&mut self) {
        self.items.retain(|item| matches!(item, Item::Message(_)));
        let (building, others): (Vec<_>, Vec<_>) = (self.pending.iter())
            .map(|(number, pending)| (*number, pending.body.builds_on_leases()))
            .partition(|(_, builds)| *builds);
        let numbers = building.into_iter().chain(others).map(|(number, _)| number);
        self.items.extend(numbers.map(Item::Call));
        self.connected = true;
        self.known = true;
        self.wake();
    }

    /// The session is lost: the changes whose fate is unknown, to be failed by the caller. A session that the
    /// coordinator has ended is begun anew.
    pub fn lost(&mut self, begin_anew: bool) -> Vec<Pending> {
        if begin_anew {
            self.session = uuid::Uuid::new_v4().as_u128();
            self.known = false;
        }
        let doubtful: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.sent && pending.body.is_change() || pending.body.is_shipment())
            .map(|(number, _)| *number)
            .collect();
        doubtful
            .into_iter()
            .filter_map(|number| self.pending.remove(&number))
            .collect()
    }

    /// The next message for the stream with this number, whose calls are `timed` when somebody wants to know; `Err` when a newer one took over. Registers the waker
    /// when there is none.
    pub fn next_message(
        &mut self,
        stream: u64,
        timed: bool,
        waker: &Waker,
    ) -> Result<Option<v1::ClientMessage>, ()> {
        if stream != self.stream {
            return Err(());
        }
        if self.connected {
            let calls = self.next_calls(timed);
            if !calls.is_empty() {
                return Ok(Some(message(Message::Calls(v1::Calls { calls }))));
            }
            if let Some(Item::Message(next)) = self.items.pop_front() {
                return Ok(Some(message(next)));
            }
        }
        self.waker = Some(waker.clone());
        Ok(None)
    }

    fn next_calls(&mut self, timed: bool) -> Vec<v1::Call> {
        let acked_below = self.acked_below();
        let mut calls = Vec::new();
        let mut size = 0;
        while calls.len() < BATCH_CALLS && size < BATCH_BYTES {
            let Some(Item::Call(number)) = self.items.front() else {
                break;
            };
            let number = *number;
            self.items.pop_front();
            let Some(pending) = self.pending.get_mut(&number) else {
                continue;
            };
            pending.sent = true;
            let body = match &pending.body {
                Body::Op(op) => {
                    size += weight(op);
                    op_to_wire(op).map(v1::call::Body::Op)
                }
                Body::Lock(lock, action) => Some(v1::call::Body::Lock(lock_request_to_wire(*lock, *action))),
            };
            calls.push(v1::Call {
                op_id: number,
                acked_below,
                timed,
                body,
            });
        }
        calls
    }

    /// Every reply to a change below this number has arrived.
    fn acked_below(&self) -> u64 {
        let first = self
            .pending
            .iter()
            .find(|(_, pending)| matches!(&pending.body, Body::Op(op) if op.is_change()));
        first.map_or(self.next, |(number, _)| *number)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Whether a lock was taken by this reply although its caller has gone: it must be given back.
pub(crate) fn taken_for_nobody(pending: &Pending, answer: &FsResult<Answer>) -> Option<Lock> {
    match (&pending.body, answer) {
        (Body::Lock(lock, LockAction::Try | LockAction::Wait), Ok(Answer::Lock(None)))
            if pending.done.is_none() && lock.typ != LockType::Unlock =>
        {
            Some(Lock {
                typ: LockType::Unlock,
                ..*lock
            })
        }
        _ => None,
    }
}

fn message(message: Message) -> v1::ClientMessage {
    v1::ClientMessage {
        message: Some(message),
    }
}

/// About how many bytes the operation takes on the wire.
fn weight(op: &Op) -> usize {
    match op {
        Op::Ship(shipment) => {
            shipment.steps.len() * 256
                + shipment
                    .commit
                    .as_ref()
                    .map_or(0, |commit| weight(&Op::Commit(commit.clone())))
        }
        Op::Commit(commit) => {
            commit.chunks.len() * 64
                + commit
                    .files
                    .iter()
                    .map(|file| 48 + file.extents.len() * 32)
                    .sum::<usize>()
        }
        Op::SetXattr { value, .. } => 64 + value.len(),
        Op::Release { inos } => inos.len() * 10,
        _ => 256,
    }
}
