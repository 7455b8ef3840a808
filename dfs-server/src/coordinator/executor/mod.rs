//! The executor: one thread owns the volume's view, sessions, leases, locks and the picture of the datanodes,
//! and takes events in order. This file has the owner and its loop; each kind of event and each transition is a
//! function in a file of its own. It knows no socket: streams and services send events and receive messages.

mod answer;
mod attempt;
mod beat;
mod calls;
mod cluster;
mod commit;
mod deliver;
mod event;
mod figures;
mod grace;
mod grants;
mod hello;
mod lapse;
mod leases;
mod leave;
mod locks;
mod nodes;
mod own;
mod parked;
mod promises;
mod recall;
mod reload;
mod repeat;
mod rules;
mod session;
mod spare;
mod status;
#[cfg(test)]
mod tests;
mod tick;
mod unheard;

pub use cluster::set_to_wire;
pub use event::{Beat, Body, Call, Event, Greeting, Moved, Outcome, Process};
pub use nodes::Order;
#[cfg(test)]
pub use rules::Rule;
pub use status::{NodeFigures, Status};

use super::Settings;
use super::authority::Standing;
use super::clock::Now;
use super::inbox::{Completion, Inbox, WriterError};
use super::limits::{RECORD_BYTES, RECORDS_IN_FLIGHT, TICK};
use super::state::Overlay;
use super::writer::Appender;
use cluster::Cluster;
use commit::Batch;
use dfs_core::ids::{Index, Ino, SessionId, Term};
use dfs_core::lease::LeaseTable;
use dfs_core::lock::LockTable;
use dfs_core::record::Record;
use dfs_core::types::LeaseMode;
use dfs_core::view::{View, ViewError};
use figures::Figures;
use grace::Grace;
use parked::Parked;
use recall::Recalls;
use session::Session;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use unheard::Unheard;

/// Events taken before the batch is offered to the writer: keeps the first one's delay short.
const EVENTS_PER_ROUND: usize = 256;

/// Why the executor stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("another coordinator leads the volume, or may")]
    Deposed,
    #[error(transparent)]
    Writer(#[from] WriterError),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(transparent)]
    State(#[from] super::state::StateError),
}

/// An answer that leaves when its index is durable.
type Waiting = (Index, Box<dyn FnOnce() + Send>);

/// What a reign begins with: the rows of all records up to `applied`, and a term that nobody had.
pub struct Recovery {
    pub view: Box<dyn View + Send>,
    pub applied: Index,
    pub term: Term,
    pub standing: Standing,
}

/// The owner of everything that changes; no lock is needed around it.
pub struct Executor {
    settings: Arc<Settings>,
    inbox: Inbox,
    writer: Box<dyn Appender>,
    term: Term,
    /// Nothing leaves while it does not hold.
    standing: Standing,
    /// The moment of the present step.
    now: Now,

    view: Overlay,
    batch: Batch,
    /// Records that the writer has, oldest first.
    in_flight: VecDeque<Arc<Record>>,
    durable: Index,
    /// Nothing leaves before this is durable: what it tells may follow from what that record notes of sessions.
    floor: Index,
    counters: commit::Counters,

    sessions: BTreeMap<SessionId, Session>,
    /// Sessions with messages that may be ready to leave.
    unsent: BTreeSet<SessionId>,
    leases: LeaseTable,
    locks: LockTable,
    recalls: Recalls,
    unheard: Unheard,
    /// Up to where the sessions were asked for idle leases.
    spared: BTreeMap<SessionId, Ino>,
    /// Inodes that somebody else wanted while they were held exclusively, and until when they count as shared.
    contended: BTreeMap<Ino, Instant>,
    parked: Parked,
    grace: Option<Grace>,

    cluster: Cluster,
    figures: Figures,
    /// Answers to the coordinator's own callers.
    waiting: Vec<Waiting>,
    /// Set by the watch over the disk: only shrinking work is taken.
    disk_low: Arc<AtomicBool>,
    /// What the sessions heard of it last.
    told_full: bool,
    last_tick: Instant,
    stopping: bool,
    /// What was executed with effects since the simulation last looked.
    #[cfg(test)]
    pub trace: Vec<super::simulation::Executed>,
    #[cfg(test)]
    broken: Option<Rule>,
}

impl Executor {
    /// Reads sessions, replies, nodes, sets and counters from the recovered store.
    pub fn new(
        settings: Arc<Settings>,
        inbox: Inbox,
        writer: Box<dyn Appender>,
        recovery: Recovery,
        disk_low: Arc<AtomicBool>,
        now: Now,
    ) -> Result<Executor, Fault> {
        let Recovery {
            view,
            applied,
            term,
            standing,
        } = recovery;
        let mut executor = Executor {
            batch: Batch::new(applied.next()),
            cluster: Cluster::new(term, settings.min_replicas),
            figures: Figures::new(&settings.observer, &settings.volume, now.monotonic),
            view: Overlay::new(view, applied.next()),
            in_flight: VecDeque::new(),
            durable: applied,
            floor: Index(0),
            counters: commit::Counters::default(),
            sessions: BTreeMap::new(),
            unsent: BTreeSet::new(),
            leases: LeaseTable::new(),
            locks: LockTable::new(),
            recalls: Recalls::default(),
            unheard: Unheard::default(),
            spared: BTreeMap::new(),
            contended: BTreeMap::new(),
            parked: Parked::default(),
            grace: None,
            waiting: Vec::new(),
            told_full: false,
            last_tick: now.monotonic,
            stopping: false,
            #[cfg(test)]
            trace: Vec::new(),
            #[cfg(test)]
            broken: None,
            settings,
            inbox,
            writer,
            term,
            standing,
            now,
            disk_low,
        };
        executor.reload(now.monotonic)?;
        Ok(executor)
    }

    /// Serves until told to stop (all that was accepted is durable then) or until something below fails.
    pub fn run(mut self) -> Result<(), Fault> {
        let result = self.serve();
        if let Err(fault) = &result {
            tracing::error!(%fault, "the coordinator stops");
        }
        self.refuse_all(&result);
        self.inbox.close();
        result
    }

    fn serve(&mut self) -> Result<(), Fault> {
        loop {
            let idle = self.batch.is_empty() || !self.in_flight.is_empty();
            let wait = if idle { TICK } else { Duration::ZERO };
            let (completions, events) = self.inbox.take(wait, self.is_full(), EVENTS_PER_ROUND);
            if self.step(Now::read(), completions, events)? {
                return Ok(());
            }
        }
    }

    /// Whether only completions may be given to `step`: the log is behind, or the executor is stopping.
    pub fn is_full(&self) -> bool {
        self.stopping || (self.in_flight.len() >= RECORDS_IN_FLIGHT && self.batch.bytes() >= RECORD_BYTES)
    }

    /// Takes in what happened up to `now` and sends what may leave; it never waits. True when everything that
    /// was accepted before a stop is durable. After a fault nothing more may be asked of this executor.
    pub fn step(
        &mut self,
        now: Now,
        completions: Vec<Completion>,
        events: Vec<Event>,
    ) -> Result<bool, Fault> {
        self.now = now;
        if self.standing.is_over() {
            return Err(Fault::Deposed);
        }
        for completion in completions {
            self.complete(completion)?;
        }
        for event in events {
            self.on_event(event)?;
        }
        if now.monotonic.saturating_duration_since(self.last_tick) >= TICK {
            self.tick()?;
        }
        self.submit();
        self.deliver();
        Ok(self.stopping && self.batch.is_empty() && self.in_flight.is_empty())
    }

    fn on_event(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Hello(greeting) => self.hello(*greeting),
            Event::Calls {
                session,
                stream,
                calls,
            } => self.on_calls(session, stream, calls),
            Event::LeaseAck {
                session,
                stream,
                ino,
                mode,
                open,
                number,
            } => {
                if self.heard(session, stream) {
                    self.lease_ack(session, ino, mode, open, number)?;
                }
                Ok(())
            }
            Event::Heartbeat {
                session,
                stream,
                number,
                moved,
            } => {
                if let Some(own) = self.sessions.get_mut(&session) {
                    own.counts.moved = moved;
                }
                self.on_heartbeat(session, stream, number);
                Ok(())
            }
            Event::CancelLock {
                session,
                stream,
                op_id,
            } => {
                if self.heard(session, stream) {
                    self.cancel_lock(session, op_id);
                }
                Ok(())
            }
            Event::Goodbye { session, stream } => self.goodbye(session, stream),
            Event::Closed { session, stream } => {
                self.stream_closed(session, stream);
                Ok(())
            }
            Event::Own { op, answer } => self.own(op, answer),
            Event::Beat(beat, answer) => self.on_beat(beat, answer),
            Event::Order(order, answer) => self.on_order(order, answer),
            Event::Status(answer) => {
                self.answer_status(answer);
                Ok(())
            }
            Event::Trim(up_to) => {
                self.writer.give(super::writer::Job::Trim(up_to));
                Ok(())
            }
            Event::Deposed => Err(Fault::Deposed),
            Event::Stop => {
                self.stopping = true;
                Ok(())
            }
        }
    }

    fn complete(&mut self, completion: Completion) -> Result<(), Fault> {
        match completion {
            Completion::Durable(index) => {
                self.on_durable(index);
                Ok(())
            }
            Completion::Applied(index) => {
                self.on_applied(index);
                Ok(())
            }
            Completion::Failed(error) => Err(error.into()),
        }
    }

    /// Whether the session holds the inode in a way that nobody else can disturb.
    fn covered(&self, session: SessionId, reads: &BTreeSet<Ino>, writes: &BTreeSet<Ino>) -> bool {
        writes
            .iter()
            .all(|ino| self.leases.mode(session, *ino) == LeaseMode::Exclusive)
            && reads
                .iter()
                .all(|ino| self.leases.mode(session, *ino) >= LeaseMode::Shared)
    }
}
