//! Get: streams blocks with the checksums that the writer made; the reader compares them.

use super::super::store::Blocks;
use super::{GROUP_BLOCKS, SILENCE, Sent, Shared, status};
use dfs_core::ids::ChunkId;
use dfs_proto::convert::{asked_blocks, ids};
use dfs_proto::v1::{BlockGroup, GetRequest};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Groups read ahead of the network.
const QUEUE: usize = 3;

pub async fn get(shared: &Arc<Shared>, request: GetRequest) -> Result<Sent<BlockGroup>, Status> {
    shared.membership.check_cluster(&request.cluster)?;
    let chunk = ids::stored_chunk(request.chunk, "GetRequest.chunk")?;
    let len = shared.store.len(chunk).map_err(status::of)?;
    let blocks = asked_blocks(&request, len)?;
    let repair = request.repair;
    // The first group is read before the answer begins, so that most failures are the call's own.
    let first = read(
        shared,
        chunk,
        blocks.start..blocks.end.min(blocks.start + GROUP_BLOCKS),
    )
    .await?;
    if repair {
        shared.repairs_out.take(first.payload.len()).await;
    }
    let (sender, receiver) = mpsc::channel(QUEUE);
    let rest = blocks.start + GROUP_BLOCKS..blocks.end;
    // The queue is empty: there is room.
    let _ = sender.try_send(Ok(first));
    if !rest.is_empty() {
        tokio::spawn(send_rest(shared.clone(), chunk, rest, repair, sender));
    }
    Ok(ReceiverStream::new(receiver))
}

async fn send_rest(
    shared: Arc<Shared>,
    chunk: ChunkId,
    blocks: Range<u32>,
    repair: bool,
    sender: mpsc::Sender<Result<BlockGroup, Status>>,
) {
    for first in blocks.clone().step_by(GROUP_BLOCKS as usize) {
        let group = read(&shared, chunk, first..blocks.end.min(first + GROUP_BLOCKS)).await;
        if let (true, Ok(group)) = (repair, &group) {
            shared.repairs_out.take(group.payload.len()).await;
        }
        let failed = group.is_err();
        let group = super::logged("get", None, group);
        // A reader that takes nothing for a minute, or is gone, is forgotten.
        let sent = tokio::time::timeout(SILENCE, sender.send(group)).await;
        if failed || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// A time as replies tell it.
pub(super) fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

async fn read(shared: &Arc<Shared>, chunk: ChunkId, blocks: Range<u32>) -> Result<BlockGroup, Status> {
    let begun = Instant::now();
    let read = shared.on_disk(move |shared| shared.store.read(chunk, blocks.start, blocks.len() as u32));
    let Blocks { first, payload, crcs } = read.await?.map_err(status::of)?;
    shared.figures.sent.add(payload.len() as u64);
    Ok(BlockGroup {
        first_block: first,
        payload,
        crcs,
        disk_us: micros(begun.elapsed()),
    })
}
