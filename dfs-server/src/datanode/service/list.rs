//! List: every chunk that is here, in id order, page by page.

use super::{SILENCE, Sent, Shared};
use dfs_core::ids::ChunkId;
use dfs_proto::convert::ids;
use dfs_proto::v1::{HeldChunk, ListReply, ListRequest};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Chunks of one message: about 60 KiB.
const PAGE: usize = 1024;
/// Pages ahead of the network.
const QUEUE: usize = 2;

pub fn list(shared: &Arc<Shared>, request: ListRequest) -> Result<Sent<ListReply>, Status> {
    shared.membership.check_cluster(&request.cluster)?;
    let mut after: Option<ChunkId> = match request.after {
        Some(id) => Some(ids::stored_chunk(Some(id), "ListRequest.after")?),
        None => None,
    };
    let until = match request.until {
        Some(id) => Some(ids::stored_chunk(Some(id), "ListRequest.until")?),
        None => None,
    };
    let mut left = match request.limit {
        0 => usize::MAX,
        limit => limit as usize,
    };
    let brief = request.brief;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let shared = shared.clone();
    tokio::spawn(async move {
        loop {
            let wanted = left.min(PAGE);
            let page = shared.on_disk(move |shared| {
                let mut page = shared.store.list(after, wanted, brief);
                page.retain(|held| until.is_none_or(|until| held.chunk < until));
                page
            });
            let page = page.await;
            let got = page.as_ref().map_or(0, Vec::len);
            left -= got;
            // A short page is the last one, too.
            let more = got == PAGE && left > 0;
            let last = page
                .as_ref()
                .ok()
                .and_then(|page| page.last().map(|held| held.chunk));
            let reply = page.map(|page| ListReply {
                chunks: page
                    .into_iter()
                    .map(|held| HeldChunk {
                        id: Some(held.chunk.into()),
                        len: held.len,
                        sha256: held.sha256.map(|sha256| sha256.to_vec()).unwrap_or_default(),
                        bad: held.bad,
                    })
                    .collect(),
            });
            if last.is_none() && reply.is_ok() {
                return;
            }
            let sent = tokio::time::timeout(SILENCE, sender.send(reply)).await;
            if !more || !matches!(sent, Ok(Ok(()))) {
                return;
            }
            after = last;
        }
    });
    Ok(ReceiverStream::new(receiver))
}
