//! The leader's background work in the world's time. What is decided is decided by the real workers' functions
//! (`coordinator/workers`), on real rows and the executor's real status; the talk with datanodes is the model's: a
//! question has a number, an answer or a time at which it has none.

mod copies;
mod fill;
mod garbage;
mod inventory;
mod leftovers;
mod trash;

use super::coordinator::GC_DELAY;
use super::messages::{Ask, Copy, Message, Told, datanode_at};
use super::world::{Broken, MS, Party, SEC, Time, World};
use crate::coordinator::executor::{Event, Order, Outcome, Status};
use crate::coordinator::workers;
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::keys::{self, Key, KeyRange};
use dfs_core::op::Op;
use dfs_core::rows::ChunkRow;
use dfs_core::view::View;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const ROUND: Time = 500 * MS;
const INVENTORY: Time = 5 * SEC;
const PATIENCE: Time = 8 * SEC;
const RETRY: Time = 3 * SEC;
const RETRY_TIME: Duration = Duration::from_micros(RETRY);

type Place = (SetId, NodeId);

enum Question {
    Delete(NodeId, Vec<ChunkId>),
    List(NodeId, Box<workers::inventory::Known>),
    /// A report is looked at.
    Look(ChunkId, NodeId),
    /// A source of a copy gave nothing.
    Doubt(ChunkId, NodeId),
    /// Of a copy: whether it is there already, the pull, whether it is there now.
    Has(u64),
    Pull(u64),
    Reread(u64),
    /// What a former member holds, and that what is not needed of it goes.
    Leftovers(Place),
    Clear,
}

/// What is known beyond the durable rows; it dies with the reign.
#[derive(Default)]
pub struct Workers {
    next_round: Time,
    next_inventory: Time,
    asked: Option<oneshot::Receiver<Status>>,
    /// The newest status, and whether the work that needs rows as new as it is still to be done.
    status: Option<Arc<Status>>,
    behind: bool,
    questions: BTreeMap<u64, (Time, Question)>,
    garbage: workers::garbage::Seen,
    confirmed: workers::garbage::Confirmed,
    unknown: BTreeMap<NodeId, BTreeSet<ChunkId>>,
    failures: HashMap<workers::repair::Missing, Instant>,
    pub reports: BTreeSet<(ChunkId, NodeId)>,
    copies: BTreeMap<u64, copies::Copying>,
    fills: BTreeMap<Place, fill::Fill>,
    /// The planner's count of changes, and when it last rose.
    changes: (u64, Time),
    former: workers::leftovers::Seen,
    put_off: BTreeMap<Place, Time>,
    /// The trash's age as this reign counts it.
    trash: Option<workers::trash::Count>,
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

/// What a real worker read of rows in memory.
fn read<T>(found: Result<T, dfs_core::view::ViewError>) -> T {
    found.expect("rows in memory can be read")
}

impl Workers {
    fn alive(&self, node: NodeId) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|status| status.nodes.get(&node).is_some_and(|node| node.alive))
    }

    fn place(&self, node: NodeId) -> Option<usize> {
        datanode_at(&self.status.as_ref()?.nodes.get(&node)?.row.address)
    }
}

impl World {
    pub fn work(&mut self, own: usize) {
        let now = self.now;
        self.expire_questions(own);
        let rows = self.rows_of(own);
        let Some(reign) = self.reign(own) else {
            return;
        };
        let workers = &mut reign.workers;
        if let Some(asked) = &mut workers.asked
            && let Ok(status) = asked.try_recv()
        {
            workers.asked = None;
            workers.status = Some(Arc::new(status));
            workers.behind = true;
            self.round(own);
        } else if workers.next_round <= now {
            workers.next_round = now + ROUND;
            let (tell, status) = oneshot::channel();
            workers.asked = Some(status);
            reign.events.push(Event::Status(tell));
            self.own_op(own, Op::Purge { limit: 512 });
            self.own_op(own, Op::Count { limit: 64 });
        }
        self.fill_on(own);
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return;
        };
        let status = workers.status.clone();
        if let Some(status) = status.filter(|status| workers.behind && rows.applied() >= status.latest) {
            workers.behind = false;
            self.begin_fills(own, &status);
            self.clear_leftovers(own, &status);
        }
    }

    fn round(&mut self, own: usize) {
        let now = self.now;
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return;
        };
        let Some(status) = workers.status.clone() else {
            return;
        };
        let inventory = workers.next_inventory <= now;
        if inventory {
            workers.next_inventory = now + INVENTORY;
        }
        self.collect_garbage(own, &status);
        self.repair(own, &status);
        self.plan(own, &status);
        self.empty_trash(own);
        if inventory {
            self.take_inventory(own, &status);
        }
    }

    /// What the planner decides is ordered.
    fn plan(&mut self, own: usize, status: &Status) {
        let rows = self.rows_of(own);
        let survey = read(workers::survey::look(&rows, &workers::survey::Known::of(status)));
        let now = self.now;
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return;
        };
        let changes = workers::planner::changes(status);
        if workers.changes.0 != changes {
            workers.changes = (changes, now);
        }
        let settled = now - workers.changes.1 > workers::planner::FIGURES_SETTLE.as_micros() as Time;
        let (orders, _) = workers::planner::decide(status, &survey, settled);
        for order in orders {
            self.order(own, order);
        }
    }

    pub fn own_op(&mut self, own: usize, op: Op) -> Option<oneshot::Receiver<Outcome>> {
        if !matches!(op, Op::Purge { .. } | Op::Count { .. }) {
            self.tell(|| format!("coordinator {own} itself calls {op:?}"));
        }
        let (answer, answered) = oneshot::channel();
        let reign = self.reign(own)?;
        reign.events.push(Event::Own { op, answer });
        self.wake_coordinator(own);
        Some(answered)
    }

    pub fn order(&mut self, own: usize, order: Order) -> Option<oneshot::Receiver<Result<(), String>>> {
        self.tell(|| format!("coordinator {own} is ordered {order:?}"));
        let (answer, answered) = oneshot::channel();
        let reign = self.reign(own)?;
        reign.events.push(Event::Order(order, answer));
        self.wake_coordinator(own);
        Some(answered)
    }

    fn note(
        &mut self,
        own: usize,
        chunk: ChunkId,
        node: NodeId,
        missing: bool,
    ) -> Option<oneshot::Receiver<Outcome>> {
        self.own_op(own, Op::SetMissing { chunk, node, missing })
    }

    /// Whether the node could be asked.
    fn question(&mut self, own: usize, node: NodeId, ask: Ask, question: Question) -> bool {
        let deadline = self.now + PATIENCE;
        let number = self.number();
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return false;
        };
        let Some(datanode) = workers.place(node) else {
            return false;
        };
        workers.questions.insert(number, (deadline, question));
        let (from, to) = (Party::Coordinator(own), Party::Datanode(datanode));
        self.send(from, to, Message::Ask(number, ask));
        true
    }

    fn expire_questions(&mut self, own: usize) {
        let now = self.now;
        loop {
            let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
                return;
            };
            let over = workers
                .questions
                .iter()
                .find(|(_, (deadline, _))| *deadline <= now);
            let Some(number) = over.map(|(number, _)| *number) else {
                return;
            };
            if let Some((_, question)) = workers.questions.remove(&number) {
                self.answered(own, question, Told::Refused);
            }
        }
    }

    pub fn worker_told(&mut self, own: usize, number: u64, told: Told) {
        let known = self
            .reign(own)
            .and_then(|reign| reign.workers.questions.remove(&number));
        if let Some((_, question)) = known {
            self.answered(own, question, told);
        }
    }

    fn answered(&mut self, own: usize, question: Question, told: Told) {
        match (question, told) {
            (Question::Delete(node, chunks), Told::Deleted) => self.deleted(own, node, &chunks),
            (Question::List(node, before), Told::Held(held)) => self.compare(own, node, &before, held),
            (Question::Look(chunk, node), Told::Copy(copy)) => self.looked(own, chunk, node, copy),
            (Question::Doubt(chunk, node), Told::Copy(copy))
                if self
                    .row(own, chunk)
                    .is_some_and(|row| copy != Copy::Good(row.sha256)) =>
            {
                self.note(own, chunk, node, true);
            }
            (Question::Has(copy), told) => self.copy_looked_at(own, copy, told, false),
            (Question::Reread(copy), told) => self.copy_looked_at(own, copy, told, true),
            (Question::Pull(copy), told) => self.copy_pulled(own, copy, told),
            (Question::Leftovers(place), told) => self.leftovers_listed(own, place, told),
            _ => {}
        }
    }

    fn row(&self, own: usize, chunk: ChunkId) -> Option<ChunkRow> {
        let key = keys::chunk(chunk);
        let row = self.rows_of(own).get(&key).ok()??;
        ChunkRow::decode(&key, &row).ok()
    }

    /// How long garbage and what former members hold is kept, by the leader's monotonic clock.
    fn quarantine(&self) -> Duration {
        match self.breaks(Broken::NoQuarantine) {
            true => Duration::ZERO,
            false => GC_DELAY,
        }
    }
}
