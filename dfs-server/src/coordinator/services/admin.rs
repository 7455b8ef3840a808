//! What operators ask: the state of the cluster, one inode, all rows, a repair.

use super::{health, inspect, rows, stopping};
use crate::coordinator::checkpoint;
use crate::coordinator::executor::{Status as Figures, set_to_wire};
use crate::coordinator::host::{Handle, Hosted};
use crate::coordinator::limits::BAD_COPIES;
use dfs_core::keys;
use dfs_core::view::View;
use dfs_proto::convert::ids::{node_id, session_id_bytes, stored_chunk};
use dfs_proto::v1::admin_server::Admin;
use dfs_proto::v1::{
    HealthCheck, InspectReply, InspectRequest, Node, NodeStatus, RepairReply, RepairRequest, ReplicaSet,
    RowBatch, RowsRequest, SessionStatus, StatusReply, StatusRequest,
};
use std::ops::ControlFlow;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Rows counted for a status; more are shown as this many.
const COUNT_MAX: u64 = 1_000_000;

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

/// Runs what reads the disk away from the network's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Status::internal(error.to_string()))?
}

#[tonic::async_trait]
impl Admin for Service {
    type RowsStream = ReceiverStream<Result<RowBatch, Status>>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let led = self.hosted.led(&request)?;
        let figures = figures(&led).await?;
        let handle = led.clone();
        let (missing, garbage, checkpoint) = blocking(move || {
            let internal = |error: String| Status::internal(error);
            let missing = count(&handle.store, keys::prefix::missing())?;
            let garbage = count(&handle.store, keys::prefix::garbage())?;
            let checkpoint =
                checkpoint::newest(&handle.settings.data_dir).map_err(|error| internal(error.to_string()))?;
            Ok((missing, garbage, checkpoint))
        })
        .await?;
        tracing::debug!(
            syncs = figures.syncs,
            parked = figures.parked,
            "an operator asks for the status"
        );
        let settings = &led.settings;
        let mut reasons = health::reasons(&figures, settings.replication);
        reasons.extend(health::copies(&figures, &led.care.survey(), &led.care.stuck()));
        health::logs(&mut reasons, self.hosted.authority().log_space());
        Ok(Response::new(StatusReply {
            health: health::health(&reasons).to_owned(),
            reasons: reasons
                .iter()
                .map(|reason| format!("{}: {}", reason.name, reason.text))
                .collect(),
            checks: reasons.into_iter().map(check).collect(),
            cluster: settings.cluster.as_bytes().to_vec(),
            volume: settings.volume.clone(),
            term: figures.term.0,
            log_index: figures.durable.0,
            checkpoint_index: checkpoint.0,
            nodes: nodes(&figures),
            sessions: sessions(&figures),
            chunks_missing_copies: missing,
            chunks_awaiting_deletion: garbage,
            usage: Some(figures.usage.into()),
            replication: settings.replication as u32,
            min_replicas: settings.min_replicas as u32,
            sets: sets(&figures),
        }))
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let figures = figures(&handle).await?;
        let request = request.into_inner();
        blocking(move || inspect::inspect(&handle, &figures, request))
            .await
            .map(Response::new)
    }

    async fn rows(&self, request: Request<RowsRequest>) -> Result<Response<Self::RowsStream>, Status> {
        let store = self.hosted.led(&request)?.store;
        let prefix = request.into_inner().prefix;
        let moment = blocking(move || {
            store
                .moment()
                .map_err(|error| Status::internal(error.to_string()))
        })
        .await?;
        Ok(Response::new(rows::stream(moment, prefix)))
    }

    async fn repair(&self, request: Request<RepairRequest>) -> Result<Response<RepairReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let copies = request.into_inner().copies;
        if copies.len() > BAD_COPIES {
            return Err(Status::invalid_argument(format!(
                "more than {BAD_COPIES} copies; ask in parts"
            )));
        }
        for copy in copies {
            let chunk = stored_chunk(copy.chunk, "BadCopy.chunk")?;
            let node = node_id(copy.node, "BadCopy.node")?;
            handle
                .bad_copies
                .send((chunk, node))
                .await
                .map_err(|_| stopping())?;
        }
        Ok(Response::new(RepairReply {}))
    }
}

fn count(view: &dyn View, (start, end): keys::KeyRange) -> Result<u64, Status> {
    let mut rows = 0;
    view.scan(&start, &end, &mut |_, _| {
        rows += 1;
        if rows == COUNT_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .map_err(|error| Status::internal(error.to_string()))?;
    Ok(rows)
}

fn check(reason: health::Reason) -> HealthCheck {
    HealthCheck {
        name: reason.name.to_owned(),
        severe: reason.severe,
        text: reason.text,
    }
}

fn nodes(figures: &Figures) -> Vec<NodeStatus> {
    let status =
        |(id, node): (&dfs_core::ids::NodeId, &crate::coordinator::executor::NodeFigures)| NodeStatus {
            node: Some(Node {
                id: id.0,
                address: node.row.address.clone(),
                alive: node.alive,
                zone: node.row.zone.clone(),
            }),
            capacity_bytes: node.capacity,
            used_bytes: node.used,
            free_bytes: node.free,
            chunks: node.chunks,
            last_seen_ms: node.silent.as_millis() as u64,
            problem: node.problem.clone(),
        };
    figures.nodes.iter().map(status).collect()
}

fn sets(figures: &Figures) -> Vec<ReplicaSet> {
    let set = |(id, set): (&dfs_core::ids::SetId, &dfs_core::rows::SetRow)| set_to_wire(*id, set);
    figures.sets.iter().map(set).collect()
}

fn sessions(figures: &Figures) -> Vec<SessionStatus> {
    let sessions = figures.sessions.iter().map(|session| SessionStatus {
        session: session_id_bytes(session.id),
        client: session.client.clone(),
        last_seen_ms: session.silent.as_millis() as u64,
        leases: session.leases,
        locks: session.locks,
        connected: session.connected,
        calls: session.counts.calls,
        recalls: session.counts.recalls,
        read_bytes: session.counts.moved.read,
        written_bytes: session.counts.moved.written,
        pending: session.pending,
        oldest_pending_ms: session.oldest_pending.as_millis() as u64,
    });
    sessions.collect()
}
