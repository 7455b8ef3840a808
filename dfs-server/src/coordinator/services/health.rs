//! What `dfs status` says is wrong, by name, so that an operator finds the page and an alarm the right person. Names and
//! what to do about each are in docs/OPERATIONS.md. Decided from figures alone.

use crate::coordinator::authority::LogSpace;
use crate::coordinator::care::Survey;
use crate::coordinator::executor::{NodeFigures, Status as Figures};
use dfs_core::ids::NodeId;
use dfs_core::plan::Stuck;
use dfs_core::rows::{NodeState, PlanState};
use std::collections::BTreeSet;
use std::time::Duration;

/// Wall clocks that differ by more than this make times of files look wrong.
const CLOCK_SKEW: Duration = Duration::from_secs(2);
/// A session without a stream for so long is worth a word; it may come back until its time-out.
const SESSION_STALE: Duration = Duration::from_secs(30);
/// A disk is nearly full below this part of its capacity.
const NEARLY_FULL: u64 = 20;
/// Reasons of one kind that are listed one by one.
const LISTED: usize = 20;

/// One thing that is wrong.
pub struct Reason {
    pub name: &'static str,
    /// Somebody cannot work, or data is one failure from being lost.
    pub severe: bool,
    pub text: String,
}

pub fn reasons(figures: &Figures, replication: usize) -> Vec<Reason> {
    let mut found = Vec::new();
    for (id, node) in &figures.nodes {
        found.extend(datanode(*id, node));
    }
    found.extend(sets(figures, replication));
    found.extend(versions(figures));
    if figures.disk_low {
        let text = "the coordinator's disk is nearly full: only deletions are taken".to_owned();
        found.push(error("COORDINATOR_DISK_LOW", text));
    }
    if figures.grace {
        let text = "waiting for the clients of before the restart".to_owned();
        found.push(warn("COORDINATOR_GRACE", text));
    }
    let stale = figures
        .sessions
        .iter()
        .filter(|session| !session.connected && session.silent > SESSION_STALE);
    for session in stale.take(LISTED) {
        let text = format!(
            "client {} is silent for {} s; others wait for nothing of it, and it may come back",
            session.client,
            session.silent.as_secs()
        );
        found.push(warn("SESSION_STALE", text));
    }
    found
}

/// What is wrong where the logs are, when that is not the coordinator's disk.
pub fn logs(reasons: &mut Vec<Reason>, space: LogSpace) {
    let reason = if space.full {
        let text = "etcd is full: nothing can be changed until it has space again".to_owned();
        error("ETCD_FULL", text)
    } else if space.low {
        let text = "etcd is nearly full: only deletions are taken".to_owned();
        error("ETCD_NEARLY_FULL", text)
    } else {
        return;
    };
    // The executor has one flag for both; this is where it comes from.
    reasons.retain(|reason| reason.name != "COORDINATOR_DISK_LOW");
    reasons.push(reason);
}

/// The worst of the reasons.
pub fn health(reasons: &[Reason]) -> &'static str {
    if reasons.iter().any(|reason| reason.severe) {
        "HEALTH_ERR"
    } else if reasons.is_empty() {
        "HEALTH_OK"
    } else {
        "HEALTH_WARN"
    }
}

fn warn(name: &'static str, text: String) -> Reason {
    Reason {
        name,
        severe: false,
        text,
    }
}

fn error(name: &'static str, text: String) -> Reason {
    Reason {
        name,
        severe: true,
        text,
    }
}

fn datanode(id: NodeId, node: &NodeFigures) -> Option<Reason> {
    let who = format!("datanode {id} ({})", node.row.address);
    let seconds = node.silent.as_secs();
    let skew = Duration::from_millis(node.process.clock_ahead_ms.unsigned_abs());
    Some(if node.row.state == NodeState::Removed {
        return None;
    } else if node.row.state == NodeState::Dead {
        warn(
            "DATANODE_DEAD",
            format!("{who} is dead; its copies are made anew elsewhere"),
        )
    } else if node.process.leaving && !node.alive {
        warn(
            "DATANODE_STOPPED",
            format!("{who} was stopped in order {seconds} s ago"),
        )
    } else if !node.alive {
        warn("DATANODE_SILENT", format!("{who} is silent for {seconds} s"))
    } else if !node.problem.is_empty() {
        warn("DATANODE_PROBLEM", format!("{who}: {}", node.problem))
    } else if node.capacity > 0 && node.free == 0 {
        warn("DATANODE_FULL", format!("{who} is full"))
    } else if node.free < node.capacity / NEARLY_FULL {
        let percent = node.free * 100 / node.capacity.max(1);
        warn("DATANODE_NEARLY_FULL", format!("{who} has {percent} % left"))
    } else if skew > CLOCK_SKEW {
        let way = if node.process.clock_ahead_ms > 0 {
            "ahead of"
        } else {
            "behind"
        };
        let text = format!(
            "the clock of {who} is {} s {way} the coordinator's",
            skew.as_secs()
        );
        warn("CLOCK_SKEW", text)
    } else {
        return None;
    })
}

fn sets(figures: &Figures, replication: usize) -> Option<Reason> {
    if figures.sets.is_empty() {
        let text = format!(
            "no replica set: {replication} datanodes are needed, {} are known",
            figures.nodes.len()
        );
        return Some(error("NO_REPLICA_SET", text));
    }
    let lives = |id: &NodeId| figures.nodes.get(id).is_some_and(|node| node.alive);
    let dark = figures
        .sets
        .values()
        .filter(|set| !set.members.iter().any(lives))
        .count();
    (dark > 0).then(|| {
        let text = format!("{dark} replica sets have no living member: their content cannot be read");
        error("CHUNKS_UNREACHABLE", text)
    })
}

/// What is to be said of the copies, and of the plans that move them.
pub fn copies(figures: &Figures, survey: &Survey, stuck: &[Stuck]) -> Vec<Reason> {
    let mut found = Vec::new();
    if survey.degraded > 0 {
        let text = format!(
            "{} chunks have fewer good copies than they should",
            survey.degraded
        );
        found.push(warn("CHUNKS_DEGRADED", text));
    }
    if survey.lost > 0 {
        let text = format!(
            "{} chunks have no good copy: bring back the datanodes that had them",
            survey.lost
        );
        found.push(error("CHUNKS_LOST", text));
    }
    let running = figures
        .plans
        .iter()
        .filter(|(_, plan)| plan.state == PlanState::Running);
    for (number, plan) in running.take(LISTED) {
        let text = format!(
            "plan {number} ({:?}): {} of {} moves done",
            plan.kind, plan.moves_done, plan.moves
        );
        found.push(warn("PLAN_RUNNING", text));
    }
    if let Some(first) = stuck.first() {
        let text = format!(
            "no datanode can take the place of node {} in set {} and {} more: add one",
            first.node,
            first.set.0,
            stuck.len() - 1
        );
        found.push(warn("PLAN_STUCK", text));
    }
    found
}

/// Programs of several versions: fine during an upgrade, not for long.
fn versions(figures: &Figures) -> Option<Reason> {
    let own = env!("CARGO_PKG_VERSION");
    let mut versions: BTreeSet<&str> = figures
        .nodes
        .values()
        .filter(|node| node.alive && !node.process.version.is_empty())
        .map(|node| node.process.version.as_str())
        .collect();
    versions.insert(own);
    (versions.len() > 1).then(|| {
        let list = versions.into_iter().collect::<Vec<_>>().join(", ");
        warn(
            "VERSIONS_DIFFER",
            format!("the coordinator has {own}; in the cluster are {list}"),
        )
    })
}
