//! Fetching blocks from the members of a replica set: the least loaded healthy one first, another when it is slow,
//! fails, or sends what does not match its checksums.

use super::Data;
use super::fetch::Fetch;
use crate::channel::{MESSAGE_MAX, Peer};
use bytes::Bytes;
use dfs_core::chunk::{BLOCK_SIZE, crc32c};
use dfs_core::error::FsError;
use dfs_core::ids::ChunkId;
use dfs_proto::v1;
use dfs_proto::v1::chunks_client::ChunksClient;
use std::sync::Arc;
use std::time::Duration;

/// How long a member may be silent before another one is asked, round by round: a frozen member costs a reader
/// the first of these, a busy cluster gets the later ones.
const SILENCE: [Duration; 5] = [
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(8),
];
/// Between rounds over all members.
const PAUSE: Duration = Duration::from_millis(100);

enum Trouble {
    Failed(String),
    /// The copy does not match its checksums.
    Bad(String),
}

impl Data {
    /// Brings `fetches`, consecutive blocks from `first` on, to completion.
    pub(super) async fn download(self: Arc<Self>, chunk: ChunkId, first: u32, fetches: Vec<Arc<Fetch>>) {
        let mut done = 0;
        let mut reasons = Vec::new();
        for silence in SILENCE {
            for member in self.readers(chunk) {
                match self
                    .download_from(&member, chunk, first, &fetches, &mut done, silence)
                    .await
                {
                    Ok(()) => return,
                    Err(trouble) => reasons.push(self.note(&member, chunk, trouble)),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::error!(%chunk, first, ?reasons, "no member has a readable copy");
        for (number, fetch) in (first..).zip(&fetches).skip(done) {
            self.fetches.remove(&(chunk, number));
            fetch.complete(Err(FsError::Io));
        }
    }

    /// The members to ask, best first.
    fn readers(&self, chunk: ChunkId) -> Vec<(v1::Node, Arc<Peer>)> {
        let members = self.session.map().members(chunk.set).into_iter();
        let mut readers: Vec<(v1::Node, Arc<Peer>)> = members
            .filter_map(|node| self.pool.peer(&node.address).ok().map(|peer| (node, peer)))
            .collect();
        let spread = readers.len().max(1) as u64;
        readers.sort_by_key(|(node, peer)| {
            let turn = (chunk.seq + u64::from(node.id)) % spread;
            (!(node.alive && peer.is_healthy()), peer.load(), turn)
        });
        readers
    }

    fn note(&self, (node, peer): &(v1::Node, Arc<Peer>), chunk: ChunkId, trouble: Trouble) -> String {
        match trouble {
            Trouble::Failed(reason) => {
                peer.failed();
                format!("{}: {reason}", node.address)
            }
            Trouble::Bad(reason) => {
                tracing::warn!(%chunk, member = node.address, reason, "a bad copy; another member is asked");
                let chunk = Some(chunk.into());
                self.session.report_bad_copy(v1::BadCopy {
                    chunk,
                    node: node.id,
                    reason: reason.clone(),
                });
                format!("{}: {reason}", node.address)
            }
        }
    }

    async fn download_from(
        &self,
        (_, peer): &(v1::Node, Arc<Peer>),
        chunk: ChunkId,
        first: u32,
        fetches: &[Arc<Fetch>],
        done: &mut usize,
        silence: Duration,
    ) -> Result<(), Trouble> {
        let _in_use = peer.begin();
        let mut client = ChunksClient::new(peer.channel()).max_decoding_message_size(MESSAGE_MAX);
        let request = v1::GetRequest {
            cluster: self.session.map().cluster.clone(),
            chunk: Some(chunk.into()),
            first_block: first + *done as u32,
            blocks: (fetches.len() - *done) as u32,
        };
        let slow = |_| Trouble::Failed("slow".to_string());
        let opening = tokio::time::timeout(silence, client.get(request))
            .await
            .map_err(slow)?;
        let mut groups = opening.map_err(failed)?.into_inner();
        while *done < fetches.len() {
            let group = tokio::time::timeout(silence, groups.message())
                .await
                .map_err(slow)?;
            let group = group.map_err(failed)?;
            let group = group.ok_or_else(|| Trouble::Bad("fewer blocks than metadata says".to_string()))?;
            self.accept(chunk, first, fetches, done, group)?;
        }
        peer.succeeded();
        Ok(())
    }

    fn accept(
        &self,
        chunk: ChunkId,
        first: u32,
        fetches: &[Arc<Fetch>],
        done: &mut usize,
        group: v1::BlockGroup,
    ) -> Result<(), Trouble> {
        let expected = first + *done as u32;
        let blocks = group.payload.len().div_ceil(BLOCK_SIZE as usize);
        if group.first_block != expected || blocks != group.crcs.len() || blocks == 0 {
            return Err(Trouble::Bad("blocks out of order".to_string()));
        }
        for (content, crc) in group.payload.chunks(BLOCK_SIZE as usize).zip(&group.crcs) {
            let number = first + *done as u32;
            if crc32c(content) != *crc {
                return Err(Trouble::Bad(format!(
                    "block {number} does not match its checksum"
                )));
            }
            let Some(fetch) = fetches.get(*done) else { break };
            // Copied, so that a block in the cache does not keep its whole message in memory.
            let content = Bytes::copy_from_slice(content);
            self.take_from_datanode(chunk, number, content, fetch);
            *done += 1;
        }
        Ok(())
    }
}

fn failed(status: tonic::Status) -> Trouble {
    match status.code() {
        tonic::Code::DataLoss | tonic::Code::NotFound => Trouble::Bad(status.message().to_string()),
        _ => Trouble::Failed(format!("{:?}: {}", status.code(), status.message())),
    }
}
