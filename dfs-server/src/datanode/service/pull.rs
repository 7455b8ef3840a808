//! Pull: a repair ordered by the coordinator. The source verifies its copy first; then it is fetched, checked
//! and put in the place of a bad or missing one, which stays out of service meanwhile, and read back from the disk.

use super::super::store::Verdict;
use super::sink::Sink;
use super::{SILENCE, Shared};
use dfs_client::channel::Peer;
use dfs_core::ids::ChunkId;
use dfs_proto::convert::ids;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_proto::v1::verify_reply::State;
use dfs_proto::v1::{GetRequest, PullReply, PullRequest, VerifyRequest};
use std::sync::Arc;
use tonic::Status;
use tonic::transport::Channel;

pub async fn pull(shared: &Arc<Shared>, request: PullRequest) -> Result<PullReply, Status> {
    shared.membership.check_cluster(&request.cluster)?;
    let chunk = ids::stored_chunk(request.chunk, "PullRequest.chunk")?;
    let from = request
        .from
        .ok_or_else(|| Status::invalid_argument("PullRequest.from is absent"))?;
    let term = request.term;
    let _session = shared.transfers.begin(*uuid::Uuid::new_v4().as_bytes())?;
    let own = shared.on_disk(move |shared| {
        shared.membership.check_term(chunk.set.volume(), term)?;
        Ok::<_, Status>(shared.store.verify(chunk))
    });
    if let Verdict::Good { len, sha256 } = own.await?? {
        return Ok(PullReply {
            len,
            sha256: sha256.to_vec(),
        });
    }
    let (peer, mut source) = shared.member(&from.address).map_err(Status::invalid_argument)?;
    let (len, sha256) = ask_source(&peer, &mut source, &request.cluster, chunk).await?;
    let sink = Sink::begin(&shared.store, chunk, len, true);
    let everything = GetRequest {
        cluster: request.cluster,
        chunk: Some(chunk.into()),
        first_block: 0,
        blocks: 0,
        repair: true,
    };
    let mut stream = in_time(&peer, source.get(everything)).await?.into_inner();
    while let Some(group) = in_time(&peer, stream.message()).await? {
        shared.repairs_in.take(group.payload.len()).await;
        if !sink.send(group).await {
            sink.failure().await?;
            return Err(Status::internal("the store ended before the chunk"));
        }
    }
    sink.finish(sha256).await?;
    read_back(shared, chunk, sha256).await?;
    tracing::info!(%chunk, from = from.id, "repaired");
    Ok(PullReply {
        len,
        sha256: sha256.to_vec(),
    })
}

/// What the disk has now, not what was sent to it: whoever gives up another copy relies on this answer.
async fn read_back(shared: &Arc<Shared>, chunk: ChunkId, wanted: [u8; 32]) -> Result<(), Status> {
    match shared.on_disk(move |shared| shared.store.verify(chunk)).await? {
        Verdict::Good { sha256, .. } if sha256 == wanted => Ok(()),
        other => {
            tracing::error!(%chunk, verdict = ?other, "what was just written reads back wrong: the disk is bad");
            Err(Status::data_loss(format!(
                "chunk {chunk} reads back wrong here ({other:?}): replace this disk"
            )))
        }
    }
}

/// The source reads and checks its whole copy before it becomes a source.
async fn ask_source(
    peer: &Arc<Peer>,
    source: &mut ChunksClient<Channel>,
    cluster: &[u8],
    chunk: ChunkId,
) -> Result<(u32, [u8; 32]), Status> {
    let question = VerifyRequest {
        cluster: cluster.to_vec(),
        chunks: vec![chunk.into()],
    };
    let mut answers = in_time(peer, source.verify(question)).await?.into_inner();
    let answer = in_time(peer, answers.message()).await?;
    let answer = answer.ok_or_else(|| Status::unavailable("the source said nothing about its copy"))?;
    if answer.state() != State::Good {
        return Err(Status::not_found(format!(
            "the source has no good copy ({:?} {}): pull from another member",
            answer.state(),
            answer.reason
        )));
    }
    Ok((answer.len, ids::sha256(&answer.sha256, "VerifyReply.sha256")?))
}

/// Waits for the source while it answers pings, and for a minute at most.
async fn in_time<T>(peer: &Arc<Peer>, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let answer = peer.while_alive(tokio::time::timeout(SILENCE, call)).await;
    answer
        .map_err(|frozen| Status::unavailable(format!("the source {}: {frozen}", peer.address())))?
        .map_err(|_| Status::deadline_exceeded("the source was silent for a minute"))?
}
