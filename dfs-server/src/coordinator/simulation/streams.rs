//! Session streams: messages of one direction keep their order; a stream that is cut waits for a while and then
//! breaks; one side may learn of it long before the other, and what was on its way may still arrive.

use super::tally::Fault;
use super::world::{Happening, MS, Party, SEC, Time, World};
use dfs_proto::v1::{ClientMessage, ServerMessage};
use std::collections::{BTreeMap, VecDeque};

/// How long a cut stream holds on before the connection counts as lost.
const PATIENCE: Time = 4 * SEC;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

pub struct Stream {
    pub client: usize,
    pub coordinator: usize,
    lives: (u32, u32),
    up: VecDeque<ClientMessage>,
    down: VecDeque<ServerMessage>,
    pumping: [bool; 2],
    blocked_since: [Option<Time>; 2],
    /// The client has given it up; what it sent goes on its way.
    stale: bool,
    /// It ends when what is on its way down has arrived.
    closing: bool,
}

#[derive(Default)]
pub struct Streams {
    open: BTreeMap<u64, Stream>,
}

impl Streams {
    pub fn get(&self, number: u64) -> Option<&Stream> {
        self.open.get(&number)
    }

    /// Streams that end at this process.
    pub fn of(&self, party: Party) -> Vec<u64> {
        let ends = |stream: &Stream| match party {
            Party::Client(client) => stream.client == client,
            Party::Coordinator(coordinator) => stream.coordinator == coordinator,
            Party::Datanode(_) | Party::Log => false,
        };
        self.open
            .iter()
            .filter(|(_, stream)| ends(stream))
            .map(|(number, _)| *number)
            .collect()
    }
}

impl World {
    pub fn open_stream(&mut self, client: usize, coordinator: usize) -> u64 {
        let number = self.number();
        let stream = Stream {
            client,
            coordinator,
            lives: (
                self.process(Party::Client(client)).life,
                self.process(Party::Coordinator(coordinator)).life,
            ),
            up: VecDeque::new(),
            down: VecDeque::new(),
            pumping: [false; 2],
            blocked_since: [None; 2],
            stale: false,
            closing: false,
        };
        self.streams.open.insert(number, stream);
        number
    }

    pub fn send_up(&mut self, number: u64, message: ClientMessage) {
        if let Some(stream) = self.streams.open.get_mut(&number) {
            stream.up.push_back(message);
            self.pump_later(number, Direction::Up);
        }
    }

    pub fn send_down(&mut self, number: u64, message: ServerMessage) {
        if let Some(stream) = self.streams.open.get_mut(&number)
            && !stream.stale
        {
            stream.down.push_back(message);
            self.pump_later(number, Direction::Down);
        }
    }

    fn pump_later(&mut self, number: u64, direction: Direction) {
        let mut delay = self.random.between(200, 2 * MS) + self.slow_net;
        if !self.calm && self.random.chance(4) {
            self.fault(Fault::Delay);
            delay += self.random.between(10 * MS, 3 * SEC);
        }
        let Some(stream) = self.streams.open.get_mut(&number) else {
            return;
        };
        if std::mem::replace(&mut stream.pumping[direction as usize], true) {
            return;
        }
        if stream.stale {
            delay += self.random.between(MS, 3 * SEC);
        }
        self.schedule(delay, Happening::Pump(number, direction));
    }

    pub fn pump(&mut self, number: u64, direction: Direction) {
        let Some(stream) = self.streams.open.get_mut(&number) else {
            return;
        };
        let ends = (
            Party::Client(stream.client),
            Party::Coordinator(stream.coordinator),
        );
        let (from, to, life) = match direction {
            Direction::Up => (ends.0, ends.1, stream.lives.1),
            Direction::Down => (ends.1, ends.0, stream.lives.0),
        };
        let stale = stream.stale;
        let place = direction as usize;
        stream.pumping[place] = false;
        let target = self.process(to);
        if !target.up || target.life != life {
            self.break_stream(number, false);
            return;
        }
        let wait = match self.cut.contains(&(from, to)) {
            true => 100 * MS,
            false => target.paused_until.saturating_sub(self.now),
        };
        let now = self.now;
        let Some(stream) = self.streams.open.get_mut(&number) else {
            return;
        };
        if wait > 0 {
            let since = *stream.blocked_since[place].get_or_insert(now);
            if now - since > PATIENCE {
                self.break_stream(number, false);
                return;
            }
            stream.pumping[place] = true;
            self.schedule(wait, Happening::Pump(number, direction));
            return;
        }
        stream.blocked_since[place] = None;
        let more = match direction {
            Direction::Up => {
                let message = stream.up.pop_front();
                let more = !stream.up.is_empty();
                let coordinator = stream.coordinator;
                if let Some(message) = message {
                    if stale {
                        self.fault(Fault::StaleStream);
                    }
                    self.coordinator_received(coordinator, number, message);
                }
                more
            }
            Direction::Down => {
                let message = stream.down.pop_front();
                let more = !stream.down.is_empty();
                let client = stream.client;
                if let Some(message) = message {
                    self.client_received(client, number, message);
                }
                more
            }
        };
        let closing = direction == Direction::Down && self.streams.get(number).is_some_and(|s| s.closing);
        if more {
            self.pump_later(number, direction);
        } else if stale || closing {
            self.break_stream(number, false);
        }
    }

    /// The coordinator ends the stream behind what it has sent.
    pub fn close_behind(&mut self, number: u64) {
        let Some(stream) = self.streams.open.get_mut(&number) else {
            return;
        };
        stream.closing = true;
        if stream.down.is_empty() {
            self.break_stream(number, false);
        }
    }

    /// The connection is over. When `late`, what the client sent may still arrive, and the coordinator learns of
    /// the end only behind it.
    pub fn break_stream(&mut self, number: u64, late: bool) {
        let Some(stream) = self.streams.open.get_mut(&number) else {
            return;
        };
        let (client, coordinator, lives) = (stream.client, stream.coordinator, stream.lives);
        stream.down.clear();
        if late && !stream.up.is_empty() && !stream.stale {
            stream.stale = true;
            self.pump_later(number, Direction::Up);
        } else {
            self.streams.open.remove(&number);
            let delay = self.random.between(0, 2 * SEC);
            let end = Happening::Ended(number, Party::Coordinator(coordinator), lives.1);
            self.schedule(delay, end);
        }
        let delay = self.random.between(0, 300 * MS);
        self.schedule(delay, Happening::Ended(number, Party::Client(client), lives.0));
    }

    pub fn stream_ended(&mut self, number: u64, party: Party, life: u32) {
        let process = self.process(party);
        if !process.up || process.life != life {
            return;
        }
        if process.paused_until > self.now {
            let delay = process.paused_until - self.now;
            self.schedule(delay, Happening::Ended(number, party, life));
            return;
        }
        match party {
            Party::Client(client) => self.client_lost_stream(client, number),
            Party::Coordinator(coordinator) => self.coordinator_lost_stream(coordinator, number),
            Party::Datanode(_) | Party::Log => {}
        }
    }

    /// A stream between these two, to be broken by a fault.
    pub fn any_stream(&mut self) -> Option<u64> {
        let count = self.streams.open.len();
        if count == 0 {
            return None;
        }
        let place = self.random.index(count);
        self.streams.open.keys().nth(place).copied()
    }
}
