//! Beats of datanodes.

use super::stopping;
use crate::coordinator::clock::wall_clock;
use crate::coordinator::executor::{Beat, Event, Process};
use crate::coordinator::host::Hosted;
use dfs_core::ids::NodeId;
use dfs_core::ids::VolumeId;
use dfs_proto::convert::ids::{stored_chunk, uuid};
use dfs_proto::v1::cluster_server::Cluster;
use dfs_proto::v1::{BeatReply, NodeBeat};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

/// Longest address and zone.
const TEXT_MAX: usize = 256;
/// Damaged copies of one beat.
const BAD_MAX: usize = 1024;

pub struct Service {
    hosted: Hosted,
}

impl Service {
    pub fn new(hosted: Hosted) -> Service {
        Service { hosted }
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn beat(&self, request: Request<NodeBeat>) -> Result<Response<BeatReply>, Status> {
        let beat = request.into_inner();
        let own = self.hosted.settings().cluster;
        if !beat.cluster.is_empty() && beat.cluster != own.as_bytes() {
            return Err(Status::failed_precondition(format!(
                "this is cluster {own}; the datanode belongs to another: give it the right coordinator"
            )));
        }
        if beat.address.len() > TEXT_MAX
            || beat.zone.len() > TEXT_MAX
            || beat.problem.len() > TEXT_MAX
            || beat.version.len() > TEXT_MAX
        {
            return Err(Status::invalid_argument(format!(
                "a text is longer than {TEXT_MAX} bytes"
            )));
        }
        let bad = beat.bad.iter().take(BAD_MAX).copied();
        let bad = bad.map(|id| stored_chunk(Some(id), "NodeBeat.bad"));
        let bad = bad.collect::<Result<Vec<_>, _>>()?;
        let beat_volume = beat.volume;
        let beat = Beat {
            uuid: uuid(&beat.node, "NodeBeat.node")?,
            address: beat.address,
            zone: beat.zone,
            capacity: beat.capacity_bytes,
            used: beat.used_bytes,
            free: beat.free_bytes,
            chunks: beat.chunks,
            problem: beat.problem,
            process: Process {
                leaving: beat.leaving,
                version: beat.version,
                // An older datanode tells no time.
                clock_ahead_ms: if beat.clock_ms == 0 {
                    0
                } else {
                    beat.clock_ms as i64 - now_ms()
                },
            },
        };
        let number = u16::try_from(beat_volume)
            .map_err(|_| Status::invalid_argument("NodeBeat.volume is no volume's number"))?;
        let route = self.hosted.route_number(VolumeId(number));
        let handle = self.hosted.here(route, &format!("number {number}"))?;
        let (answer, answered) = oneshot::channel();
        handle
            .inbox
            .send(Event::Beat(beat, answer))
            .await
            .map_err(|_| stopping())?;
        let (node, term) = answered
            .await
            .map_err(|_| stopping())?
            .map_err(Status::failed_precondition)?;
        for chunk in bad {
            // What finds no room is told again, and is in the inventory.
            let _ = handle.bad_copies.try_send((chunk, NodeId(node)));
        }
        Ok(Response::new(BeatReply {
            cluster: own.as_bytes().to_vec(),
            node,
            term: term.0,
        }))
    }
}

fn now_ms() -> i64 {
    let now = wall_clock();
    now.secs * 1000 + i64::from(now.nanos / 1_000_000)
}
