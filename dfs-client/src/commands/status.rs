//! `dfs status`: nodes, capacity, sessions, replication health of a volume.

use super::{CLEAN, Failure, PROBLEMS, connect, finish, hex, place, size, target};
use dfs_proto::v1;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Shows the volume that `given` names; without it, the one that is mounted here. The exit code is 1 when the
/// volume is in error.
pub fn run(given: Option<&str>, json: bool) -> ExitCode {
    finish("status", status(given, json))
}

async fn status(given: Option<&str>, json: bool) -> Result<u8, Failure> {
    let (_, status) = connect(&target::volume(given)?).await?;
    if json {
        say!("{:#}", as_json(&status));
    } else {
        print(&status);
    }
    Ok(if status.health == "HEALTH_ERR" {
        PROBLEMS
    } else {
        CLEAN
    })
}

fn as_json(status: &v1::StatusReply) -> Value {
    let usage = status.usage.unwrap_or_default();
    let nodes: Vec<Value> = status.nodes.iter().map(node).collect();
    let sessions: Vec<Value> = status.sessions.iter().map(session).collect();
    let checks: Vec<Value> = status
        .checks
        .iter()
        .map(|check| json!({ "name": check.name, "severe": check.severe, "text": check.text }))
        .collect();
    let sets: Vec<Value> = status
        .sets
        .iter()
        .map(|set| json!({ "id": set.id, "epoch": set.epoch, "members": set.members }))
        .collect();
    json!({
        "health": status.health,
        "reasons": status.reasons,
        "checks": checks,
        "cluster": hex(&status.cluster),
        "volume": status.volume,
        "term": status.term,
        "log_index": status.log_index,
        "checkpoint_index": status.checkpoint_index,
        "nodes": nodes,
        "sessions": sessions,
        "sets": sets,
        "chunks_missing_copies": status.chunks_missing_copies,
        "chunks_awaiting_deletion": status.chunks_awaiting_deletion,
        "usage": {
            "total_bytes": usage.total_bytes,
            "used_bytes": usage.used_bytes,
            "available_bytes": usage.available_bytes,
            "inodes": usage.inodes,
        },
        "replication": status.replication,
        "min_replicas": status.min_replicas,
    })
}

fn node(status: &v1::NodeStatus) -> Value {
    let node = status.node.clone().unwrap_or_default();
    json!({
        "id": node.id,
        "address": node.address,
        "zone": node.zone,
        "alive": node.alive,
        "capacity_bytes": status.capacity_bytes,
        "used_bytes": status.used_bytes,
        "free_bytes": status.free_bytes,
        "chunks": status.chunks,
        "last_seen_ms": status.last_seen_ms,
        "problem": status.problem,
    })
}

fn session(status: &v1::SessionStatus) -> Value {
    json!({
        "session": hex(&status.session),
        "client": status.client,
        "last_seen_ms": status.last_seen_ms,
        "leases": status.leases,
        "locks": status.locks,
        "connected": status.connected,
    })
}

fn print(status: &v1::StatusReply) {
    let usage = status.usage.unwrap_or_default();
    say!("volume {}: {}", status.volume, status.health);
    for reason in &status.reasons {
        say!("  {reason}");
    }
    say!(
        "capacity: {} used, {} available of {}; {} inodes; {} copies, at least {} per write",
        size(usage.used_bytes),
        size(usage.available_bytes),
        size(usage.total_bytes),
        usage.inodes,
        status.replication,
        status.min_replicas,
    );
    say!(
        "metadata: term {}, log at {}, checkpoint at {}",
        status.term,
        status.log_index,
        status.checkpoint_index
    );
    say!(
        "chunks: {} copies missing, {} chunks awaiting deletion",
        status.chunks_missing_copies,
        status.chunks_awaiting_deletion
    );
    say!("datanodes:");
    for node in &status.nodes {
        let known = node.node.clone().unwrap_or_default();
        say!(
            "  {} {}: {} used, {} free, {} chunks{}",
            place(&known),
            if known.alive { "alive" } else { "dead" },
            size(node.used_bytes),
            size(node.free_bytes),
            node.chunks,
            if node.problem.is_empty() {
                String::new()
            } else {
                format!("; {}", node.problem)
            },
        );
    }
    say!("clients:");
    for session in &status.sessions {
        say!(
            "  {} {}: {} leases, {} locks",
            session.client,
            if session.connected { "connected" } else { "silent" },
            session.leases,
            session.locks,
        );
    }
}
