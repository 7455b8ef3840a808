//! Compose: a new chunk from pieces of chunks that are here. What is read is checked block by block before a byte
//! is used; the new chunk gets checksums of its own and goes to the other members like a put.

use super::super::store::{ChunkStore, StoreError};
use super::spread::Spread;
use super::{GROUP_BLOCKS, Shared, status};
use bytes::Bytes;
use dfs_core::chunk::{BLOCK_SIZE, block_crcs, first_bad_block, table_sha256};
use dfs_core::ids::ChunkId;
use dfs_proto::convert::chunk::{Piece, compose};
use dfs_proto::v1::{BlockGroup, ComposeReply, ComposeRequest};
use std::sync::Arc;
use tonic::Status;

/// Bytes of one group.
const GROUP: usize = (GROUP_BLOCKS * BLOCK_SIZE) as usize;

pub async fn run(shared: &Arc<Shared>, request: ComposeRequest) -> Result<ComposeReply, Status> {
    shared.membership.check_cluster(&request.cluster)?;
    let (transfer, pieces) = compose(request)?;
    let own = shared.membership.node(transfer.chunk.set.volume())?;
    let _session = shared.transfers.begin(transfer.transfer)?;
    let (volume, term) = (transfer.chunk.set.volume(), transfer.term.0);
    let content = shared
        .on_disk(move |shared| {
            shared.membership.check_term(volume, term)?;
            let content = gather(shared.store.as_ref(), &pieces).map_err(status::of)?;
            Ok::<_, Status>(Bytes::from(content))
        })
        .await??;
    let crcs = block_crcs(&content);
    let digest = table_sha256(transfer.len, &crcs);
    let mut spread = Spread::begin(shared, &transfer, own);
    for at in (0..content.len()).step_by(GROUP) {
        let payload = content.slice(at..content.len().min(at + GROUP));
        let first = at / BLOCK_SIZE as usize;
        let blocks = payload.len().div_ceil(BLOCK_SIZE as usize);
        let group = BlockGroup {
            first_block: first as u32,
            crcs: crcs[first..first + blocks].to_vec(),
            payload,
            disk_us: 0,
        };
        if !spread.send(group).await {
            return Err(spread.failure().await);
        }
    }
    let spreading = spread.end(digest).await?;
    let mut on_disk = vec![own];
    on_disk.extend(spreading.on_disk);
    Ok(ComposeReply {
        len: transfer.len,
        sha256: digest.to_vec(),
        on_disk,
        failures: spreading.failures,
    })
}

/// Reads the pieces, in order. Blocks on the disk.
fn gather(store: &dyn ChunkStore, pieces: &[Piece]) -> Result<Vec<u8>, StoreError> {
    let len = pieces.iter().map(|piece| piece.len as usize).sum();
    let mut content = Vec::with_capacity(len);
    for piece in pieces {
        let (first, last) = piece.blocks();
        let blocks = store.read(piece.source, first, last - first + 1)?;
        if let Some(bad) = first_bad_block(first, &blocks.payload, &blocks.crcs) {
            // The whole copy is looked at, so that it is out of service and told of.
            store.verify(piece.source);
            return Err(corrupt(
                piece.source,
                format!("block {bad} does not match its CRC-32C"),
            ));
        }
        let from = (piece.offset - first * BLOCK_SIZE) as usize;
        let part = blocks.payload.get(from..from + piece.len as usize);
        let part = part.ok_or_else(|| corrupt(piece.source, "it is shorter than the piece".into()))?;
        content.extend_from_slice(part);
    }
    Ok(content)
}

fn corrupt(chunk: ChunkId, reason: String) -> StoreError {
    StoreError::Corrupt { chunk, reason }
}
