//! Orders about datanodes and moves of copies, from operators and from the planner: each fits the rows as they are
//! or is refused, and is durable before it is answered. What to order is decided elsewhere.

use super::rules::Rule;
use super::{Executor, Fault};
use dfs_core::ids::{NodeId, SetId};
use dfs_core::keys;
use dfs_core::plan::Move;
use dfs_core::rows::{CounterRow, Joining, NodeState, PLANS_KEPT, PlanKind, PlanRow, PlanState, SetRow};
use dfs_core::types::Timestamp;
use tokio::sync::oneshot;

/// An order about nodes, sets or plans.
#[derive(Clone, Debug)]
pub enum Order {
    /// The node's places go to others.
    Drain(NodeId),
    /// The node takes part as before: moves away from it are given up.
    Uncordon(NodeId),
    /// The node is gone for good; without `force` only when nothing is lost by that.
    Remove { node: NodeId, force: bool },
    /// Begins a move.
    Begin(Move),
    /// Chunks below `next` were seen to; so many were copied since the last time. Refused when the set's members have
    /// changed since `epoch`: the node may have left and joined anew, and then lacks what it was given before.
    Advance {
        set: SetId,
        node: NodeId,
        epoch: u64,
        next: u64,
        chunks: u64,
        bytes: u64,
    },
    /// The joining member has everything.
    Finish { set: SetId, node: NodeId },
    /// The joining member cannot go on.
    Abandon { set: SetId, node: NodeId },
    /// The former member has no copies any more.
    Forget { set: SetId, node: NodeId },
    /// Plans without moves are over; those of nodes that are in no set any more, and levelling when it rests.
    Settle { levelled: bool },
    /// Moves to level the nodes are given up; none begin until `Rebalance`.
    AbortRebalance,
    /// Levelling may begin again.
    Rebalance,
}

/// What became of an order.
pub type Answer = oneshot::Sender<Result<(), String>>;

impl Executor {
    pub(super) fn on_order(&mut self, order: Order, answer: Answer) -> Result<(), Fault> {
        tracing::debug!(?order, "an order about nodes");
        let result = self.carry_out(order)?;
        let index = self.batch_or_durable();
        self.when_durable(index, move || {
            // Who asked may have given up; an order can be repeated.
            let _ = answer.send(result);
        });
        Ok(())
    }

    fn carry_out(&mut self, order: Order) -> Result<Result<(), String>, Fault> {
        Ok(match order {
            Order::Drain(node) => self.set_node_state(node, NodeState::Draining),
            Order::Uncordon(node) => self.uncordon(node),
            Order::Remove { node, force } => self.remove_node(node, force),
            Order::Begin(step) => return self.begin_move(step),
            Order::Advance {
                set,
                node,
                epoch,
                next,
                chunks,
                bytes,
            } => self.advance_move((set, epoch), node, next, (chunks, bytes)),
            Order::Finish { set, node } => self.end_move(set, node, SetRow::finish),
            Order::Abandon { set, node } => self.end_move(set, node, SetRow::abandon),
            Order::Forget { set, node } => self.change_set(set, |row| {
                row.forget(node);
                Ok(())
            }),
            Order::Settle { levelled } => self.settle_plans(levelled),
            Order::AbortRebalance => self.abort_rebalance(),
            Order::Rebalance => self.allow_rebalance(),
        })
    }

    /// Nodes that were silent for too long.
    pub(super) fn note_dead(&mut self, dead: &[NodeId]) {
        for id in dead {
            tracing::error!(node = %id, "a datanode counts as dead; its copies are made anew elsewhere");
            if let Err(reason) = self.set_node_state(*id, NodeState::Dead) {
                tracing::error!(node = %id, reason, "it could not be noted");
            }
        }
    }

    /// A dead node is back: the places that were not taken yet are its own again.
    pub(super) fn take_back(&mut self, id: NodeId) {
        if self
            .cluster
            .nodes
            .get(&id)
            .is_some_and(|node| node.row.state == NodeState::Dead)
        {
            tracing::info!(node = %id, "a dead datanode is back");
            if let Err(reason) = self.uncordon(id) {
                tracing::error!(node = %id, reason, "it could not be taken back");
            }
        }
    }

    fn uncordon(&mut self, id: NodeId) -> Result<(), String> {
        self.set_node_state(id, NodeState::Active)?;
        for (set, joining) in self.moves_where(|joining| joining.replaces == Some(id)) {
            self.end_move(set, joining.node, SetRow::abandon)?;
        }
        self.end_plans(PlanState::Aborted, |plan| plan.node == Some(id));
        Ok(())
    }

    fn set_node_state(&mut self, id: NodeId, state: NodeState) -> Result<(), String> {
        let now = self.now.wall;
        let node = self.cluster.nodes.get_mut(&id).ok_or_else(|| unknown(id))?;
        if node.row.state == NodeState::Removed {
            return Err(format!("node {id} was removed"));
        }
        if node.row.state != state {
            (node.row.state, node.row.since) = (state, now);
            let row = node.row.encode();
            self.put_row(keys::node(id), Some(row));
            self.picture_changed();
        }
        Ok(())
    }

    fn remove_node(&mut self, id: NodeId, force: bool) -> Result<(), String> {
        let node = self.cluster.nodes.get(&id).ok_or_else(|| unknown(id))?;
        let places = self
            .cluster
            .sets
            .values()
            .filter(|set| set.members.contains(&id))
            .count();
        if !force && !matches!(node.row.state, NodeState::Draining | NodeState::Dead) {
            return Err(format!(
                "node {id} takes part: drain it first (`dfs node drain {id}`), or lose its copies with --force"
            ));
        }
        if !force && places > 0 {
            return Err(format!(
                "node {id} is still a member of {places} sets: wait until it is drained or replaced \
                 (`dfs node plan`), or lose its copies with --force"
            ));
        }
        self.set_node_state(id, NodeState::Removed)?;
        let sets: Vec<SetId> = self.cluster.sets.keys().copied().collect();
        for set in sets {
            // Its places, if it has any, go to others like those of a dead node.
            self.change_set(set, |row| {
                row.forget(id);
                Ok(())
            })?;
        }
        if places == 0 {
            self.end_plans(PlanState::Done, |plan| plan.node == Some(id));
        }
        tracing::warn!(node = %id, force, places, "a datanode was removed");
        Ok(())
    }

    fn begin_move(&mut self, step: Move) -> Result<Result<(), String>, Fault> {
        let until = match self.breaks(Rule::FillOlder) {
            true => 0,
            false => self.chunk_numbers(step.set)?,
        };
        let node = (step.kind != PlanKind::Rebalance).then_some(step.leaves);
        let plan = match self.running_plan(step.kind, node) {
            Some(plan) => plan,
            None => self.begin_plan(step.kind, node)?,
        };
        let begun = self.change_set(step.set, |row| {
            let begun = row.begin_move(step.leaves, step.joins, until, plan);
            begun.map_err(|error| error.to_string())
        });
        if begun.is_ok() {
            tracing::info!(set = step.set.0, leaves = %step.leaves, joins = %step.joins, "a member is being replaced");
            self.change_plan(plan, |row| row.moves += 1);
        }
        Ok(begun)
    }

    fn advance_move(
        &mut self,
        (set, epoch): (SetId, u64),
        node: NodeId,
        next: u64,
        (chunks, bytes): (u64, u64),
    ) -> Result<(), String> {
        let plan = self.joining(set, node).map(|joining| joining.plan);
        let row = self.cluster.sets.get_mut(&set).ok_or("the set is not known")?;
        if row.epoch != epoch {
            return Err("the set's members have changed since; the chunks are looked at again".into());
        }
        row.advance(node, next).map_err(|error| error.to_string())?;
        let row = row.encode();
        self.put_row(keys::set(set), Some(row));
        if let Some(plan) = plan {
            self.change_plan(plan, |row| {
                row.chunks += chunks;
                row.bytes += bytes;
            });
        }
        Ok(())
    }

    fn end_move(
        &mut self,
        set: SetId,
        node: NodeId,
        end: impl FnOnce(&mut SetRow, NodeId, Timestamp) -> Result<Joining, dfs_core::plan::Refusal>,
    ) -> Result<(), String> {
        let now = self.now.wall;
        // Nobody will ever hear of what a removed node holds.
        let removed: Vec<NodeId> = self.cluster.removed().collect();
        let mut ended = None;
        self.change_set(set, |row| {
            ended = Some(end(row, node, now).map_err(|error| error.to_string())?);
            row.former.retain(|former| !removed.contains(&former.node));
            Ok(())
        })?;
        if let Some(joining) = ended {
            tracing::info!(set = set.0, %node, replaced = ?joining.replaces, "a move of copies ended");
            self.change_plan(joining.plan, |row| row.moves_done += 1);
        }
        Ok(())
    }

    fn abort_rebalance(&mut self) -> Result<(), String> {
        let running = self.running_plan(PlanKind::Rebalance, None);
        let plan = running.ok_or("no levelling is under way")?;
        for (set, joining) in self.moves_where(|joining| joining.plan == plan) {
            self.end_move(set, joining.node, SetRow::abandon)?;
        }
        self.end_plans(PlanState::Aborted, |row| row.kind == PlanKind::Rebalance);
        Ok(())
    }

    /// The newest levelling, if it was given up, is no reason to begin none.
    fn allow_rebalance(&mut self) -> Result<(), String> {
        let aborted = |row: &&PlanRow| row.kind == PlanKind::Rebalance && row.state == PlanState::Aborted;
        let plans: Vec<u64> = self
            .cluster
            .plans
            .iter()
            .filter(|(_, row)| aborted(row))
            .map(|(number, _)| *number)
            .collect();
        for plan in plans {
            self.cluster.plans.remove(&plan);
            self.put_row(keys::plan(plan), None);
        }
        Ok(())
    }

    fn settle_plans(&mut self, levelled: bool) -> Result<(), String> {
        let busy: Vec<u64> = self
            .moves_where(|_| true)
            .iter()
            .map(|(_, joining)| joining.plan)
            .collect();
        let sets = &self.cluster.sets;
        let placed = |node: NodeId| sets.values().any(|set| set.members.contains(&node));
        // A dead node that came back while the first move away from it was being ordered stays where it is.
        let stays = |node: NodeId| {
            let known = self.cluster.nodes.get(&node);
            known.is_some_and(|node| node.row.state == NodeState::Active)
        };
        let over: Vec<u64> = self
            .cluster
            .plans
            .iter()
            .filter(|(number, row)| row.state == PlanState::Running && !busy.contains(number))
            .filter(|(_, row)| row.node.map_or(levelled, |node| !placed(node) || stays(node)))
            .map(|(number, _)| *number)
            .collect();
        for plan in over {
            self.end_plan(plan, PlanState::Done);
        }
        Ok(())
    }

    fn end_plans(&mut self, state: PlanState, which: impl Fn(&PlanRow) -> bool) {
        let running = self
            .cluster
            .plans
            .iter()
            .filter(|(_, row)| row.state == PlanState::Running);
        let plans: Vec<u64> = running
            .filter(|(_, row)| which(row))
            .map(|(number, _)| *number)
            .collect();
        for plan in plans {
            self.end_plan(plan, state);
        }
    }

    fn end_plan(&mut self, plan: u64, state: PlanState) {
        let now = self.now.wall;
        self.change_plan(plan, |row| (row.state, row.ended) = (state, now));
        tracing::info!(plan, ?state, "a plan ended");
    }

    fn running_plan(&self, kind: PlanKind, node: Option<NodeId>) -> Option<u64> {
        let mut plans = self.cluster.plans.iter();
        let found =
            plans.find(|(_, row)| row.state == PlanState::Running && row.kind == kind && row.node == node);
        found.map(|(number, _)| *number)
    }

    fn begin_plan(&mut self, kind: PlanKind, node: Option<NodeId>) -> Result<u64, Fault> {
        let plan = self.counter(b"next_plan")?.max(1);
        let value = plan + 1;
        self.put_row(keys::counter(b"next_plan"), Some(CounterRow { value }.encode()));
        let row = PlanRow {
            kind,
            node,
            state: PlanState::Running,
            begun: self.now.wall,
            ended: self.now.wall,
            moves: 0,
            moves_done: 0,
            chunks: 0,
            bytes: 0,
        };
        tracing::info!(plan, ?kind, ?node, "a plan begins");
        self.put_row(keys::plan(plan), Some(row.encode()));
        self.cluster.plans.insert(plan, row);
        while self.cluster.plans.len() > PLANS_KEPT {
            let over = self
                .cluster
                .plans
                .iter()
                .find(|(_, row)| row.state != PlanState::Running);
            let Some(oldest) = over.map(|(number, _)| *number) else {
                break;
            };
            self.cluster.plans.remove(&oldest);
            self.put_row(keys::plan(oldest), None);
        }
        Ok(plan)
    }

    fn change_plan(&mut self, plan: u64, change: impl FnOnce(&mut PlanRow)) {
        if let Some(row) = self.cluster.plans.get_mut(&plan) {
            change(row);
            let row = row.encode();
            self.put_row(keys::plan(plan), Some(row));
        }
    }

    fn change_set(
        &mut self,
        set: SetId,
        change: impl FnOnce(&mut SetRow) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut row = self
            .cluster
            .sets
            .get(&set)
            .cloned()
            .ok_or("the set is not known")?;
        let epoch = row.epoch;
        change(&mut row)?;
        if self.cluster.sets.get(&set) != Some(&row) {
            self.put_row(keys::set(set), Some(row.encode()));
            let moved = row.epoch != epoch;
            self.cluster.sets.insert(set, row);
            if moved {
                self.picture_changed();
            }
        }
        Ok(())
    }

    fn joining(&self, set: SetId, node: NodeId) -> Option<Joining> {
        let row = self.cluster.sets.get(&set)?;
        row.joining.iter().find(|joining| joining.node == node).copied()
    }

    fn moves_where(&self, which: impl Fn(&Joining) -> bool) -> Vec<(SetId, Joining)> {
        let moves = self
            .cluster
            .sets
            .iter()
            .flat_map(|(id, set)| set.joining.iter().map(|joining| (*id, *joining)));
        moves.filter(|(_, joining)| which(joining)).collect()
    }

    /// The first chunk number of the set that was not given out yet.
    fn chunk_numbers(&self, set: SetId) -> Result<u64, Fault> {
        use dfs_core::view::View;
        let key = keys::chunk_seq(set);
        let row = self.view.get(&key)?;
        let row = row.map(|value| CounterRow::decode(&key, &value)).transpose()?;
        Ok(row.map_or(0, |row| row.value))
    }

    /// Clients are told at the next tick, once for many changes.
    fn picture_changed(&mut self) {
        self.cluster.changed();
        self.cluster.untold = true;
    }
}

fn unknown(id: NodeId) -> String {
    format!("node {id} is not known: `dfs node list` shows those that are")
}
