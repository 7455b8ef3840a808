//! A model datanode: chunks in memory with what of them is on disk, the highest term it saw, forwarding, pulls.
//! It follows the rules of the real one (`datanode/service`), none of its code.

use super::coordinator::GC_DELAY;
use super::messages::{Ask, Copy, Message, Tag, Told, address, sha256};
use super::tally::{Check, Fault};
use super::truth::BLOCK;
use super::world::{Broken, MS, Party, SEC, Time, World};
use crate::coordinator::executor::Beat;
use dfs_core::ids::ChunkId;
use std::collections::BTreeMap;

const BEAT: Time = SEC;
const BEAT_PATIENCE: Time = 2 * SEC;
/// What a put waits for other members, and a pull for its source.
const FORWARD_PATIENCE: Time = 2 * SEC;
/// Small enough that what a world writes can be uneven.
const CAPACITY: u64 = 24 << 20;

pub struct Stored {
    pub content: Vec<Tag>,
    pub durable: bool,
    pub corrupt: bool,
}

/// A chunk that is being made durable for somebody.
struct Receiving {
    for_whom: (Party, u64),
    chunk: ChunkId,
    synced_at: Time,
    /// Forwards under way, or the question to a pull's source.
    asked: Vec<u64>,
    stored: Vec<usize>,
    deadline: Time,
    pull: bool,
}

#[derive(Default)]
pub struct Datanode {
    pub chunks: BTreeMap<ChunkId, Stored>,
    /// On its disk: the highest term that it obeyed.
    pub term: u64,
    pub slow_until: Time,
    pub full_until: Time,
    /// It is gone with its disk, for good.
    pub lost: bool,
    receiving: Vec<Receiving>,
    coordinator: usize,
    beat: Option<(u64, Time)>,
    next_beat: Time,
}

impl World {
    pub fn datanode_turn(&mut self, own: usize) {
        let me = Party::Datanode(own);
        self.beat(own);
        let now = self.now;
        let mut done = Vec::new();
        let node = &mut self.datanodes[own];
        for receiving in &mut node.receiving {
            if receiving.synced_at <= now
                && !receiving.stored.contains(&own)
                && let Some(stored) = node.chunks.get_mut(&receiving.chunk)
            {
                stored.durable = true;
                receiving.stored.push(own);
            }
        }
        let mut at = 0;
        while let Some(receiving) = node.receiving.get(at) {
            let synced = receiving.synced_at <= now;
            if synced && receiving.asked.is_empty() || receiving.deadline <= now {
                done.push(node.receiving.remove(at));
            } else {
                at += 1;
            }
        }
        for receiving in done {
            let told = match receiving.pull {
                false => Told::Stored(receiving.stored),
                true => match self.datanodes[own].chunks.get(&receiving.chunk) {
                    Some(stored) if receiving.asked.is_empty() => Told::Pulled(sha256(&stored.content)),
                    _ => Told::Refused,
                },
            };
            let (whom, number) = receiving.for_whom;
            self.send(me, whom, Message::Told(number, told));
        }
        self.tick_again(me, 200 * MS);
    }

    fn beat(&mut self, own: usize) {
        let (now, me) = (self.now, Party::Datanode(own));
        let node = &mut self.datanodes[own];
        if node.beat.is_some_and(|(_, sent)| now - sent > BEAT_PATIENCE) {
            node.beat = None;
            node.coordinator += 1;
            node.next_beat = now;
        }
        if node.beat.is_some() || node.next_beat > now {
            return;
        }
        let full = node.full_until > now;
        let blocks: usize = node.chunks.values().map(|stored| stored.content.len()).sum();
        let used = blocks as u64 * BLOCK;
        let beat = Beat {
            uuid: [own as u8 + 1; 16],
            address: address(own),
            zone: format!("zone-{}", own % 3),
            capacity: CAPACITY,
            used,
            free: if full { 0 } else { CAPACITY.saturating_sub(used) },
            chunks: node.chunks.len() as u64,
            problem: String::new(),
            process: Default::default(),
        };
        let to = Party::Coordinator(node.coordinator % self.coordinators.len());
        let number = self.number();
        self.datanodes[own].beat = Some((number, now));
        self.send(me, to, Message::Beat(number, beat));
    }

    pub fn datanode_told(&mut self, own: usize, from: Party, message: Message) {
        match message {
            Message::Beaten(number, answer) => self.beaten(own, number, answer),
            Message::Ask(number, ask) => self.datanode_asked(own, from, number, ask),
            Message::Told(number, told) => self.forwarded(own, number, told),
            _ => {}
        }
    }

    fn beaten(&mut self, own: usize, number: u64, answer: Option<(u32, u64)>) {
        let now = self.now;
        let node = &mut self.datanodes[own];
        if node.beat.is_none_or(|(asked, _)| asked != number) {
            return;
        }
        node.beat = None;
        match answer {
            Some((_, term)) => {
                node.term = node.term.max(term);
                node.next_beat = now + BEAT;
            }
            None => {
                node.coordinator += 1;
                node.next_beat = now + 100 * MS;
            }
        }
    }

    /// Whether an order of this term is obeyed; the term is on disk before the order is.
    fn obeys(&mut self, own: usize, term: u64) -> bool {
        self.tally.check(Check::OldTerm);
        let highest = self.datanodes[own].term;
        if term < highest && !self.breaks(Broken::OldTerms) {
            return false;
        }
        if term < highest {
            self.fail(format!(
                "OldTerm: datanode {own} obeyed term {term} after it had seen {highest}"
            ));
        }
        self.datanodes[own].term = highest.max(term);
        true
    }

    fn sync_time(&mut self, own: usize) -> Time {
        let slow = self.datanodes[own].slow_until > self.now;
        let (from, to) = if slow { (300 * MS, 3 * SEC) } else { (500, 6 * MS) };
        self.random.between(from, to)
    }

    fn datanode_asked(&mut self, own: usize, from: Party, number: u64, ask: Ask) {
        let me = Party::Datanode(own);
        let told = match ask {
            Ask::Put {
                chunk,
                content,
                forward,
            } => {
                if self.datanodes[own].full_until <= self.now {
                    self.receive(own, (from, number), chunk, content, forward);
                    return;
                }
                Told::Refused
            }
            Ask::Get(chunk) => match self.datanodes[own].chunks.get(&chunk) {
                None => Told::Copy(Copy::Missing),
                Some(stored) if stored.corrupt => Told::Copy(Copy::Corrupt),
                Some(stored) => Told::Content(stored.content.clone()),
            },
            Ask::Delete { term, chunks } => match self.obeys(own, term) {
                true => {
                    self.delete(own, &chunks);
                    Told::Deleted
                }
                false => Told::Refused,
            },
            Ask::Pull {
                term,
                chunk,
                from: source,
            } => {
                if self.obeys(own, term) && self.datanodes[own].full_until <= self.now {
                    self.begin_pull(own, (from, number), chunk, source);
                    return;
                }
                Told::Refused
            }
            Ask::Verify(chunk) => Told::Copy(match self.datanodes[own].chunks.get(&chunk) {
                Some(stored) if stored.corrupt => Copy::Corrupt,
                Some(stored) if stored.durable => Copy::Good(sha256(&stored.content)),
                _ => Copy::Missing,
            }),
            Ask::List => {
                let chunks = self.datanodes[own].chunks.iter();
                Told::Held(
                    chunks
                        .filter(|(_, stored)| stored.durable)
                        .map(|(id, _)| *id)
                        .collect(),
                )
            }
        };
        self.send(me, from, Message::Told(number, told));
    }

    fn delete(&mut self, own: usize, chunks: &[ChunkId]) {
        for chunk in chunks {
            self.tally.check(Check::ReferencedChunk);
            if self.truth.refers_to(*chunk, own) {
                self.fail(format!(
                    "ReferencedChunk: datanode {own} was told to delete chunk {chunk}, which metadata refers to"
                ));
            }
            self.check_quarantine(*chunk, own);
            self.datanodes[own].chunks.remove(chunk);
            self.check_last_copy(*chunk, own);
        }
        self.tell(|| format!("datanode {own} deleted {chunks:?}"));
    }

    /// Members keep garbage for readers with old extents. A former member has been asked by none of them for long.
    fn check_quarantine(&mut self, chunk: ChunkId, own: usize) {
        let Some(since) = self.truth.garbage.get(&chunk).copied() else {
            return;
        };
        if !self.truth.members(chunk.set).contains(&own) {
            return;
        }
        self.tally.check(Check::Quarantine);
        if self.now - since < GC_DELAY.as_micros() as Time {
            self.fail(format!(
                "Quarantine: chunk {chunk} is deleted {} us after it was given up",
                self.now - since
            ));
        }
    }

    fn receive(
        &mut self,
        own: usize,
        for_whom: (Party, u64),
        chunk: ChunkId,
        content: Vec<Tag>,
        forward: Vec<usize>,
    ) {
        let (now, me) = (self.now, Party::Datanode(own));
        let synced_at = now + self.sync_time(own);
        let node = &mut self.datanodes[own];
        node.chunks.entry(chunk).or_insert(Stored {
            content: content.clone(),
            durable: false,
            corrupt: false,
        });
        let mut asked = Vec::new();
        for other in forward {
            let number = self.number();
            asked.push(number);
            let ask = Ask::Put {
                chunk,
                content: content.clone(),
                forward: Vec::new(),
            };
            self.send(me, Party::Datanode(other), Message::Ask(number, ask));
        }
        self.datanodes[own].receiving.push(Receiving {
            for_whom,
            chunk,
            synced_at,
            asked,
            stored: Vec::new(),
            deadline: now + FORWARD_PATIENCE + 2 * SEC,
            pull: false,
        });
        self.wake(me, synced_at - now);
    }

    fn begin_pull(&mut self, own: usize, for_whom: (Party, u64), chunk: ChunkId, source: usize) {
        let number = self.number();
        self.datanodes[own].receiving.push(Receiving {
            for_whom,
            chunk,
            synced_at: Time::MAX,
            asked: vec![number],
            stored: Vec::new(),
            deadline: self.now + FORWARD_PATIENCE,
            pull: true,
        });
        let ask = Message::Ask(number, Ask::Get(chunk));
        self.send(Party::Datanode(own), Party::Datanode(source), ask);
    }

    /// Another member answered a forward, or a pull's source its question.
    fn forwarded(&mut self, own: usize, number: u64, told: Told) {
        let sync = self.now + self.sync_time(own);
        let node = &mut self.datanodes[own];
        let Some(receiving) = node.receiving.iter_mut().find(|r| r.asked.contains(&number)) else {
            return;
        };
        match told {
            Told::Stored(stored) => {
                receiving.asked.retain(|asked| *asked != number);
                receiving.stored.extend(stored);
            }
            Told::Content(content) if receiving.pull => {
                receiving.asked.clear();
                receiving.synced_at = sync;
                // A bad copy is given up only when the good one is durable: the slots are apart.
                node.chunks.insert(
                    receiving.chunk,
                    Stored {
                        content,
                        durable: true,
                        corrupt: false,
                    },
                );
            }
            _ if receiving.pull => receiving.deadline = 0,
            _ => receiving.asked.retain(|asked| *asked != number),
        }
        let delay = sync - self.now;
        self.wake(Party::Datanode(own), 0);
        self.wake(Party::Datanode(own), delay);
    }

    /// What a crash leaves of a datanode: what was synced, and of the rest what happened to be written.
    pub fn datanode_dies(&mut self, own: usize) {
        self.fault(Fault::DatanodeCrash);
        let random = &mut self.random;
        let node = &mut self.datanodes[own];
        node.receiving.clear();
        node.beat = None;
        node.chunks.retain(|_, stored| {
            stored.durable |= random.chance(500);
            stored.durable
        });
    }
}
