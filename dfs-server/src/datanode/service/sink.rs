//! A chunk on its way from the network into the store: a thread takes groups of blocks from a bounded queue,
//! so that receiving, checking and writing overlap. Put and pull feed one.

use super::super::store::{ChunkStore, StoreError};
use dfs_core::chunk::Refusal;
use dfs_core::ids::ChunkId;
use dfs_proto::v1::BlockGroup;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

/// Groups (of 1 MiB) between the network and the disk.
const QUEUE: usize = 4;

enum Part {
    Blocks(BlockGroup),
    End([u8; 32]),
}

/// Dropped before `finish`, nothing of the chunk remains.
pub struct Sink {
    feed: mpsc::Sender<Part>,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Sink {
    pub fn begin(store: &Arc<dyn ChunkStore>, chunk: ChunkId, len: u32, replace: bool) -> Sink {
        let (feed, mut parts) = mpsc::channel(QUEUE);
        let store = store.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let mut writer = store.begin(chunk, len, replace)?;
            while let Some(part) = parts.blocking_recv() {
                match part {
                    Part::Blocks(group) => writer.write(group.first_block, &group.payload, &group.crcs)?,
                    Part::End(sha256) => return writer.finish(&sha256),
                }
            }
            Err(StoreError::Refused(Refusal::Short {
                got: 0,
                expected: len,
            }))
        });
        Sink { feed, thread }
    }

    /// False when the store has given up: `finish` says why.
    pub async fn send(&self, group: BlockGroup) -> bool {
        self.feed.send(Part::Blocks(group)).await.is_ok()
    }

    /// Waits until the chunk is durable.
    pub async fn finish(self, sha256: [u8; 32]) -> Result<(), Status> {
        // When the store has given up, its own reason follows.
        let _ = self.feed.send(Part::End(sha256)).await;
        self.failure().await
    }

    /// Why the store gave up.
    pub async fn failure(self) -> Result<(), Status> {
        drop(self.feed);
        let ended = self
            .thread
            .await
            .map_err(|e| Status::internal(format!("a disk thread failed: {e}")))?;
        ended.map_err(super::status::of)
    }
}
