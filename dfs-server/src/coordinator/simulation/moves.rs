//! Datanodes that come, go for good, are drained and taken back, and what must hold while sets change their members.

use super::coordinator::{GC_DELAY, MIN_REPLICAS};
use super::datanode::Stored;
use super::faults::Trouble;
use super::messages::sha256;
use super::tally::{Check, Fault};
use super::workers::scan;
use super::world::{Happening, Party, SEC, Time, World};
use crate::coordinator::executor::Order;
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::keys::{self, Key};
use dfs_core::rows::{ChunkRow, NodeRow, NodeState, PlanRow, PlanState, SetRow};
use dfs_core::view::MemoryView;
use std::collections::BTreeSet;

/// After this an order to empty a node has shown in the rows, or was lost with its leader.
const DRAIN_SHOWS: Time = 20 * SEC;
/// An order to delete may be so old when it is obeyed: what was noted before it was given counts.
const ORDERED: Time = 9 * SEC;

impl World {
    /// In some worlds the last datanode joins when there are sets already.
    pub fn one_comes_later(&mut self) {
        if self.random.chance(500) {
            let party = Party::Datanode(self.datanodes.len() - 1);
            if let Some(process) = self.processes.get_mut(&party) {
                process.up = false;
            }
            let time = self.random.between(2 * SEC, 15 * SEC);
            self.fault(Fault::CameLater);
            self.schedule(time, Happening::Over(Trouble::Rise(party)));
        }
    }

    /// A datanode burns down, once, and when nothing is lost with it that was promised: of everything in use there are
    /// two other good copies.
    pub fn lose_datanode(&mut self) {
        let own = self.random.index(self.datanodes.len());
        let safe = |(id, row): &(ChunkId, ChunkRow)| {
            let others = (0..self.datanodes.len()).filter(|node| *node != own);
            others.filter(|node| self.has_good(*node, *id, row)).count() >= 2
        };
        let chunks = self.chunks();
        if self.datanodes.iter().any(|node| node.lost) || !chunks.iter().all(safe) {
            return;
        }
        self.fault(Fault::DatanodeLost);
        self.tell(|| format!("datanode {own} is lost for good"));
        self.datanodes[own].lost = true;
        self.datanodes[own].chunks.clear();
        self.datanode_dies(own);
        if let Some(process) = self.processes.get_mut(&Party::Datanode(own)) {
            process.up = false;
        }
        self.break_streams_of(Party::Datanode(own));
    }

    /// The operator empties a node, one at a time: of five, one may burn down as well.
    pub fn drain(&mut self) {
        if self.drained.is_some_and(|time| self.now < time + DRAIN_SHOWS) {
            return;
        }
        let states = self.node_states();
        let active: Vec<NodeId> = states
            .iter()
            .filter(|(_, state)| *state == NodeState::Active)
            .map(|(id, _)| *id)
            .collect();
        if active.len() < 4 || active.len() < states.len() {
            return;
        }
        let node = active[self.random.index(active.len())];
        if self.order_leader(Order::Drain(node)) {
            self.drained = Some(self.now);
            self.fault(Fault::Drained);
            if self.random.chance(500) {
                let time = self.random.between(SEC, 8 * SEC);
                self.schedule(time, Happening::Over(Trouble::Uncordon));
            }
        }
    }

    /// The operator wants a drained node back.
    pub fn uncordon(&mut self) {
        let states = self.node_states();
        let drained = states.iter().find(|(_, state)| *state == NodeState::Draining);
        if let Some((node, _)) = drained
            && self.order_leader(Order::Uncordon(*node))
        {
            self.fault(Fault::TakenBack);
        }
    }

    /// Somebody who leads, or believes to.
    pub fn leader(&mut self) -> Option<usize> {
        (0..self.coordinators.len())
            .find(|own| self.process(Party::Coordinator(*own)).up && self.reign(*own).is_some())
    }

    fn order_leader(&mut self, order: Order) -> bool {
        let leader = self.leader();
        leader.is_some_and(|own| self.order(own, order).is_some())
    }

    pub fn view(&self) -> MemoryView {
        MemoryView {
            rows: self.truth.rows.clone(),
            ..MemoryView::default()
        }
    }

    fn node_states(&self) -> Vec<(NodeId, NodeState)> {
        scan(&self.view(), &keys::prefix::nodes(), |key, value| match key {
            Key::Node(id) => Some((id, NodeRow::decode(&[], value).ok()?.state)),
            _ => None,
        })
    }

    fn chunks(&self) -> Vec<(ChunkId, ChunkRow)> {
        scan(&self.view(), &keys::prefix::chunks(), |key, value| match key {
            Key::Chunk(id) => Some((id, ChunkRow::decode(&[], value).ok()?)),
            _ => None,
        })
    }

    pub fn has_good(&self, datanode: usize, chunk: ChunkId, row: &ChunkRow) -> bool {
        let good =
            |stored: &Stored| !stored.corrupt && stored.durable && sha256(&stored.content) == row.sha256;
        self.datanodes[datanode].chunks.get(&chunk).is_some_and(good)
    }

    /// A set's row was written: members whose cursors have moved, or that are full now, have what that says.
    pub fn check_set(&mut self, id: SetId, value: &[u8]) {
        let Ok(row) = SetRow::decode(&[], value) else {
            return self.fail(format!("Model: the row of set {} does not decode", id.0));
        };
        let before = self.truth.sets.insert(id, row.clone()).unwrap_or_default();
        if before.epoch != row.epoch && before.epoch > 0 {
            self.fault(Fault::SetChanged);
        }
        for former in &row.former {
            self.truth.left.entry((id, former.node)).or_insert(self.now);
        }
        let is_former = |node: NodeId| row.former.iter().any(|former| former.node == node);
        self.truth
            .left
            .retain(|(set, node), _| *set != id || is_former(*node));
        let joined: Vec<NodeId> = before.joining.iter().map(|joining| joining.node).collect();
        let joined: BTreeSet<usize> = joined
            .into_iter()
            .filter(|node| row.members.contains(node))
            .filter_map(|node| self.truth.datanode(node))
            .collect();
        if joined.is_empty() {
            return;
        }
        for (chunk, content) in self.chunks().into_iter().filter(|(chunk, _)| chunk.set == id) {
            for node in self
                .truth
                .holders(chunk)
                .intersection(&joined)
                .copied()
                .collect::<Vec<_>>()
            {
                self.tally.check(Check::Filled);
                let stored = self.datanodes[node].chunks.get(&chunk);
                let there = stored.is_some_and(|stored| {
                    stored.durable && (stored.corrupt || sha256(&stored.content) == content.sha256)
                });
                if !there && !self.datanodes[node].lost {
                    self.fail(format!(
                        "Filled: datanode {node} counts as filled up to chunk {chunk} and beyond, which it has not"
                    ));
                }
            }
        }
    }

    /// A copy went from a datanode: of a chunk that is in use, another good one is where it should be, enough are where
    /// they should be or none is missing, and readers with an old picture had their time.
    pub fn check_last_copy(&mut self, chunk: ChunkId, own: usize) {
        let key = keys::chunk(chunk);
        let row = self.truth.rows.get(&key).map(|row| ChunkRow::decode(&key, row));
        let Some(Ok(row)) = row else {
            return;
        };
        self.tally.check(Check::LastCopy);
        let holders = self.truth.holders(chunk);
        let noted = self
            .truth
            .missing
            .range((chunk, NodeId(0))..=(chunk, NodeId(u32::MAX)));
        let (old, new): (Vec<_>, Vec<_>) = noted.partition(|(_, since)| self.now - **since > ORDERED);
        let lacks = !old.is_empty() && holders.len() + new.len() < MIN_REPLICAS;
        if lacks || !holders.iter().any(|node| self.has_good(*node, chunk, &row)) {
            self.fail(format!(
                "LastCopy: datanode {own}, a former member, deleted chunk {chunk}, which lacks other copies"
            ));
        }
        let left = self.truth.left.iter();
        let left =
            left.filter(|((set, node), _)| *set == chunk.set && self.truth.datanode(*node) == Some(own));
        if let Some(since) = left.map(|(_, since)| *since).next() {
            self.tally.check(Check::Quarantine);
            if self.now - since < GC_DELAY.as_micros() as Time {
                self.fail(format!(
                    "Quarantine: chunk {chunk} is deleted {} us after datanode {own} has left its set",
                    self.now - since
                ));
            }
        }
    }

    /// Sets consist of members that serve, nobody joins or has left something, and no plan is under way.
    pub fn check_places(&self, view: &MemoryView) -> Result<(), String> {
        let states = self.node_states();
        let state = |node: NodeId| {
            let known = states.iter().find(|(id, _)| *id == node);
            known.map_or(NodeState::Removed, |known| known.1)
        };
        for (id, set) in &self.truth.sets {
            let row = |what: &str| Err(format!("Converges: set {} {what}: {set:?}", id.0));
            if !set.joining.is_empty() {
                return row("still has members that join");
            }
            if !set.former.iter().all(|former| {
                self.truth
                    .datanode(former.node)
                    .is_none_or(|node| self.datanodes[node].lost)
            }) {
                return row("still has members of before");
            }
            if set.members.iter().any(|node| state(*node) != NodeState::Active) {
                return row("has members that do not serve");
            }
        }
        let plans = scan(view, &keys::prefix::plans(), |key, value| match key {
            Key::Plan(number) => Some((number, PlanRow::decode(&[], value).ok()?)),
            _ => None,
        });
        let running = |plan: &&(u64, PlanRow)| plan.1.state == PlanState::Running;
        match plans.iter().find(running) {
            Some((number, plan)) => Err(format!("Converges: plan {number} still runs: {plan:?}")),
            None => Ok(()),
        }
    }
}
