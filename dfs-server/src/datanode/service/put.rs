//! Put: receives a chunk, forwards it while it comes, and answers when it is on this disk and the members have
//! answered. The parts come over gRPC, or on a framed connection (`framed_stream`).

use super::Shared;
use super::spread::Spread;
use super::transfers::Transfer as Session;
use dfs_proto::convert::chunk::Transfer;
use dfs_proto::convert::{ids, put_begin};
use dfs_proto::v1::{PutReply, PutRequest, put_request::Part};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Status, Streaming};

/// Where a chunk's parts come from.
pub trait Parts {
    /// The next part, which must come before the session's time is over.
    async fn next(&mut self) -> Result<Part, Status>;
}

impl Parts for Streaming<PutRequest> {
    async fn next(&mut self) -> Result<Part, Status> {
        let message = tokio::time::timeout(super::SILENCE, self.message()).await;
        let message =
            message.map_err(|_| Status::deadline_exceeded("the transfer was silent for a minute"))??;
        let part = message
            .ok_or_else(|| Status::invalid_argument("the stream ended before PutEnd"))?
            .part;
        part.ok_or_else(|| Status::invalid_argument("a PutRequest without a part"))
    }
}

pub async fn put(shared: &Arc<Shared>, mut stream: Streaming<PutRequest>) -> Result<PutReply, Status> {
    let Part::Begin(begin) = stream.next().await? else {
        return Err(Status::invalid_argument("a chunk begins with PutBegin"));
    };
    shared.membership.check_cluster(&begin.cluster)?;
    receive(shared, put_begin(begin)?, &mut stream).await
}

/// Receives the groups and the end of a chunk that was begun by a sender of this cluster.
pub async fn receive(
    shared: &Arc<Shared>,
    transfer: Transfer,
    parts: &mut impl Parts,
) -> Result<PutReply, Status> {
    let own = shared.membership.node(transfer.chunk.set.volume())?;
    let _session: Session = shared.transfers.begin(transfer.transfer)?;
    let mut spread = Spread::begin(shared, &transfer, own);
    // What the client would not wait for if disks took no time.
    let mut on_disks = Duration::ZERO;
    let sha256 = loop {
        match parts.next().await? {
            Part::Blocks(group) => {
                let received = Instant::now();
                let taken = spread.send(group).await;
                on_disks += received.elapsed();
                if !taken {
                    return Err(spread.failure().await);
                }
            }
            Part::End(end) => break ids::sha256(&end.sha256, "PutEnd.sha256")?,
            Part::Begin(_) => return Err(Status::invalid_argument("a chunk begins once")),
        }
    };
    let received = Instant::now();
    let spreading = spread.end(sha256).await?;
    on_disks += received.elapsed();
    shared.figures.received.add(u64::from(transfer.len));
    let mut on_disk = vec![own];
    on_disk.extend(spreading.on_disk);
    Ok(PutReply {
        on_disk,
        failures: spreading.failures,
        disk_us: super::get::micros(on_disks),
    })
}
