//! A model client: it follows the protocol as the real one does (`dfs-client`): calls under numbers that are sent
//! again until they are answered, leases trusted by echo, recalls that flush first, dirty content sealed into
//! chunks, uploaded, committed. It shares none of its code.

mod caches;
mod choice;
mod fetch;
mod flights;
mod session;
mod tasks;

use super::messages::{Message, Tag};
use super::truth::Cell;
use super::world::{MS, Party, Time, World};
use dfs_core::error::FsResult;
use dfs_core::ids::{ChunkId, Ino, NodeId, SetId};
use dfs_core::lock::{Lock, LockType};
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Extent, LeaseMode};
use dfs_proto::convert::LockAction;
use flights::Flight;
use std::collections::{BTreeMap, BTreeSet};
use tasks::Thread;

pub use choice::any_name;

pub const THREADS: usize = 2;
const TURN: Time = 40 * MS;

#[derive(Clone)]
enum Body {
    Op(Op),
    Lock(Lock, LockAction),
}

/// Who waits for a call's answer.
#[derive(Clone, Copy)]
enum Purpose {
    Thread(usize),
    Flight(u64),
    Stock,
    Nobody,
}

struct Pending {
    body: Body,
    purpose: Purpose,
    /// How old an answer about these may be.
    floors: BTreeMap<Cell, usize>,
}

#[derive(Default)]
struct Inode {
    lease: LeaseMode,
    recalling: u32,
    version: Option<u64>,
    names: BTreeMap<Vec<u8>, u64>,
    extents: Option<Vec<Extent>>,
    dirty: BTreeMap<u64, Tag>,
    dirty_since: Time,
    open: bool,
    /// The coordinator was told that it is held.
    declared: bool,
    orphan: bool,
}

struct Recall {
    ino: Ino,
    keep: LeaseMode,
    number: u64,
    since: Time,
}

#[derive(Default)]
pub struct Client {
    session: u128,
    known: bool,
    stream: Option<u64>,
    /// Streams of the past with their sessions, for what arrives late from them.
    streams: BTreeMap<u64, u128>,
    welcomed: bool,
    connect_at: Time,
    connecting_since: Time,
    coordinator: usize,
    /// Leases are trusted for a part of the term after this.
    trusted_from: Time,
    heard: Time,
    next_beat: Time,
    beat: u64,
    /// Heartbeats of this stream without an echo, and when they were sent.
    beats: BTreeMap<u64, Time>,
    next_op: u64,
    pending: BTreeMap<u64, Pending>,
    inodes: BTreeMap<Ino, Inode>,
    nodes: BTreeMap<NodeId, usize>,
    sets: BTreeMap<SetId, Vec<NodeId>>,
    /// Those of each set's members that new chunks are written to.
    writers: BTreeMap<SetId, Vec<NodeId>>,
    stock: Vec<(SetId, u64, u64)>,
    recalls: Vec<Recall>,
    flights: BTreeMap<u64, Flight>,
    threads: [Thread; THREADS],
    blocks: BTreeMap<ChunkId, Vec<Tag>>,
    /// Files on which it believes to have a write lock.
    pub locks: BTreeSet<Ino>,
    /// What its kernel knows: inodes found by name.
    files: Vec<Ino>,
    /// Questions to datanodes of reading threads.
    fetches: BTreeMap<u64, usize>,
    /// When unsynced content of a file was lost: whoever syncs it is told.
    losses: BTreeMap<Ino, Time>,
    pub leaving: bool,
}

impl Client {
    /// The session that a stream of this client speaks for; 0: it is none of its streams.
    pub fn stream_session(&self, number: u64) -> u128 {
        self.streams.get(&number).copied().unwrap_or(0)
    }

    fn inode(&mut self, ino: Ino) -> &mut Inode {
        self.inodes.entry(ino).or_default()
    }

    fn lease(&self, ino: Ino) -> LeaseMode {
        self.inodes.get(&ino).map_or(LeaseMode::None, |inode| inode.lease)
    }

    /// Whether anybody here can come to it without asking for a name: by a handle, by a call that is under way, or, while it
    /// has a name, because the kernel knows it.
    fn is_held(&self, ino: Ino) -> bool {
        let inode = self.inodes.get(&ino);
        let orphan = inode.is_some_and(|inode| inode.orphan);
        inode.is_some_and(|inode| inode.open)
            || self.threads.iter().any(|thread| thread.works_on(ino))
            || !orphan && self.files.contains(&ino)
    }

    fn lost_since(&self, ino: Ino, time: Time) -> bool {
        self.losses.get(&ino).is_some_and(|lost| *lost >= time)
    }

    fn in_flight(&self, ino: Ino) -> bool {
        self.flights.values().any(|flight| flight.has(ino))
    }

    fn is_dirty(&self, ino: Ino) -> bool {
        self.inodes.get(&ino).is_some_and(|inode| !inode.dirty.is_empty()) || self.in_flight(ino)
    }

    /// Whether another thread lets the lock go that this call was granted: the answer to that comes behind.
    fn unlocks(&self, ino: Ino, granted: u64) -> bool {
        self.pending.range(granted + 1..).any(|(_, pending)| {
            matches!(&pending.body, Body::Lock(lock, _) if lock.ino == ino && lock.typ == LockType::Unlock)
        })
    }

    /// Nothing of it waits for anything.
    pub fn unfinished(&self) -> Option<String> {
        let busy = self.threads.iter().find_map(Thread::doing);
        if let Some(task) = busy {
            return Some(format!("a thread still does {task}"));
        }
        if let Some((number, pending)) = self.pending.first_key_value() {
            let what = match &pending.body {
                Body::Op(op) => format!("{op:?}"),
                Body::Lock(lock, action) => format!("{action:?} {lock:?}"),
            };
            return Some(format!("call {number} ({what}) has no answer"));
        }
        let dirty = self.inodes.iter().find(|(_, inode)| !inode.dirty.is_empty());
        if let Some((ino, _)) = dirty {
            return Some(format!("inode {ino} is dirty"));
        }
        (!self.flights.is_empty()).then(|| "content is on its way".to_owned())
    }
}

impl World {
    pub fn client_turn(&mut self, own: usize) {
        if self.clients[own].leaving {
            return;
        }
        self.keep_connected(own);
        self.answer_recalls(own);
        self.flush_aged(own);
        self.fly(own);
        if self.clients[own].session != 0 {
            for thread in 0..THREADS {
                self.thread_turn(own, thread);
            }
            self.release_unheld(own);
        }
        self.check_leases(own);
        self.tick_again(Party::Client(own), TURN);
    }

    /// Begins a call: its number.
    fn call(&mut self, own: usize, body: Body, purpose: Purpose) -> u64 {
        let cells = match &body {
            Body::Op(op) => cells(op),
            Body::Lock(..) => Vec::new(),
        };
        let floors = cells
            .into_iter()
            .map(|cell| (cell.clone(), self.truth.floor(&cell)))
            .collect();
        let client = &mut self.clients[own];
        client.next_op += 1;
        let number = client.next_op;
        let line = self.options.told.then(|| match &body {
            Body::Op(op) => format!("client {own} calls {number}: {op:?}"),
            Body::Lock(lock, action) => format!("client {own} calls {number}: {lock:?} {action:?}"),
        });
        self.tell(|| line.unwrap_or_default());
        let client = &mut self.clients[own];
        let pending = Pending {
            body,
            purpose,
            floors,
        };
        client.pending.insert(number, pending);
        if client.welcomed {
            self.send_calls(own, vec![number]);
        }
        number
    }

    fn call_op(&mut self, own: usize, op: Op, purpose: Purpose) -> u64 {
        self.call(own, Body::Op(op), purpose)
    }

    pub fn client_told(&mut self, own: usize, message: Message) {
        if let Message::Told(number, told) = message {
            if self.clients[own].fetches.contains_key(&number) {
                self.fetched(own, number, told);
            } else {
                self.stored(own, number, told);
            }
            self.wake(Party::Client(own), 0);
        }
    }

    /// The client's answer slot of a thread.
    fn give(&mut self, own: usize, thread: usize, number: u64, answer: FsResult<Reply>) {
        let slot = &mut self.clients[own].threads[thread];
        if slot.waits_for(number) {
            slot.answer = Some(answer);
        }
    }

    /// A client that dies keeps nothing.
    pub fn client_dies(&mut self, own: usize) {
        let streams = std::mem::take(&mut self.clients[own].streams);
        let coordinator = self.random.index(self.coordinators.len());
        self.clients[own] = Client {
            streams,
            coordinator,
            ..Client::default()
        };
    }
}

/// What an answer to the operation says something about.
fn cells(op: &Op) -> Vec<Cell> {
    match op {
        Op::Lookup { name, .. } => vec![Cell::Name(name.clone())],
        Op::Make(make) => vec![Cell::Name(make.name.clone())],
        Op::Unlink(unlink) => vec![Cell::Name(unlink.name.clone())],
        Op::GetAttr { ino } | Op::Acquire { ino, .. } => vec![Cell::Version(*ino)],
        Op::GetExtents { ino, .. } => (0..tasks::FILE_BLOCKS)
            .map(|block| Cell::Block(*ino, block))
            .collect(),
        _ => Vec::new(),
    }
}
