//! The leader's background work as the real workers do it (`coordinator/workers`), in the world's time: purging,
//! deleting garbage after its quarantine, taking inventory, repairing copies. What they decide on is real: rows of
//! the store, the executor's status, answers of datanodes; every change is one of the executor's own operations.

use super::coordinator::GC_DELAY;
use super::messages::{Ask, Copy, Message, Told, datanode_at};
use super::world::{Broken, MS, Party, SEC, Time, World};
use crate::coordinator::executor::{Event, Status};
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::keys::{self, Key, KeyRange};
use dfs_core::op::Op;
use dfs_core::rows::{ChunkRow, CounterRow, RangeRow};
use dfs_core::view::View;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use tokio::sync::oneshot;

const ROUND: Time = 500 * MS;
const INVENTORY: Time = 5 * SEC;
const PATIENCE: Time = 8 * SEC;
const RETRY: Time = 3 * SEC;
/// Counted by this leader's monotonic clock from when it first saw the row: wall clocks jump.
const QUARANTINE: Time = GC_DELAY.as_micros() as Time;

enum Question {
    Delete(NodeId, Vec<ChunkId>),
    List(NodeId, BTreeSet<ChunkId>),
    Look(ChunkId, NodeId),
    Target(ChunkId, NodeId),
    Source(ChunkId, NodeId, NodeId),
    Pull(ChunkId, NodeId),
}

/// What is known beyond the durable rows; it dies with the reign.
#[derive(Default)]
pub struct Workers {
    next_round: Time,
    next_inventory: Time,
    status: Option<oneshot::Receiver<Status>>,
    /// Members that live, by number, and where they are.
    nodes: BTreeMap<NodeId, usize>,
    sets: BTreeMap<SetId, Vec<NodeId>>,
    questions: BTreeMap<u64, (Time, Question)>,
    /// When this leader first saw each chunk in the garbage list.
    garbage: BTreeMap<ChunkId, Time>,
    confirmed: BTreeMap<ChunkId, BTreeSet<NodeId>>,
    unknown: BTreeMap<NodeId, BTreeSet<ChunkId>>,
    resting: BTreeMap<(ChunkId, NodeId), Time>,
    pub reports: BTreeSet<(ChunkId, NodeId)>,
}

pub fn scan<T>(view: &dyn View, range: &KeyRange, mut read: impl FnMut(Key, &[u8]) -> Option<T>) -> Vec<T> {
    let mut found = Vec::new();
    let visited = view.scan(&range.0, &range.1, &mut |key, value| {
        found.extend(keys::parse(key).and_then(|key| read(key, value)));
        ControlFlow::Continue(())
    });
    visited.expect("rows in memory can be read");
    found
}

impl World {
    pub fn work(&mut self, own: usize) {
        let now = self.now;
        let Some(reign) = self.reign(own) else {
            return;
        };
        let workers = &mut reign.workers;
        workers.questions.retain(|_, (deadline, _)| *deadline > now);
        if let Some(status) = &mut workers.status
            && let Ok(status) = status.try_recv()
        {
            workers.status = None;
            let living = status.nodes.iter().filter(|(_, node)| node.alive);
            workers.nodes = living
                .filter_map(|(id, node)| Some((*id, datanode_at(&node.row.address)?)))
                .collect();
            workers.sets = status
                .sets
                .into_iter()
                .map(|(id, set)| (id, set.members))
                .collect();
            let inventory = workers.next_inventory <= now;
            if inventory {
                workers.next_inventory = now + INVENTORY;
            }
            self.collect_garbage(own);
            self.repair(own);
            if inventory {
                self.take_inventory(own);
            }
            return;
        }
        if workers.next_round <= now {
            workers.next_round = now + ROUND;
            let (tell, status) = oneshot::channel();
            workers.status = Some(status);
            reign.events.push(Event::Status(tell));
            self.own_op(own, Op::Purge { limit: 512 });
        }
    }

    fn own_op(&mut self, own: usize, op: Op) {
        // The outcome shows in the rows.
        let (answer, _) = oneshot::channel();
        if let Some(reign) = self.reign(own) {
            reign.events.push(Event::Own { op, answer });
            self.wake_coordinator(own);
        }
    }

    fn question(&mut self, own: usize, node: NodeId, ask: Ask, question: Question) {
        let deadline = self.now + PATIENCE;
        let number = self.number();
        let Some(reign) = self.reign(own) else {
            return;
        };
        let Some(datanode) = reign.workers.nodes.get(&node).copied() else {
            return;
        };
        reign.workers.questions.insert(number, (deadline, question));
        let (from, to) = (Party::Coordinator(own), Party::Datanode(datanode));
        self.send(from, to, Message::Ask(number, ask));
    }

    fn collect_garbage(&mut self, own: usize) {
        let rows = self.rows_of(own);
        let garbage = scan(&rows, &keys::prefix::garbage(), |key, _| match key {
            Key::Garbage(id) => rows.get(&keys::chunk(id)).ok()?.is_none().then_some(id),
            _ => None,
        });
        let now = self.now;
        let quarantine = if self.breaks(Broken::NoQuarantine) {
            0
        } else {
            QUARANTINE
        };
        let Some(reign) = self.reign(own) else {
            return;
        };
        let (term, workers) = (reign.term, &mut reign.workers);
        let seen = std::mem::take(&mut workers.garbage);
        for chunk in garbage {
            workers
                .garbage
                .insert(chunk, seen.get(&chunk).copied().unwrap_or(now));
        }
        let due = workers
            .garbage
            .iter()
            .filter(|(_, seen)| now - **seen >= quarantine);
        let due: Vec<ChunkId> = due.map(|(chunk, _)| *chunk).collect();
        let asked: BTreeSet<NodeId> = workers.questions.values().filter_map(deleting).collect();
        let mut orders: BTreeMap<NodeId, Vec<ChunkId>> = BTreeMap::new();
        let mut gone = Vec::new();
        for chunk in due {
            let members = workers.sets.get(&chunk.set).cloned().unwrap_or_default();
            let confirmed = workers.confirmed.entry(chunk).or_default();
            if !members.is_empty() && members.iter().all(|node| confirmed.contains(node)) {
                gone.push(chunk);
            }
            for node in members {
                if !confirmed.contains(&node) && workers.nodes.contains_key(&node) && !asked.contains(&node) {
                    orders.entry(node).or_default().push(chunk);
                }
            }
        }
        for chunk in &gone {
            workers.confirmed.remove(chunk);
        }
        for (node, chunks) in orders {
            let ask = Ask::Delete {
                term,
                chunks: chunks.clone(),
            };
            self.question(own, node, ask, Question::Delete(node, chunks));
        }
        if !gone.is_empty() {
            self.own_op(own, Op::ForgetGarbage { chunks: gone });
        }
    }

    fn repair(&mut self, own: usize) {
        let rows = self.rows_of(own);
        let missing = scan(&rows, &keys::prefix::missing(), |key, _| match key {
            Key::Missing { chunk, node } => Some((chunk, node)),
            _ => None,
        });
        let now = self.now;
        let Some(reign) = self.reign(own) else {
            return;
        };
        let workers = &mut reign.workers;
        workers.resting.retain(|_, until| *until > now);
        let mut due = Vec::new();
        for copy in missing {
            if workers.nodes.contains_key(&copy.1) && !workers.resting.contains_key(&copy) {
                workers.resting.insert(copy, now + RETRY);
                due.push(copy);
            }
        }
        let reports = std::mem::take(&mut workers.reports);
        for (chunk, node) in due {
            self.question(own, node, Ask::Verify(chunk), Question::Target(chunk, node));
        }
        for (chunk, node) in reports {
            self.question(own, node, Ask::Verify(chunk), Question::Look(chunk, node));
        }
    }

    fn take_inventory(&mut self, own: usize) {
        let rows = self.rows_of(own);
        let Some(reign) = self.reign(own) else {
            return;
        };
        let nodes: Vec<NodeId> = reign.workers.nodes.keys().copied().collect();
        let sets = reign.workers.sets.clone();
        for node in nodes {
            let mine = sets.iter().filter(|(_, members)| members.contains(&node));
            let before = mine.flat_map(|(set, _)| known_chunks(&rows, *set)).collect();
            self.question(own, node, Ask::List, Question::List(node, before));
        }
    }

    pub fn worker_told(&mut self, own: usize, number: u64, told: Told) {
        let Some(reign) = self.reign(own) else {
            return;
        };
        let Some((_, question)) = reign.workers.questions.remove(&number) else {
            return;
        };
        let term = reign.term;
        match (question, told) {
            (Question::Delete(node, chunks), Told::Deleted) => {
                for chunk in chunks {
                    reign.workers.confirmed.entry(chunk).or_default().insert(node);
                }
            }
            (Question::List(node, before), Told::Held(held)) => self.compare(own, node, &before, &held),
            (Question::Look(chunk, node), Told::Copy(copy))
                if self
                    .row(own, chunk)
                    .is_some_and(|row| copy != Copy::Good(row.sha256)) =>
            {
                self.set_missing(own, chunk, node, true);
            }
            (Question::Target(chunk, node), Told::Copy(copy)) => match self.row(own, chunk) {
                Some(row) if copy == Copy::Good(row.sha256) => self.set_missing(own, chunk, node, false),
                Some(_) => self.look_for_source(own, chunk, node),
                None => {}
            },
            (Question::Source(chunk, node, source), Told::Copy(copy)) => {
                let Some(row) = self.row(own, chunk) else {
                    return;
                };
                if copy != Copy::Good(row.sha256) {
                    self.set_missing(own, chunk, source, true);
                    return;
                }
                let Some(from) = self
                    .reign(own)
                    .and_then(|reign| reign.workers.nodes.get(&source).copied())
                else {
                    return;
                };
                let ask = Ask::Pull { term, chunk, from };
                self.question(own, node, ask, Question::Pull(chunk, node));
            }
            (Question::Pull(chunk, node), Told::Pulled(sum))
                if self.row(own, chunk).is_some_and(|row| row.sha256 == sum) =>
            {
                self.set_missing(own, chunk, node, false);
            }
            _ => {}
        }
    }

    fn row(&self, own: usize, chunk: ChunkId) -> Option<ChunkRow> {
        let key = keys::chunk(chunk);
        let row = self.rows_of(own).get(&key).ok()??;
        ChunkRow::decode(&key, &row).ok()
    }

    fn set_missing(&mut self, own: usize, chunk: ChunkId, node: NodeId, missing: bool) {
        self.own_op(own, Op::SetMissing { chunk, node, missing });
    }

    fn look_for_source(&mut self, own: usize, chunk: ChunkId, node: NodeId) {
        let rows = self.rows_of(own);
        let lacking = scan(&rows, &keys::prefix::missing_of(chunk), |key, _| match key {
            Key::Missing { node, .. } => Some(node),
            _ => None,
        });
        let Some(reign) = self.reign(own) else {
            return;
        };
        let workers = &reign.workers;
        let members = workers.sets.get(&chunk.set).cloned().unwrap_or_default();
        let mut sources = members;
        sources.retain(|source| {
            *source != node && !lacking.contains(source) && workers.nodes.contains_key(source)
        });
        if sources.is_empty() {
            return;
        }
        let source = sources[self.random.index(sources.len())];
        let question = Question::Source(chunk, node, source);
        self.question(own, source, Ask::Verify(chunk), question);
    }

    /// A chunk that nobody knows and nobody can commit any more goes at the second look.
    fn compare(&mut self, own: usize, node: NodeId, before: &BTreeSet<ChunkId>, held: &[ChunkId]) {
        let rows = self.rows_of(own);
        let living = !self.breaks(Broken::LivingRanges);
        let ranges = scan(&rows, &keys::prefix::ranges(), |key, value| match key {
            Key::Range { set, first, .. } => {
                let count = RangeRow::decode(&[], value).ok()?.count;
                Some((set, first..first + u64::from(count)))
            }
            _ => None,
        });
        let is_unknown = |id: &ChunkId| {
            let key = keys::chunk_seq(id.set);
            let next = rows.get(&key).ok().flatten();
            let next = next
                .and_then(|row| CounterRow::decode(&key, &row).ok())
                .map_or(0, |row| row.value);
            let leased = ranges
                .iter()
                .any(|(set, range)| *set == id.set && range.contains(&id.seq));
            let has = |key: Vec<u8>| rows.get(&key).ok().flatten().is_some();
            let known = leased && living || has(keys::chunk(*id)) || has(keys::garbage(*id));
            id.seq < next && !known
        };
        let now: BTreeSet<ChunkId> = held.iter().copied().filter(is_unknown).collect();
        let lacks = |id: &ChunkId| rows.get(&keys::missing(*id, node)).ok().flatten().is_some();
        let absent: Vec<ChunkId> = before
            .iter()
            .copied()
            .filter(|id| !held.contains(id) && !lacks(id))
            .collect();
        let Some(reign) = self.reign(own) else {
            return;
        };
        let term = reign.term;
        let earlier = reign
            .workers
            .unknown
            .insert(node, now.clone())
            .unwrap_or_default();
        let doomed: Vec<ChunkId> = now.intersection(&earlier).copied().collect();
        reign
            .workers
            .reports
            .extend(absent.into_iter().map(|chunk| (chunk, node)));
        if !doomed.is_empty() {
            let ask = Ask::Delete { term, chunks: doomed };
            self.question(own, node, ask, Question::Delete(node, Vec::new()));
        }
    }
}

fn deleting((_, question): &(Time, Question)) -> Option<NodeId> {
    match question {
        Question::Delete(node, _) => Some(*node),
        _ => None,
    }
}

fn known_chunks(rows: &dyn View, set: SetId) -> Vec<ChunkId> {
    scan(rows, &keys::prefix::chunks_of(set), |key, _| match key {
        Key::Chunk(id) => Some(id),
        _ => None,
    })
}
