//! A coordinator's process around the real executor: it campaigns, reads the log to its end, begins a term, feeds
//! the executor with what comes, carries its records to the log, and loses all that when it is deposed or dies.

mod append;
mod checkpoints;
mod opening;

pub use checkpoints::Checkpoint;

use super::log::{LogReply, LogRequest, TTL};
use super::messages::Message;
use super::rows::SharedRows;
use super::tally::{Check, Fault};
use super::truth::Executed;
use super::workers::Workers;
use super::world::{Broken, MS, Party, Time, World};
use crate::coordinator::Settings;
use crate::coordinator::authority::Standing;
use crate::coordinator::executor::{Event, Executor, Recovery};
use crate::coordinator::inbox::{Completion, Inbox, WriterError};
use crate::coordinator::log::LogError;
use crate::coordinator::settings::Healing;
use crate::coordinator::writer::{Appender, Job};
use dfs_core::ids::{Index, Term, VolumeId};
use dfs_core::record::Record;
use dfs_proto::v1::ServerMessage;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

pub const LEASE_TERM: Duration = Duration::from_secs(3);
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(12);
pub const GC_DELAY: Duration = Duration::from_secs(4);
pub const MIN_REPLICAS: usize = 2;
const CAMPAIGN_EVERY: Time = 400 * MS;
const KEEPALIVE_EVERY: Time = 500 * MS;
/// Kept back of the lease: nobody leads before it has run out at the log.
const MARGIN: Time = 200 * MS;
const APPEND_AGAIN: Time = 300 * MS;
const TURN: Time = 100 * MS;

/// The writer's queue: the world carries the jobs.
#[derive(Clone, Default)]
struct Jobs(Arc<Mutex<VecDeque<Job>>>);

impl Appender for Jobs {
    fn give(&self, job: Job) {
        self.0.lock().push_back(job);
    }

    fn syncs(&self) -> u64 {
        0
    }
}

#[derive(Default)]
pub struct Coordinator {
    /// On its disk.
    pub rows: SharedRows,
    last_term: Term,
    /// On its disk too, newest first.
    pub checkpoints: Vec<Checkpoint>,
    following: checkpoints::Following,
    /// Its wall clock's error, microseconds.
    pub skew: i64,
    role: Role,
    asked: Option<(u64, Time)>,
    next_campaign: Time,
    woken: bool,
}

#[derive(Default)]
enum Role {
    #[default]
    Follower,
    /// Has the leader's key and brings itself and the log to the beginning of a term.
    Opening(Opening),
    Leading(Box<Reign>),
}

struct Opening {
    revision: u64,
    standing: Standing,
    began: Time,
    /// Records to append before anything is served.
    to_append: VecDeque<Arc<Record>>,
}

struct Appending {
    record: Arc<Record>,
    sent: Time,
}

type BeatAnswer = oneshot::Receiver<Result<(u32, Term), String>>;

pub struct Reign {
    executor: Executor,
    jobs: Jobs,
    pub term: u64,
    revision: u64,
    standing: Standing,
    keepalives: BTreeMap<u64, Time>,
    next_keepalive: Time,
    appending: Option<Appending>,
    unapplied: VecDeque<(Time, Arc<Record>)>,
    completions: Vec<Completion>,
    pub events: Vec<Event>,
    streams: BTreeMap<u64, mpsc::Receiver<ServerMessage>>,
    beats: Vec<(Party, u64, BeatAnswer)>,
    pub workers: Workers,
}

impl World {
    pub fn reign(&mut self, own: usize) -> Option<&mut Reign> {
        match &mut self.coordinators[own].role {
            Role::Leading(reign) => Some(reign),
            _ => None,
        }
    }

    /// The rows that this coordinator's workers see.
    pub fn rows_of(&self, own: usize) -> SharedRows {
        self.coordinators[own].rows.clone()
    }

    pub fn coordinator_turn(&mut self, own: usize) {
        let me = Party::Coordinator(own);
        self.coordinators[own].woken = false;
        self.see_to_checkpoints(own);
        match &self.coordinators[own].role {
            Role::Follower => self.follow_and_stand(own),
            Role::Opening(opening) if self.now - opening.began > TTL => {
                self.coordinators[own].role = Role::Follower;
            }
            Role::Opening(_) => self.append_opening(own),
            Role::Leading(_) => self.lead(own),
        }
        self.tick_again(me, TURN);
    }

    /// Something came: it is looked at soon, together with what comes meanwhile.
    pub fn wake_coordinator(&mut self, own: usize) {
        if !std::mem::replace(&mut self.coordinators[own].woken, true) {
            let delay = self.random.between(10, MS);
            self.wake(Party::Coordinator(own), delay);
        }
    }

    fn ask_log(&mut self, own: usize, request: LogRequest) -> u64 {
        let number = self.number();
        self.send(Party::Coordinator(own), Party::Log, Message::Log(number, request));
        number
    }

    pub fn log_answered(&mut self, own: usize, number: u64, reply: LogReply) {
        let now = self.now;
        match reply {
            LogReply::Won { revision } => {
                let Some((_, sent)) = self.coordinators[own].asked.filter(|asked| asked.0 == number) else {
                    return;
                };
                if !matches!(self.coordinators[own].role, Role::Follower) {
                    return;
                }
                self.coordinators[own].role = Role::Opening(Opening {
                    revision,
                    standing: self.standing_from(sent),
                    began: now,
                    to_append: VecDeque::new(),
                });
                if self.coordinators[own].rows.applied() == Index(0) {
                    self.load_checkpoint(own);
                }
                self.read_on(own, revision);
            }
            LogReply::Records(records) => match self.is_asked(own, number) {
                true => self.read_to_the_end(own, records),
                false => self.followed(own, number, records),
            },
            LogReply::Trimmed(_) => self.left_behind(own, number),
            LogReply::Peers(peers) => self.coordinators[own].following.peers = peers,
            LogReply::Alive => {
                if let Some(reign) = self.reign(own)
                    && let Some(sent) = reign.keepalives.remove(&number)
                {
                    let standing = reign.standing.clone();
                    standing.extend(self.instant(sent + TTL - MARGIN));
                }
            }
            LogReply::Appended => self.append_done(own, number),
            LogReply::Lost => self.log_lost(own, number),
        }
    }

    /// Whether this answers what the coordinator waits for: then it waits no more.
    fn is_asked(&mut self, own: usize, number: u64) -> bool {
        let asked = &mut self.coordinators[own].asked;
        asked.take_if(|asked| asked.0 == number).is_some()
    }

    fn lead(&mut self, own: usize) {
        self.keep_alive(own);
        self.carry(own);
        let now = self.clocks(self.coordinators[own].skew);
        let rows = self.coordinators[own].rows.clone();
        let micros = self.now;
        let Some(reign) = self.reign(own) else {
            return;
        };
        while let Some((_, record)) = reign.unapplied.pop_front_if(|(at, _)| *at <= micros) {
            rows.apply(&record);
            reign.completions.push(Completion::Applied(record.index));
        }
        let completions = std::mem::take(&mut reign.completions);
        let events = match reign.executor.is_full() {
            true => Vec::new(),
            false => std::mem::take(&mut reign.events),
        };
        let stepped = reign.executor.step(now, completions, events);
        let executed: Vec<Executed> = std::mem::take(&mut reign.executor.trace);
        let term = reign.term;
        self.truth.executed(term, executed, micros);
        match stepped {
            Ok(_) => {
                self.carry(own);
                self.hand_out(own);
                self.work(own);
            }
            Err(fault) => self.end_reign(own, &fault.to_string()),
        }
    }

    fn keep_alive(&mut self, own: usize) {
        let now = self.now;
        if self.embedded {
            return;
        }
        let Some(reign) = self.reign(own).filter(|reign| reign.next_keepalive <= now) else {
            return;
        };
        reign.next_keepalive = now + KEEPALIVE_EVERY;
        let revision = reign.revision;
        let number = self.ask_log(own, LogRequest::KeepAlive { revision });
        if let Some(reign) = self.reign(own) {
            reign.keepalives.insert(number, now);
        }
    }

    /// The executor's messages go onto their streams, its other answers to who asked.
    fn hand_out(&mut self, own: usize) {
        let Some(reign) = self.reign(own) else {
            return;
        };
        let mut out = Vec::new();
        let mut ended = Vec::new();
        for (number, messages) in &mut reign.streams {
            loop {
                match messages.try_recv() {
                    Ok(message) => out.push((*number, message)),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        ended.push(*number);
                        break;
                    }
                }
            }
        }
        let mut beaten = Vec::new();
        reign
            .beats
            .retain_mut(|(whom, number, answer)| match answer.try_recv() {
                Ok(answer) => {
                    beaten.push((*whom, *number, answer.ok().map(|(id, term)| (id, term.0))));
                    false
                }
                Err(oneshot::error::TryRecvError::Empty) => true,
                Err(oneshot::error::TryRecvError::Closed) => false,
            });
        for number in &ended {
            reign.streams.remove(number);
        }
        for (number, message) in out {
            self.send_down(number, message);
        }
        for number in ended {
            self.close_behind(number);
        }
        for (whom, number, answer) in beaten {
            self.send(Party::Coordinator(own), whom, Message::Beaten(number, answer));
        }
    }

    pub fn coordinator_told(&mut self, own: usize, from: Party, message: Message) {
        match message {
            Message::LogReply(number, reply) => self.log_answered(own, number, reply),
            Message::Beat(number, beat) => {
                let me = Party::Coordinator(own);
                let Some(reign) = self.reign(own) else {
                    return self.send(me, from, Message::Beaten(number, None));
                };
                let (tell, answer) = oneshot::channel();
                reign.events.push(Event::Beat(beat, tell));
                reign.beats.push((from, number, answer));
                self.wake_coordinator(own);
            }
            Message::Told(number, told) => self.worker_told(own, number, told),
            Message::WantCheckpoint(number, than) => self.give_checkpoint(own, from, number, than),
            Message::HaveCheckpoint(number, checkpoint) => self.take_checkpoint(own, number, checkpoint),
            _ => {}
        }
    }

    /// A new stream's messages come from here.
    pub fn attach(&mut self, own: usize, number: u64, messages: mpsc::Receiver<ServerMessage>) {
        if let Some(reign) = self.reign(own) {
            reign.streams.insert(number, messages);
        }
    }

    pub fn end_reign(&mut self, own: usize, why: &str) {
        let role = std::mem::take(&mut self.coordinators[own].role);
        let Role::Leading(reign) = role else {
            return;
        };
        self.tell(|| format!("coordinator {own} leads no more (term {}): {why}", reign.term));
        let streams: Vec<u64> = reign.streams.keys().copied().collect();
        drop(reign);
        self.coordinators[own].asked = None;
        for number in streams {
            self.break_stream(number, false);
        }
    }

    /// What a crash leaves of a coordinator: its log, and its state if the disk was kind.
    pub fn coordinator_dies(&mut self, own: usize) {
        self.fault(Fault::CoordinatorCrash);
        self.end_reign(own, "it died");
        self.coordinators[own].role = Role::Follower;
        self.coordinators[own].asked = None;
        self.coordinators[own].next_campaign = 0;
        self.coordinators[own].following = Default::default();
        if self.random.chance(300) {
            self.fault(Fault::StateLost);
            self.coordinators[own].rows = SharedRows::default();
            self.coordinators[own].last_term = Term(0);
            self.lose_disk(own);
        }
    }
}
