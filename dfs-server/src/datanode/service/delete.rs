//! Delete: many chunks at once, on a leader's order, with a list of those that stayed.

use super::Shared;
use dfs_core::ids::{ChunkId, VolumeId};
use dfs_proto::convert::ids;
use dfs_proto::v1::{DeleteFailure, DeleteReply, DeleteRequest};
use std::collections::BTreeSet;
use std::sync::Arc;
use tonic::Status;

/// Chunks of one request: well below what a message holds; the failures then fit the answer.
const CHUNKS_MAX: usize = 16_384;

pub async fn delete(shared: &Arc<Shared>, request: DeleteRequest) -> Result<DeleteReply, Status> {
    shared.membership.check_cluster(&request.cluster)?;
    if request.chunks.len() > CHUNKS_MAX {
        return Err(Status::invalid_argument(format!(
            "at most {CHUNKS_MAX} chunks in one request"
        )));
    }
    let chunks = request
        .chunks
        .into_iter()
        .map(|id| ids::stored_chunk(Some(id), "DeleteRequest.chunks"));
    let chunks = chunks.collect::<Result<Vec<ChunkId>, _>>()?;
    let term = request.term;
    let deleted = shared.on_disk(move |shared| {
        let mut volumes: BTreeSet<VolumeId> = chunks.iter().map(|chunk| chunk.set.volume()).collect();
        if volumes.is_empty() {
            // An order without chunks is one of before there could be several volumes: it brings the term.
            volumes.insert(VolumeId(0));
        }
        for volume in volumes {
            shared.membership.check_term(volume, term)?;
        }
        Ok::<_, Status>(shared.store.delete(&chunks))
    });
    let failures = deleted.await??.into_iter().map(|(chunk, error)| {
        tracing::warn!(%chunk, %error, "not deleted");
        DeleteFailure {
            chunk: Some(chunk.into()),
            reason: error.to_string(),
        }
    });
    Ok(DeleteReply {
        failures: failures.collect(),
    })
}
