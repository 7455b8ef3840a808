//! Dirty content on its way to a commit: sealed, put on the disks of a set, committed in the order of each file.

use super::{Body, Purpose};
use crate::coordinator::simulation::messages::{Ask, Message, Tag, Told, sha256};
use crate::coordinator::simulation::tally::{Check, Fault};
use crate::coordinator::simulation::truth::BLOCK;
use crate::coordinator::simulation::world::{MS, Party, SEC, Time, World};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{ChunkId, Ino, NodeId, SetId};
use dfs_core::op::{Commit, FileCommit, NewChunk, Op, Reply};
use dfs_core::types::{Extent, LeaseMode, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

const AGE: Time = 3 * SEC;
const PUT_PATIENCE: Time = 5 * SEC;
const RETRY: Time = 200 * MS;
const MIN_REPLICAS: usize = 2;
const RANGE: u32 = 8;

enum Stage {
    /// Waits for a chunk id, or for its next try.
    Sealed(Time),
    Putting {
        number: u64,
        chunk: ChunkId,
        members: Vec<NodeId>,
        since: Time,
    },
    Stored(NewChunk, Time),
    Committing(NewChunk),
}

pub struct Flight {
    /// File, block, content: a chunk holds them in this order.
    blocks: Vec<(Ino, u64, Tag)>,
    /// Files whose lease went meanwhile: their blocks stay in the chunk, and nothing will refer to them.
    lost: BTreeSet<Ino>,
    stage: Stage,
    avoid: Vec<SetId>,
}

impl Flight {
    pub fn has(&self, ino: Ino) -> bool {
        !self.lost.contains(&ino) && self.blocks.iter().any(|block| block.0 == ino)
    }

    pub fn block(&self, ino: Ino, block: u64) -> Option<Tag> {
        self.blocks
            .iter()
            .find(|held| (held.0, held.1) == (ino, block) && self.has(ino))
            .map(|held| held.2)
    }
}

impl World {
    pub fn flush_aged(&mut self, own: usize) {
        let now = self.now;
        let old = self.clients[own].inodes.iter();
        let old = old.filter(|(_, inode)| !inode.dirty.is_empty() && now - inode.dirty_since > AGE);
        let inos: Vec<Ino> = old.map(|(ino, _)| *ino).collect();
        self.begin_flight(own, &inos);
    }

    /// Seals what is dirty of these files into one chunk.
    pub fn begin_flight(&mut self, own: usize, inos: &[Ino]) {
        let mut blocks = Vec::new();
        for ino in inos {
            let dirty = std::mem::take(&mut self.clients[own].inode(*ino).dirty);
            blocks.extend(dirty.into_iter().map(|(block, tag)| (*ino, block, tag)));
        }
        if blocks.is_empty() {
            return;
        }
        let number = self.number();
        let flight = Flight {
            blocks,
            lost: BTreeSet::new(),
            stage: Stage::Sealed(0),
            avoid: Vec::new(),
        };
        self.clients[own].flights.insert(number, flight);
        self.wake(Party::Client(own), 0);
    }

    pub fn fly(&mut self, own: usize) {
        let now = self.now;
        let numbers: Vec<u64> = self.clients[own].flights.keys().copied().collect();
        for number in numbers {
            let Some(flight) = self.clients[own].flights.get(&number) else {
                continue;
            };
            match &flight.stage {
                Stage::Sealed(until) if *until <= now => self.put(own, number),
                Stage::Putting { since, .. } if now - since > PUT_PATIENCE => self.put_failed(own, number),
                Stage::Stored(_, until) if *until <= now => self.commit(own, number),
                _ => {}
            }
        }
    }

    /// A chunk id of a set that is not to be avoided; asks for a range when there is none.
    fn take_id(&mut self, own: usize, number: u64) -> Option<ChunkId> {
        let client = &mut self.clients[own];
        let avoid = client.flights.get(&number)?.avoid.clone();
        client.stock.retain(|(_, next, end)| next < end);
        if let Some(range) = client.stock.iter_mut().find(|range| !avoid.contains(&range.0)) {
            range.1 += 1;
            return Some(ChunkId {
                set: range.0,
                seq: range.1 - 1,
            });
        }
        let asked = client
            .pending
            .values()
            .any(|pending| matches!(pending.purpose, Purpose::Stock));
        if !asked {
            let op = Op::AllocChunks { count: RANGE, avoid };
            self.call_op(own, op, Purpose::Stock);
        }
        None
    }

    pub fn stocked(&mut self, own: usize, outcome: FsResult<Reply>) {
        match outcome {
            Ok(Reply::ChunkRange { set, first, count }) => {
                // No other set can take it: the wish to avoid this one is dropped.
                for flight in self.clients[own].flights.values_mut() {
                    flight.avoid.retain(|avoided| *avoided != set);
                }
                self.clients[own]
                    .stock
                    .push((set, first, first + u64::from(count)));
            }
            _ => {
                // All sets are to be avoided, or full: the next try may take any.
                for flight in self.clients[own].flights.values_mut() {
                    flight.avoid.clear();
                }
            }
        }
    }

    fn put(&mut self, own: usize, number: u64) {
        let Some(chunk) = self.take_id(own, number) else {
            return;
        };
        let now = self.now;
        let members = self.clients[own]
            .writers
            .get(&chunk.set)
            .cloned()
            .unwrap_or_default();
        let mut targets: Vec<usize> = members
            .iter()
            .filter_map(|id| self.clients[own].nodes.get(id).copied())
            .collect();
        if targets.is_empty() {
            return;
        }
        let first = self.random.index(targets.len());
        let to = targets.remove(first);
        let ask = self.number();
        let Some(flight) = self.clients[own].flights.get_mut(&number) else {
            return;
        };
        let content: Vec<Tag> = flight.blocks.iter().map(|block| block.2).collect();
        flight.stage = Stage::Putting {
            number: ask,
            chunk,
            members,
            since: now,
        };
        self.truth.content.insert(chunk, content.clone());
        let ask = Message::Ask(
            ask,
            Ask::Put {
                chunk,
                content,
                forward: targets,
            },
        );
        self.send(Party::Client(own), Party::Datanode(to), ask);
    }

    fn put_failed(&mut self, own: usize, number: u64) {
        let now = self.now;
        if let Some(flight) = self.clients[own].flights.get_mut(&number)
            && let Stage::Putting { chunk, .. } = &flight.stage
        {
            flight.avoid.push(chunk.set);
            flight.stage = Stage::Sealed(now + RETRY);
        }
    }

    /// A datanode answered a put.
    pub fn stored(&mut self, own: usize, ask: u64, told: Told) {
        let client = &mut self.clients[own];
        let found = client
            .flights
            .iter_mut()
            .find(|(_, flight)| matches!(&flight.stage, Stage::Putting { number, .. } if *number == ask));
        let Some((number, flight)) = found else {
            return;
        };
        let number = *number;
        let Stage::Putting { chunk, members, .. } = &flight.stage else {
            return;
        };
        let Told::Stored(stored) = told else {
            return self.put_failed(own, number);
        };
        let lacks = |id: &&NodeId| client.nodes.get(id).is_none_or(|node| !stored.contains(node));
        let missing: Vec<NodeId> = members.iter().filter(lacks).copied().collect();
        let on_disk: Vec<NodeId> = members
            .iter()
            .filter(|id| !missing.contains(id))
            .copied()
            .collect();
        if members.len() - missing.len() < MIN_REPLICAS {
            return self.put_failed(own, number);
        }
        let content: Vec<Tag> = flight.blocks.iter().map(|block| block.2).collect();
        let new = NewChunk {
            id: *chunk,
            len: (content.len() as u64 * BLOCK) as u32,
            sha256: sha256(&content),
            missing,
            on_disk,
        };
        flight.stage = Stage::Stored(new, 0);
        self.fly(own);
    }

    /// Commits when every earlier flight of its files has landed.
    fn commit(&mut self, own: usize, number: u64) {
        let client = &self.clients[own];
        let Some(flight) = client.flights.get(&number) else {
            return;
        };
        let Stage::Stored(new, _) = &flight.stage else {
            return;
        };
        let new = new.clone();
        let earlier = client.flights.range(..number).any(|(_, other)| {
            flight
                .blocks
                .iter()
                .any(|block| flight.has(block.0) && other.has(block.0))
        });
        if earlier || !client.welcomed {
            return;
        }
        let mut files: BTreeMap<Ino, Vec<Extent>> = BTreeMap::new();
        for (place, (ino, block, _)) in flight.blocks.iter().enumerate() {
            if client.lease(*ino) == LeaseMode::Exclusive && flight.has(*ino) {
                files.entry(*ino).or_default().push(Extent {
                    offset: block * BLOCK,
                    len: BLOCK,
                    chunk: new.id,
                    chunk_offset: (place as u64 * BLOCK) as u32,
                });
            }
        }
        if files.is_empty() {
            self.refused(own, number);
            return;
        }
        let files = files.into_iter().map(|(ino, extents)| FileCommit {
            ino,
            extents,
            mtime: Timestamp::default(),
            atime: None,
            kill_suidgid: false,
        });
        let op = Op::Commit(Commit {
            chunks: vec![new.clone()],
            files: files.collect(),
        });
        if let Some(flight) = self.clients[own].flights.get_mut(&number) {
            flight.stage = Stage::Committing(new);
        }
        self.call_op(own, op, Purpose::Flight(number));
    }

    pub(super) fn landed(&mut self, own: usize, number: u64, body: &Body, outcome: FsResult<Reply>) {
        let now = self.now;
        let Some(flight) = self.clients[own].flights.get_mut(&number) else {
            return;
        };
        let (Stage::Committing(new), Body::Op(Op::Commit(_))) = (&flight.stage, body) else {
            return;
        };
        match outcome {
            // Nobody who has it is a member of its set any more: it is written anew.
            Err(FsError::WouldBlock) => {
                flight.stage = Stage::Sealed(now + RETRY);
                return;
            }
            Err(FsError::NoSpace | FsError::TimedOut) => {
                flight.stage = Stage::Stored(new.clone(), now + RETRY);
                return;
            }
            Err(_) => self.refused(own, number),
            Ok(_) => {
                self.clients[own].flights.remove(&number);
            }
        }
        self.wake(Party::Client(own), 0);
    }

    /// The lease is gone, or the coordinator says so: the content is lost.
    fn refused(&mut self, own: usize, number: u64) {
        self.fault(Fault::CommitRefused);
        let now = self.now;
        if let Some(flight) = self.clients[own].flights.remove(&number) {
            let lost = flight.blocks.into_iter().map(|block| (block.0, now));
            self.clients[own].losses.extend(lost);
        }
    }

    /// The lease is gone and takes what is not committed with it.
    pub fn lose_flights(&mut self, own: usize, ino: Ino) {
        let now = self.now;
        let client = &mut self.clients[own];
        let committing = |flight: &Flight| matches!(flight.stage, Stage::Committing(_));
        let losses = &mut client.losses;
        client.flights.retain(|_, flight| {
            if !committing(flight) && flight.has(ino) {
                losses.insert(ino, now);
                flight.lost.insert(ino);
            }
            flight.blocks.iter().any(|block| flight.has(block.0))
        });
    }

    /// What fsync has said is safe: it is in the durable history.
    pub fn check_fsync(&mut self, own: usize, ino: Ino, blocks: &[(u64, Tag)]) {
        for (block, tag) in blocks {
            self.tally.check(Check::Fsync);
            if !self.truth.had(ino, *block, *tag) && !self.truth.gone(ino) {
                self.fail(format!(
                    "Fsync: client {own} synced block {block} of inode {ino} (write {tag}), and the log has it not"
                ));
            }
        }
    }
}
