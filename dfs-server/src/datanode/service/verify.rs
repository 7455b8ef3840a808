//! Verify: reads whole chunks and says what is wrong with each.

use super::super::store::Verdict;
use super::{SILENCE, Sent, Shared};
use dfs_core::ids::ChunkId;
use dfs_proto::convert::ids;
use dfs_proto::v1::verify_reply::State;
use dfs_proto::v1::{VerifyReply, VerifyRequest};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

const CHUNKS_MAX: usize = 16_384;
/// Answers ahead of the network; each costs reading a chunk.
const QUEUE: usize = 16;

pub fn verify(shared: &Arc<Shared>, request: VerifyRequest) -> Result<Sent<VerifyReply>, Status> {
    shared.membership.check_cluster(&request.cluster)?;
    if request.chunks.len() > CHUNKS_MAX {
        return Err(Status::invalid_argument(format!(
            "at most {CHUNKS_MAX} chunks in one request"
        )));
    }
    let chunks = request
        .chunks
        .into_iter()
        .map(|id| ids::stored_chunk(Some(id), "VerifyRequest.chunks"));
    let chunks = chunks.collect::<Result<Vec<ChunkId>, _>>()?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let shared = shared.clone();
    tokio::spawn(async move {
        for chunk in chunks {
            let verdict = shared.on_disk(move |shared| shared.store.verify(chunk)).await;
            let reply = verdict.map(|verdict| describe(chunk, verdict));
            if !matches!(
                tokio::time::timeout(SILENCE, sender.send(reply)).await,
                Ok(Ok(()))
            ) {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

fn describe(chunk: ChunkId, verdict: Verdict) -> VerifyReply {
    let reply = |state: State, reason: String| {
        if state != State::Missing {
            tracing::error!(%chunk, ?state, reason, "a copy is bad");
        }
        VerifyReply {
            chunk: Some(chunk.into()),
            state: state.into(),
            reason,
            ..VerifyReply::default()
        }
    };
    match verdict {
        Verdict::Good { len, sha256 } => VerifyReply {
            chunk: Some(chunk.into()),
            state: State::Good.into(),
            len,
            sha256: sha256.to_vec(),
            reason: String::new(),
        },
        Verdict::Missing => reply(State::Missing, String::new()),
        Verdict::Corrupt(reason) => reply(State::Corrupt, reason),
        Verdict::Unreadable(reason) => reply(State::Unreadable, reason),
    }
}
