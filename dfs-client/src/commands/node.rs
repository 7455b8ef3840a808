//! `dfs node`: the datanodes of a volume, and the plans that move copies between them.

use super::{CLEAN, Failure, PROBLEMS, finish, hex, size, target};
use crate::channel::connect_lazy;
use dfs_proto::v1;
use dfs_proto::v1::nodes_client::NodesClient;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

/// Between two looks of a command that waits.
const LOOK: Duration = Duration::from_millis(500);

/// What is asked of `dfs node`.
pub enum Ask {
    List,
    /// Waits until the datanode takes part.
    Add {
        node: String,
        zone: Option<String>,
        wait: Duration,
    },
    /// Waits until the node is empty when `wait` is given.
    Drain {
        node: String,
        wait: Option<Duration>,
    },
    Uncordon {
        node: String,
    },
    Remove {
        node: String,
        force: bool,
    },
    /// The plans; with `next` what would begin.
    Plan {
        next: bool,
    },
    Rebalance {
        dry_run: bool,
        abort: bool,
    },
}

/// Does it on the volume that `given` names; without it, on the one that is mounted here.
pub fn run(given: Option<&str>, ask: Ask, json: bool) -> ExitCode {
    finish("node", async {
        let source = target::volume(given)?;
        let (_, status, address) = super::serving(&source).await?;
        let channel = connect_lazy(&address).map_err(|error| Failure::Usage(error.to_string()))?;
        let nodes = Nodes {
            client: NodesClient::new(channel),
            volume: status
                .volume
                .parse()
                .map_err(|_| Failure::Usage("the volume's name is not plain text".to_owned()))?,
            json,
        };
        nodes.answer(ask).await
    })
}

struct Nodes {
    client: NodesClient<Channel>,
    volume: MetadataValue<Ascii>,
    json: bool,
}

impl Nodes {
    async fn answer(mut self, ask: Ask) -> Result<u8, Failure> {
        match ask {
            Ask::List => self.list().await,
            Ask::Add { node, zone, wait } => self.add(&node, zone, wait).await,
            Ask::Drain { node, wait } => self.drain(&node, wait).await,
            Ask::Uncordon { node } => {
                let request = self.request(&node, false).await?;
                let request = self.about(request);
                let reply = self.client.uncordon_node(request).await?.into_inner();
                self.say(&reply)
            }
            Ask::Remove { node, force } => {
                let request = self.request(&node, force).await?;
                let request = self.about(request);
                let reply = self.client.remove_node(request).await?.into_inner();
                self.say(&reply)
            }
            Ask::Plan { next } => self.plan(next).await,
            Ask::Rebalance { dry_run: true, .. } => self.plan(true).await,
            Ask::Rebalance { abort, .. } => {
                let request = self.about(v1::RebalanceRequest { abort });
                let reply = self.client.rebalance(request).await?;
                self.say(&reply.into_inner())
            }
        }
    }

    /// A request that names the volume.
    fn about<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("dfs-volume", self.volume.clone());
        request
    }

    fn say(&self, reply: &v1::NodeReply) -> Result<u8, Failure> {
        if self.json {
            say!("{:#}", json!({ "note": reply.note }));
        } else {
            say!("{}", reply.note);
        }
        Ok(CLEAN)
    }

    async fn nodes(&mut self) -> Result<Vec<v1::NodeEntry>, Failure> {
        let request = self.about(v1::ListNodesRequest {});
        let reply = self.client.list_nodes(request).await?;
        Ok(reply.into_inner().nodes)
    }

    /// The node that is meant by number, address or UUID.
    async fn find(&mut self, name: &str) -> Result<Option<v1::NodeEntry>, Failure> {
        let mut found = self.nodes().await?;
        let plain = name.replace('-', "").to_lowercase();
        let meant = |node: &v1::NodeEntry| {
            node.id.to_string() == name || node.address == name || hex(&node.uuid) == plain
        };
        // An address may have had several owners: the newest one is meant.
        let at = found.iter().rposition(meant);
        Ok(at.map(|at| found.swap_remove(at)))
    }

    async fn request(&mut self, name: &str, force: bool) -> Result<v1::NodeRequest, Failure> {
        let node = self.find(name).await?;
        let node =
            node.ok_or_else(|| Failure::Usage(format!("no datanode is called {name}: see `dfs node list`")))?;
        Ok(v1::NodeRequest { node: node.id, force })
    }

    async fn list(&mut self) -> Result<u8, Failure> {
        let nodes = self.nodes().await?;
        if self.json {
            let nodes: Vec<Value> = nodes.iter().map(node_json).collect();
            say!("{:#}", json!({ "nodes": nodes }));
            return Ok(CLEAN);
        }
        say!(
            "{:>4}  {:<21} {:<12} {:<9} {:>10} {:>10} {:>5} {:>5} {:>7} {:>9}",
            "ID",
            "ADDRESS",
            "ZONE",
            "STATE",
            "CAPACITY",
            "USED",
            "USED%",
            "SETS",
            "MISSING",
            "LAST SEEN"
        );
        for node in nodes.iter().filter(|node| node.state != "removed") {
            say!(
                "{:>4}  {:<21} {:<12} {:<9} {:>10} {:>10} {:>5} {:>5} {:>7} {:>7} s{}",
                node.id,
                node.address,
                node.zone,
                node.state,
                size(node.capacity_bytes),
                size(node.used_bytes),
                percent(node),
                node.sets,
                node.chunks_missing,
                node.last_seen_ms / 1000,
                if node.problem.is_empty() {
                    String::new()
                } else {
                    format!("  {}", node.problem)
                },
            );
        }
        Ok(CLEAN)
    }

    async fn add(&mut self, name: &str, zone: Option<String>, wait: Duration) -> Result<u8, Failure> {
        let begun = Instant::now();
        loop {
            let found = self.find(name).await?;
            if let Some(node) = found.filter(|node| node.state == "active") {
                if let Some(zone) = zone.filter(|zone| *zone != node.zone) {
                    let message = format!(
                        "node {} is in zone {:?}, not {zone:?}: start it with --zone {zone}",
                        node.id, node.zone
                    );
                    return Err(Failure::Usage(message));
                }
                let note = format!(
                    "node {} at {} takes part, in zone {}, with {}",
                    node.id,
                    node.address,
                    node.zone,
                    size(node.capacity_bytes)
                );
                return self.say(&v1::NodeReply { note });
            }
            if begun.elapsed() >= wait {
                return Err(Failure::Usage(format!(
                    "no datanode at {name} has reported: start it there with \
                     `dfs-server datanode --init --coordinator ADDRESS --zone ZONE --data-dir DIR`"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn drain(&mut self, name: &str, wait: Option<Duration>) -> Result<u8, Failure> {
        let request = self.request(name, false).await?;
        let about = self.about(request);
        let reply = self.client.drain_node(about).await?.into_inner();
        let Some(wait) = wait else {
            return self.say(&reply);
        };
        let begun = Instant::now();
        while begun.elapsed() < wait {
            let nodes = self.nodes().await?;
            let state = nodes
                .iter()
                .find(|node| node.id == request.node)
                .map(|node| node.state.clone());
            if state.as_deref() == Some("drained") {
                let note = format!("node {} is drained", request.node);
                return self.say(&v1::NodeReply { note });
            }
            tokio::time::sleep(LOOK).await;
        }
        eprintln!("dfs node: it is not drained yet; `dfs node plan` shows how far it is");
        Ok(PROBLEMS)
    }

    async fn plan(&mut self, next: bool) -> Result<u8, Failure> {
        let request = self.about(v1::ListPlansRequest {});
        let reply = self.client.list_plans(request).await?.into_inner();
        if self.json {
            let list = |moves: &[v1::MoveEntry]| moves.iter().map(move_json).collect::<Vec<Value>>();
            let stuck: Vec<Value> = reply
                .stuck
                .iter()
                .map(|stuck| json!({ "set": stuck.set, "node": stuck.node }))
                .collect();
            say!(
                "{:#}",
                json!({
                    "plans": reply.plans.iter().map(plan_json).collect::<Vec<Value>>(),
                    "moves": list(&reply.moves),
                    "next": list(&reply.next),
                    "stuck": stuck,
                    "spread": f64::from(reply.spread_millionths) / 1e6,
                })
            );
            return Ok(CLEAN);
        }
        for plan in &reply.plans {
            say!("{}", plan_line(plan));
        }
        if reply.plans.is_empty() {
            say!("no plans");
        }
        for entry in &reply.moves {
            say!(
                "  moving {}, {} % done",
                move_line(entry),
                entry.done_permille / 10
            );
        }
        for stuck in &reply.stuck {
            say!(
                "  stuck: no node can take the place of node {} in set {}; add a datanode",
                stuck.node,
                stuck.set
            );
        }
        if next {
            let bytes: u64 = reply.next.iter().map(|entry| entry.bytes).sum();
            say!("would begin: {} moves, {}", reply.next.len(), size(bytes));
            for entry in &reply.next {
                say!("  {}", move_line(entry));
            }
        }
        say!(
            "used parts of the nodes differ by {:.1} %",
            f64::from(reply.spread_millionths) / 1e4
        );
        Ok(CLEAN)
    }
}

fn percent(node: &v1::NodeEntry) -> String {
    match node.capacity_bytes {
        0 => "?".to_owned(),
        capacity => format!("{:.1}", node.used_bytes as f64 * 100.0 / capacity as f64),
    }
}

fn node_json(node: &v1::NodeEntry) -> Value {
    json!({
        "id": node.id,
        "uuid": hex(&node.uuid),
        "address": node.address,
        "zone": node.zone,
        "state": node.state,
        "capacity_bytes": node.capacity_bytes,
        "used_bytes": node.used_bytes,
        "free_bytes": node.free_bytes,
        "chunks": node.chunks,
        "sets": node.sets,
        "chunks_missing": node.chunks_missing,
        "last_seen_ms": node.last_seen_ms,
        "problem": node.problem,
    })
}

/// Bytes per second so far; 0 when nothing can be said.
fn rate(plan: &v1::PlanEntry) -> u64 {
    (plan.bytes * 1000).checked_div(plan.elapsed_ms).unwrap_or(0)
}

/// Seconds until a running plan is done at its present rate.
fn eta(plan: &v1::PlanEntry) -> Option<u64> {
    (plan.state == "running")
        .then(|| plan.left_bytes.checked_div(rate(plan)))
        .flatten()
}

fn plan_json(plan: &v1::PlanEntry) -> Value {
    json!({
        "number": plan.number,
        "kind": plan.kind,
        "node": plan.node,
        "state": plan.state,
        "moves": plan.moves,
        "moves_done": plan.moves_done,
        "chunks": plan.chunks,
        "bytes": plan.bytes,
        "left_chunks": plan.left_chunks,
        "left_bytes": plan.left_bytes,
        "begun": plan.begun,
        "elapsed_ms": plan.elapsed_ms,
        "bytes_per_second": rate(plan),
        "eta_seconds": eta(plan),
    })
}

fn plan_line(plan: &v1::PlanEntry) -> String {
    let of = match plan.node {
        0 => String::new(),
        node => format!(" of node {node}"),
    };
    let left = match (plan.state.as_str(), eta(plan)) {
        ("running", Some(eta)) => format!(", about {} left, {eta} s to go", size(plan.left_bytes)),
        ("running", None) => format!(", about {} left", size(plan.left_bytes)),
        _ => String::new(),
    };
    format!(
        "plan {}: {}{of}, {}: {} of {} moves, {} chunks, {} in {:.1} s, {}/s{left}",
        plan.number,
        plan.kind,
        plan.state,
        plan.moves_done,
        plan.moves,
        plan.chunks,
        size(plan.bytes),
        plan.elapsed_ms as f64 / 1000.0,
        size(rate(plan)),
    )
}

fn move_json(entry: &v1::MoveEntry) -> Value {
    json!({
        "kind": entry.kind,
        "set": entry.set,
        "from": entry.from,
        "to": entry.to,
        "chunks": entry.chunks,
        "bytes": entry.bytes,
        "done": f64::from(entry.done_permille) / 1000.0,
        "plan": entry.plan,
    })
}

fn move_line(entry: &v1::MoveEntry) -> String {
    format!(
        "set {} from node {} to node {} ({}: {} chunks, {})",
        entry.set,
        entry.from,
        entry.to,
        entry.kind,
        entry.chunks,
        size(entry.bytes)
    )
}
