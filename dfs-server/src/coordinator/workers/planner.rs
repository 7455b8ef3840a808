//! Decides which places in sets go to other nodes: those of dead and draining nodes, and those that level the nodes.
//! The decisions are the core's; this looks, asks there and gives orders to the executor.

use super::copier::Copier;
use super::{pause, survey};
use crate::coordinator::care::{Survey, picture};
use crate::coordinator::executor::{Order, Status};
use dfs_core::plan::{self, Step, Stuck};
use dfs_core::rows::{NodeState, PlanKind, PlanState};
use std::sync::Arc;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(500);
/// Levelling moves under way at a time: each changes the figures that the next one is chosen by.
const LEVEL_AT_ONCE: usize = 4;
/// After a change of members the nodes' own figures need some beats to follow.
pub const FIGURES_SETTLE: Duration = Duration::from_secs(3);
/// A survey reads every chunk's row: it takes at most this part of the time.
const SURVEY_PART: u32 = 20;
const SURVEY_LEAST: Duration = Duration::from_secs(2);
/// The first survey after a start waits until nodes had time to beat.
const FIRST_LOOK: Duration = Duration::from_secs(2);

pub async fn run(copier: Arc<Copier>) {
    let mut next_survey = Instant::now();
    let mut epochs = 0;
    let mut changed = Instant::now();
    let metrics = &copier.handle.settings.observer.metrics;
    let degraded = metrics.gauge(
        "dfs_coordinator_degraded_chunks",
        "Chunks with fewer good copies than they should have",
    );
    let lost = metrics.gauge("dfs_coordinator_lost_chunks", "Chunks without any good copy");
    pause(FIRST_LOOK).await;
    loop {
        pause(INTERVAL).await;
        let Some(status) = copier.handle.status().await else {
            return;
        };
        if Instant::now() >= next_survey {
            let begun = Instant::now();
            survey::survey(&copier, &status).await;
            let found = copier.handle.care.survey();
            degraded.set(found.degraded);
            lost.set(found.lost);
            next_survey = Instant::now() + (begun.elapsed() * SURVEY_PART).max(SURVEY_LEAST);
        }
        let sum = changes(&status);
        if sum != epochs {
            (epochs, changed) = (sum, Instant::now());
        }
        round(&copier, &status, changed.elapsed() > FIGURES_SETTLE).await;
    }
}

async fn round(copier: &Copier, status: &Status, settled: bool) {
    let (orders, stuck) = decide(status, &copier.handle.care.survey(), settled);
    copier.handle.care.set_stuck(stuck);
    for order in orders {
        copier.order(order).await;
    }
}

/// What is to be ordered now, and the places that nobody can take. `settled`: the nodes' figures have followed the
/// last change of members.
pub fn decide(status: &Status, survey: &Survey, settled: bool) -> (Vec<Order>, Vec<Stuck>) {
    let picture = picture(status, survey);
    let (steps, stuck) = plan::evacuate(&picture);
    let quiet = steps.is_empty();
    let order = |step| match step {
        Step::Move(step) => Order::Begin(step),
        Step::Abandon { set, node } => Order::Abandon { set, node },
    };
    let mut orders: Vec<Order> = steps.into_iter().map(order).collect();
    let under_way: usize = status.sets.values().map(|set| set.joining.len()).sum();
    let mut levelled = under_way == 0 && settled;
    if quiet && settled && under_way < LEVEL_AT_ONCE && may_level(status) {
        let moves = plan::level(&picture, LEVEL_AT_ONCE - under_way);
        levelled &= moves.is_empty();
        orders.extend(moves.into_iter().map(Order::Begin));
    }
    if status.plans.values().any(|plan| plan.state == PlanState::Running) {
        orders.push(Order::Settle { levelled });
    }
    (orders, stuck)
}

/// Differs when members have changed.
pub fn changes(status: &Status) -> u64 {
    let changes = status
        .sets
        .values()
        .map(|set| set.epoch + set.former.len() as u64);
    changes.sum()
}

/// Levelling that an operator has given up begins again when he says so, or when nodes have come since.
fn may_level(status: &Status) -> bool {
    let mut newest = status
        .plans
        .values()
        .rev()
        .filter(|plan| plan.kind == PlanKind::Rebalance);
    let Some(given_up) = newest.next().filter(|plan| plan.state == PlanState::Aborted) else {
        return true;
    };
    let mut nodes = status
        .nodes
        .values()
        .filter(|node| node.row.state == NodeState::Active);
    nodes.any(|node| node.row.since > given_up.ended)
}
