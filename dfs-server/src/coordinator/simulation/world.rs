//! The world: virtual time, the queue of what happens next, and every process. It takes one happening after the
//! other; what a process does is in the files named after it. Nothing here knows what is right: `truth` does.

use super::client::Client;
use super::coordinator::Coordinator;
use super::datanode::Datanode;
use super::faults::Trouble;
use super::log::Log;
use super::messages::Message;
use super::random::Random;
use super::streams::{Direction, Streams};
use super::tally::{Fault, Tally};
use super::truth::Truth;
use crate::coordinator::clock::Now;
use crate::coordinator::executor::Rule;
use dfs_core::types::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Microseconds since the world began.
pub type Time = u64;
pub const MS: Time = 1_000;
pub const SEC: Time = 1_000_000;

/// Happenings remembered for the print of a failure.
const HISTORY: usize = 4000;

/// A rule that is broken on purpose, to see that a checker notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Executor(Rule),
    /// The log takes records from whoever sends them.
    UnfencedLog,
    /// Datanodes obey every term.
    OldTerms,
    /// Chunk ids leased to a session that lives count as unknown.
    LivingRanges,
    /// Garbage is deleted at once.
    NoQuarantine,
    /// Clients trust leases from the arrival of any message.
    TrustOnArrival,
    /// The trash is as old as the durable age, which is ahead.
    HastyTrash,
    /// The log is trimmed up to the newest record, whatever checkpoints there are.
    EarlyTrim,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    /// How long faults go on.
    pub chaos: Time,
    pub broken: Option<Broken>,
    /// Print every happening's line into the history.
    pub told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Client(usize),
    Coordinator(usize),
    Datanode(usize),
    Log,
}

/// A process: what of it every part of the world must know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Counts its lives; what was meant for an earlier one is lost.
    pub life: u32,
    pub up: bool,
    /// Stopped until then: its time passes, it does nothing, what arrives waits.
    pub paused_until: Time,
    next_tick: Time,
}

pub enum Happening {
    /// A process takes what has come and looks at its timers.
    Turn(Party, u32),
    Arrive(Envelope),
    /// The next message of a stream, if it can pass.
    Pump(u64, Direction),
    /// A side of a stream learns that it is over.
    Ended(u64, Party, u32),
    Trouble,
    Over(Trouble),
}

#[derive(Clone)]
pub struct Envelope {
    pub from: Party,
    pub to: Party,
    /// The receiver's life when it was sent.
    pub life: u32,
    pub sent: Time,
    pub message: Message,
}

pub struct World {
    pub options: Options,
    pub now: Time,
    base: Instant,
    queue: BTreeMap<(Time, u64), Happening>,
    next: u64,
    numbers: u64,
    pub random: Random,
    pub tally: Tally,
    history: VecDeque<String>,
    pub failure: Option<String>,
    pub processes: BTreeMap<Party, Process>,
    /// Directions in which nothing passes.
    pub cut: BTreeSet<(Party, Party)>,
    /// Added to every delay while it lasts.
    pub slow_net: Time,
    /// No new faults, and no new work of clients.
    pub calm: bool,
    pub streams: Streams,
    pub log: Log,
    pub embedded: bool,
    /// When the operator last asked for a node to be emptied.
    pub drained: Option<Time>,
    /// This coordinator dies in the middle of its next append.
    pub crash_at_append: Option<usize>,
    pub coordinators: Vec<Coordinator>,
    pub datanodes: Vec<Datanode>,
    pub clients: Vec<Client>,
    pub truth: Truth,
    newest_arrival: BTreeMap<(Party, Party), Time>,
}

impl World {
    pub fn new(options: Options, base: Instant) -> World {
        let mut random = Random::new(options.seed);
        let embedded = random.chance(250);
        let coordinators = if embedded { 1 } else { 2 + random.index(2) };
        let (datanodes, clients) = (5, 3);
        let mut world = World {
            options,
            now: 0,
            base,
            queue: BTreeMap::new(),
            next: 0,
            numbers: 0,
            drained: None,
            random,
            tally: Tally::default(),
            history: VecDeque::new(),
            failure: None,
            processes: BTreeMap::new(),
            cut: BTreeSet::new(),
            slow_net: 0,
            calm: false,
            streams: Streams::default(),
            log: Log::default(),
            embedded,
            crash_at_append: None,
            coordinators: (0..coordinators).map(|_| Coordinator::default()).collect(),
            datanodes: (0..datanodes).map(|_| Datanode::default()).collect(),
            clients: (0..clients).map(|_| Client::default()).collect(),
            truth: Truth::default(),
            newest_arrival: BTreeMap::new(),
        };
        world.log.alone = embedded;
        world.log.unfenced = options.broken == Some(Broken::UnfencedLog);
        let parties = (0..coordinators)
            .map(Party::Coordinator)
            .chain((0..datanodes).map(Party::Datanode))
            .chain((0..clients).map(Party::Client));
        for party in parties.collect::<Vec<_>>() {
            world.start(party);
        }
        world.one_comes_later();
        world.processes.insert(
            Party::Log,
            Process {
                up: true,
                ..Process::default()
            },
        );
        world.schedule(2 * SEC, Happening::Trouble);
        world
    }

    /// A number that nothing else has.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn schedule(&mut self, delay: Time, happening: Happening) {
        self.next += 1;
        self.queue.insert((self.now + delay, self.next), happening);
    }

    /// The process begins a life.
    pub fn start(&mut self, party: Party) {
        let process = self.processes.entry(party).or_default();
        process.up = true;
        process.life += 1;
        process.paused_until = 0;
        process.next_tick = 0;
        let life = process.life;
        let delay = self.random.between(1, 100 * MS);
        self.schedule(delay, Happening::Turn(party, life));
    }

    pub fn process(&self, party: Party) -> Process {
        self.processes.get(&party).copied().unwrap_or_default()
    }

    /// Has the process look at what came, soon.
    pub fn wake(&mut self, party: Party, delay: Time) {
        let life = self.process(party).life;
        self.schedule(delay, Happening::Turn(party, life));
    }

    /// The process looks at its timers again after `every`, however often it is woken between.
    pub fn tick_again(&mut self, party: Party, every: Time) {
        let now = self.now;
        if let Some(process) = self.processes.get_mut(&party)
            && process.next_tick <= now
        {
            process.next_tick = now + every;
            self.wake(party, every);
        }
    }

    pub fn instant(&self, time: Time) -> Instant {
        self.base + Duration::from_micros(time)
    }

    /// The moment on a process's clocks: the monotonic one is everybody's, wall clocks lie.
    pub fn clocks(&self, skew: i64) -> Now {
        let micros = self.now as i64 + 1_700_000_000 * SEC as i64 + skew;
        Now {
            monotonic: self.instant(self.now),
            wall: Timestamp {
                secs: micros / SEC as i64,
                nanos: (micros % SEC as i64) as u32 * 1000,
            },
        }
    }

    pub fn breaks(&self, rule: Broken) -> bool {
        self.options.broken == Some(rule)
    }

    /// Notes what happened, for the print of a failure.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.options.told {
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            let text = format!("{:>12.6} {}", self.now as f64 / SEC as f64, line());
            self.history.push_back(text);
        }
    }

    pub fn fault(&mut self, fault: Fault) {
        self.tally.fault(fault);
        self.tell(|| format!("fault: {fault:?}"));
    }

    pub fn fail(&mut self, reason: String) {
        self.tell(|| format!("VIOLATION {reason}"));
        self.failure.get_or_insert(reason);
    }

    pub fn history(&self) -> impl Iterator<Item = &String> {
        self.history.iter()
    }

    /// A message outside of streams: it may be lost, doubled, late, or overtaken.
    pub fn send(&mut self, from: Party, to: Party, message: Message) {
        let reliable = self.calm || (self.embedded && (from == Party::Log || to == Party::Log));
        if self.cut.contains(&(from, to)) {
            return;
        }
        if !reliable && self.random.chance(10) {
            self.fault(Fault::Loss);
            if matches!(message, Message::LogReply(_, super::log::LogReply::Appended)) {
                self.fault(Fault::UnknownAppend);
            }
            return;
        }
        let envelope = Envelope {
            from,
            to,
            life: self.process(to).life,
            sent: self.now,
            message,
        };
        if !reliable && self.random.chance(10) {
            self.fault(Fault::Duplicate);
            let delay = self.random.between(MS, 3 * SEC);
            self.schedule(delay, Happening::Arrive(envelope.clone()));
        }
        let mut delay = self.random.between(200, 3 * MS) + self.slow_net;
        if !reliable && self.random.chance(10) {
            self.fault(Fault::Delay);
            delay += self.random.between(10 * MS, 4 * SEC);
        }
        self.schedule(delay, Happening::Arrive(envelope));
    }

    /// Lets the world go on until `until` or a violation.
    pub fn run(&mut self, until: Time) {
        while self.failure.is_none() {
            let Some(((time, _), _)) = self.queue.first_key_value() else {
                return;
            };
            if *time > until {
                self.now = until;
                return;
            }
            let Some(((time, _), happening)) = self.queue.pop_first() else {
                return;
            };
            self.now = time;
            self.tally.happenings += 1;
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Turn(party, life) => {
                let process = self.process(party);
                if !process.up || process.life != life {
                    return;
                }
                if process.paused_until > self.now {
                    self.schedule(process.paused_until - self.now, Happening::Turn(party, life));
                    return;
                }
                match party {
                    Party::Client(client) => self.client_turn(client),
                    Party::Coordinator(coordinator) => self.coordinator_turn(coordinator),
                    Party::Datanode(datanode) => self.datanode_turn(datanode),
                    Party::Log => {}
                }
            }
            Happening::Arrive(envelope) => self.arrive(envelope),
            Happening::Pump(stream, direction) => self.pump(stream, direction),
            Happening::Ended(stream, party, life) => self.stream_ended(stream, party, life),
            Happening::Trouble => self.trouble(),
            Happening::Over(trouble) => self.over(trouble),
        }
    }

    fn arrive(&mut self, envelope: Envelope) {
        let process = self.process(envelope.to);
        if !process.up || process.life != envelope.life || self.cut.contains(&(envelope.from, envelope.to)) {
            return;
        }
        if process.paused_until > self.now {
            let delay = process.paused_until - self.now;
            self.schedule(delay, Happening::Arrive(envelope));
            return;
        }
        let way = (envelope.from, envelope.to);
        let newest = self.newest_arrival.entry(way).or_default();
        let overtaken = envelope.sent < *newest;
        *newest = envelope.sent.max(*newest);
        if overtaken {
            self.tally.fault(Fault::Reorder);
        }
        match envelope.to {
            Party::Log => self.log_asked(envelope),
            Party::Coordinator(to) => self.coordinator_told(to, envelope.from, envelope.message),
            Party::Datanode(to) => self.datanode_told(to, envelope.from, envelope.message),
            Party::Client(to) => self.client_told(to, envelope.message),
        }
    }

    fn log_asked(&mut self, envelope: Envelope) {
        let (Message::Log(number, request), Party::Coordinator(from)) = (envelope.message, envelope.from)
        else {
            return;
        };
        if self.crash_at_append == Some(from) && matches!(request, super::log::LogRequest::Append { .. }) {
            self.crash_at_append = None;
            return self.crash_appending(from, &request);
        }
        if let Some(reply) = self.log.serve(self.now, from, &request) {
            self.appended(from, &request, &reply);
            self.check_trimmed(&request, &reply);
            self.send(Party::Log, envelope.from, Message::LogReply(number, reply));
        }
    }
}
