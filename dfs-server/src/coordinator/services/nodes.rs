//! What operators ask and order about datanodes and plans.

use super::stopping;
use crate::coordinator::care::{Survey, picture};
use crate::coordinator::clock::wall_clock;
use crate::coordinator::executor::{NodeFigures, Order, Status as Figures};
use crate::coordinator::host::{Handle, Hosted};
use dfs_core::ids::{NodeId, SetId};
use dfs_core::plan::{self, Move, Step};
use dfs_core::rows::{Joining, NodeState, PlanKind, PlanRow, PlanState, SetRow};
use dfs_proto::convert::ids::node_id;
use dfs_proto::v1::nodes_server::Nodes;
use dfs_proto::v1::{
    ListNodesReply, ListNodesRequest, ListPlansReply, ListPlansRequest, MoveEntry, NodeEntry, NodeReply,
    NodeRequest, PlanEntry, RebalanceRequest, StuckEntry,
};
use tonic::{Request, Response, Status};

/// Levelling moves that a dry run shows at most.
const SHOWN: usize = 1000;

pub struct Service {
    hosted: Hosted,
}

impl Service {
    pub fn new(hosted: Hosted) -> Service {
        Service { hosted }
    }
}

async fn figures(handle: &Handle) -> Result<Figures, Status> {
    handle.status().await.ok_or_else(stopping)
}

async fn order(handle: &Handle, order: Order, note: String) -> Result<Response<NodeReply>, Status> {
    let done = handle.order(order).await;
    done.map_err(Status::failed_precondition)?;
    Ok(Response::new(NodeReply { note }))
}

#[tonic::async_trait]
impl Nodes for Service {
    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesReply>, Status> {
        let led = self.hosted.led(&request)?;
        let figures = figures(&led).await?;
        let survey = led.care.survey();
        let nodes = figures.nodes.iter();
        let nodes = nodes
            .map(|(id, node)| entry(*id, node, &figures, &survey))
            .collect();
        Ok(Response::new(ListNodesReply { nodes }))
    }

    async fn drain_node(&self, request: Request<NodeRequest>) -> Result<Response<NodeReply>, Status> {
        let led = self.hosted.led(&request)?;
        let node = node_id(request.into_inner().node, "NodeRequest.node")?;
        let note = format!("node {node} is being drained: `dfs node plan` shows how far it is");
        order(&led, Order::Drain(node), note).await
    }

    async fn uncordon_node(&self, request: Request<NodeRequest>) -> Result<Response<NodeReply>, Status> {
        let led = self.hosted.led(&request)?;
        let node = node_id(request.into_inner().node, "NodeRequest.node")?;
        order(
            &led,
            Order::Uncordon(node),
            format!("node {node} takes part again"),
        )
        .await
    }

    async fn remove_node(&self, request: Request<NodeRequest>) -> Result<Response<NodeReply>, Status> {
        let led = self.hosted.led(&request)?;
        let request = request.into_inner();
        let node = node_id(request.node, "NodeRequest.node")?;
        let force = request.force;
        let figures = figures(&led).await?;
        let note = match places(&figures, node) {
            0 => format!("node {node} is removed"),
            sets => {
                let survey = led.care.survey();
                let chunks: u64 = held(&figures, node)
                    .map(|set| survey.sets.get(&set).map_or(0, |set| set.chunks))
                    .sum();
                format!(
                    "node {node} is removed with about {chunks} copies in {sets} sets; they are made anew from the \
                     other members"
                )
            }
        };
        order(&led, Order::Remove { node, force }, note).await
    }

    async fn list_plans(
        &self,
        request: Request<ListPlansRequest>,
    ) -> Result<Response<ListPlansReply>, Status> {
        let led = self.hosted.led(&request)?;
        let figures = figures(&led).await?;
        let survey = led.care.survey();
        let picture = picture(&figures, &survey);
        let (steps, stuck) = plan::evacuate(&picture);
        let mut next: Vec<Move> = steps
            .into_iter()
            .filter_map(|step| match step {
                Step::Move(step) => Some(step),
                Step::Abandon { .. } => None,
            })
            .collect();
        if next.is_empty() {
            next = plan::level(&picture, SHOWN);
        }
        let plans = figures.plans.iter();
        let plans = plans
            .map(|(number, row)| plan_entry(*number, row, &figures, &survey))
            .collect();
        let next = next.iter().map(|step| MoveEntry {
            kind: kind_name(step.kind).to_owned(),
            set: step.set.0,
            from: step.leaves.0,
            to: step.joins.0,
            chunks: survey.sets.get(&step.set).map_or(0, |set| set.chunks),
            bytes: step.bytes,
            done_permille: 0,
            plan: 0,
        });
        let stuck = stuck.iter().map(|stuck| StuckEntry {
            set: stuck.set.0,
            node: stuck.node.0,
        });
        Ok(Response::new(ListPlansReply {
            plans,
            moves: moves(&figures, &survey),
            next: next.collect(),
            stuck: stuck.collect(),
            spread_millionths: plan::spread(&picture).min(u64::from(u32::MAX)) as u32,
        }))
    }

    async fn rebalance(&self, request: Request<RebalanceRequest>) -> Result<Response<NodeReply>, Status> {
        let led = self.hosted.led(&request)?;
        match request.into_inner().abort {
            true => {
                let note = "levelling is given up; what was moved stays moved".to_owned();
                order(&led, Order::AbortRebalance, note).await
            }
            false => {
                let note = "levelling begins when nodes differ: `dfs node plan` shows it".to_owned();
                order(&led, Order::Rebalance, note).await
            }
        }
    }
}

fn held(figures: &Figures, node: NodeId) -> impl Iterator<Item = SetId> + '_ {
    let sets = figures
        .sets
        .iter()
        .filter(move |(_, set)| set.members.contains(&node));
    sets.map(|(id, _)| *id)
}

fn places(figures: &Figures, node: NodeId) -> usize {
    held(figures, node).count()
}

fn entry(id: NodeId, node: &NodeFigures, figures: &Figures, survey: &Survey) -> NodeEntry {
    let sets = places(figures, id) as u64;
    let state = match (node.row.state, node.alive) {
        (NodeState::Removed, _) => "removed",
        (NodeState::Dead, _) => "dead",
        (NodeState::Draining, _) if sets == 0 => "drained",
        (NodeState::Draining, _) => "draining",
        (NodeState::Active, true) => "active",
        (NodeState::Active, false) => "suspect",
    };
    NodeEntry {
        id: id.0,
        uuid: node.row.uuid.to_vec(),
        address: node.row.address.clone(),
        zone: node.row.zone.clone(),
        state: state.to_owned(),
        capacity_bytes: node.capacity,
        used_bytes: node.used,
        free_bytes: node.free,
        chunks: node.chunks,
        sets,
        chunks_missing: survey.lacking.get(&id).copied().unwrap_or(0),
        last_seen_ms: node.silent.as_millis() as u64,
        problem: node.problem.clone(),
    }
}

fn kind_name(kind: PlanKind) -> &'static str {
    match kind {
        PlanKind::Replace => "replace",
        PlanKind::Drain => "drain",
        PlanKind::Rebalance => "rebalance",
    }
}

fn state_name(state: PlanState) -> &'static str {
    match state {
        PlanState::Running => "running",
        PlanState::Done => "done",
        PlanState::Aborted => "aborted",
    }
}

/// How much of the set's numbers the cursor has passed, in thousandths: about the part that is copied.
fn progress(joining: &Joining) -> u64 {
    (joining.next.min(joining.until) * 1000)
        .checked_div(joining.until)
        .unwrap_or(1000)
}

fn moves(figures: &Figures, survey: &Survey) -> Vec<MoveEntry> {
    let mut found = Vec::new();
    for (id, set) in &figures.sets {
        let sums = survey.sets.get(id).copied().unwrap_or_default();
        for joining in &set.joining {
            let plan = figures.plans.get(&joining.plan);
            found.push(MoveEntry {
                kind: plan.map_or("", |plan| kind_name(plan.kind)).to_owned(),
                set: id.0,
                from: joining.replaces.map_or(0, |node| node.0),
                to: joining.node.0,
                chunks: sums.chunks,
                bytes: sums.bytes,
                done_permille: progress(joining) as u32,
                plan: joining.plan,
            });
        }
    }
    found
}

fn plan_entry(number: u64, row: &PlanRow, figures: &Figures, survey: &Survey) -> PlanEntry {
    let (mut left_chunks, mut left_bytes) = (0, 0);
    if row.state == PlanState::Running {
        for (id, set) in &figures.sets {
            let sums = survey.sets.get(id).copied().unwrap_or_default();
            let part = left_of(number, row, set);
            left_chunks += sums.chunks * part / 1000;
            left_bytes += sums.bytes * part / 1000;
        }
    }
    let now = wall_clock();
    let until = if row.state == PlanState::Running {
        now
    } else {
        row.ended
    };
    let millis = |time: dfs_core::types::Timestamp| time.secs * 1000 + i64::from(time.nanos) / 1_000_000;
    PlanEntry {
        number,
        kind: kind_name(row.kind).to_owned(),
        node: row.node.map_or(0, |node| node.0),
        state: state_name(row.state).to_owned(),
        moves: row.moves,
        moves_done: row.moves_done,
        chunks: row.chunks,
        bytes: row.bytes,
        left_chunks,
        left_bytes,
        begun: row.begun.secs,
        elapsed_ms: (millis(until) - millis(row.begun)).max(0) as u64,
    }
}

/// Thousandths of the set that the plan has still to copy.
fn left_of(number: u64, row: &PlanRow, set: &SetRow) -> u64 {
    let mut mine = set.joining.iter().filter(|joining| joining.plan == number);
    match mine.next() {
        Some(joining) => 1000 - progress(joining),
        None if row
            .node
            .is_some_and(|node| set.full().any(|member| member == node)) =>
        {
            1000
        }
        None => 0,
    }
}
