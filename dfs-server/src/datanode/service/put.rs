//! Put: receives a chunk, forwards it while it comes, and answers when it is on this disk and the members have
//! answered.

use super::Shared;
use super::forward::Forward;
use super::sink::Sink;
use super::transfers::Transfer as Session;
use dfs_proto::convert::chunk::Transfer;
use dfs_proto::convert::{ids, put_begin};
use dfs_proto::v1::{BlockGroup, PutBegin, PutReply, PutRequest, put_request::Part};
use futures_util::future::join_all;
use std::sync::Arc;
use tonic::{Status, Streaming};

pub async fn put(shared: &Arc<Shared>, mut stream: Streaming<PutRequest>) -> Result<PutReply, Status> {
    let Part::Begin(begin) = next(&mut stream).await? else {
        return Err(Status::invalid_argument("a chunk begins with PutBegin"));
    };
    shared.membership.check_cluster(&begin.cluster)?;
    let transfer = put_begin(begin)?;
    let own = shared.membership.node()?;
    let _session: Session = shared.transfers.begin(transfer.transfer)?;
    let sink = Sink::begin(&shared.store, transfer.chunk, transfer.len, false);
    let others = transfer.forward.iter().filter(|other| other.id != own);
    let mut forwards: Vec<Forward> = others
        .map(|other| Forward::begin(shared, other, onward(&transfer)))
        .collect();
    let sha256 = loop {
        match next(&mut stream).await? {
            Part::Blocks(group) => {
                let (taken, ()) = tokio::join!(sink.send(group.clone()), pass_on(&mut forwards, group));
                if !taken {
                    sink.failure().await?;
                    return Err(Status::internal("the store ended before the chunk"));
                }
            }
            Part::End(end) => break ids::sha256(&end.sha256, "PutEnd.sha256")?,
            Part::Begin(_) => return Err(Status::invalid_argument("a chunk begins once")),
        }
    };
    let end = PutRequest {
        part: Some(Part::End(dfs_proto::v1::PutEnd {
            sha256: sha256.to_vec(),
        })),
    };
    let members = async {
        join_all(forwards.iter_mut().map(|forward| forward.send(end.clone()))).await;
        join_all(forwards.drain(..).map(Forward::finish)).await
    };
    let (stored, members) = tokio::join!(sink.finish(sha256), members);
    stored?;
    let mut reply = PutReply {
        on_disk: vec![own],
        failures: Vec::new(),
    };
    for member in members {
        match member {
            Ok(node) => reply.on_disk.push(node),
            Err(failure) => {
                tracing::warn!(chunk = %transfer.chunk, node = failure.node, reason = failure.reason, "a member failed");
                reply.failures.push(failure);
            }
        }
    }
    Ok(reply)
}

async fn pass_on(forwards: &mut [Forward], group: BlockGroup) {
    let part = PutRequest {
        part: Some(Part::Blocks(group)),
    };
    join_all(forwards.iter_mut().map(|forward| forward.send(part.clone()))).await;
}

/// What a member is told: the same transfer, not to be passed on.
fn onward(transfer: &Transfer) -> PutBegin {
    PutBegin {
        transfer: transfer.transfer.to_vec(),
        cluster: transfer.cluster.to_vec(),
        chunk: Some(transfer.chunk.into()),
        len: transfer.len,
        term: transfer.term.0,
        propagate: false,
        others: Vec::new(),
    }
}

/// The next part of the stream, which must come before the session's time is over.
async fn next(stream: &mut Streaming<PutRequest>) -> Result<Part, Status> {
    let message = tokio::time::timeout(super::SILENCE, stream.message()).await;
    let message =
        message.map_err(|_| Status::deadline_exceeded("the transfer was silent for a minute"))??;
    let part = message
        .ok_or_else(|| Status::invalid_argument("the stream ended before PutEnd"))?
        .part;
    part.ok_or_else(|| Status::invalid_argument("a PutRequest without a part"))
}
