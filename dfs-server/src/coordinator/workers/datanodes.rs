//! What the workers ask of datanodes, each request with a time limit. They hold the answer's meaning; this only
//! speaks.

use crate::coordinator::Handle;
use dfs_client::channel::{Peer, Pool};
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_proto::convert::ids::{sha256, stored_chunk};
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_proto::v1::verify_reply::State;
use dfs_proto::v1::{
    self, ComposePiece, ComposeRequest, DeleteRequest, ListRequest, PullRequest, VerifyRequest,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

/// A node that does not answer within this is tried again later.
const DEADLINE: Duration = Duration::from_secs(30);
/// Chunks deleted by one request.
pub const DELETE_MAX: usize = 512;

pub struct Datanodes {
    pool: Pool,
    cluster: Vec<u8>,
    term: u64,
}

/// What a member says of its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    Good([u8; 32]),
    Missing,
    Corrupt,
    /// It could not say.
    Unknown,
}

/// A chunk that was made from others.
pub struct Composed {
    pub len: u32,
    pub sha256: [u8; 32],
    pub on_disk: Vec<NodeId>,
}

impl Datanodes {
    pub fn new(handle: &Handle) -> Datanodes {
        Datanodes {
            pool: Pool::default(),
            cluster: handle.settings.cluster.as_bytes().to_vec(),
            term: handle.term.0,
        }
    }

    fn client(&self, address: &str) -> Result<(Arc<Peer>, ChunksClient<Channel>), Status> {
        let peer = self
            .pool
            .peer(address)
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let client = ChunksClient::new(peer.channel());
        Ok((peer, client))
    }

    /// Deletes chunks at one member: those that it could not delete.
    pub async fn delete(&self, address: &str, chunks: &[ChunkId]) -> Result<Vec<(ChunkId, String)>, Status> {
        let request = DeleteRequest {
            cluster: self.cluster.clone(),
            term: self.term,
            chunks: chunks.iter().map(|id| (*id).into()).collect(),
        };
        let (peer, mut client) = self.client(address)?;
        let reply = within(&peer, client.delete(request)).await?.into_inner();
        let failures = reply.failures.into_iter().map(|failure| {
            Ok((
                stored_chunk(failure.chunk, "DeleteFailure.chunk")?,
                failure.reason,
            ))
        });
        failures.collect()
    }

    /// Has a member read its copy of a chunk.
    pub async fn verify(&self, address: &str, chunk: ChunkId) -> Result<Copy, Status> {
        let request = VerifyRequest {
            cluster: self.cluster.clone(),
            chunks: vec![chunk.into()],
        };
        let (peer, mut client) = self.client(address)?;
        let reply = within(&peer, async move {
            client.verify(request).await?.into_inner().message().await
        })
        .await?;
        let Some(reply) = reply else {
            return Ok(Copy::Unknown);
        };
        Ok(match reply.state() {
            State::Good => Copy::Good(sha256(&reply.sha256, "VerifyReply.sha256")?),
            State::Missing => Copy::Missing,
            // A copy that its disk cannot read is none: it is made again in another place of the disk.
            State::Corrupt | State::Unreadable => Copy::Corrupt,
            State::Unspecified => Copy::Unknown,
        })
    }

    /// Has a member copy a chunk from another: the checksum of what it has on disk now.
    pub async fn pull(
        &self,
        address: &str,
        chunk: ChunkId,
        from: (NodeId, &str),
    ) -> Result<[u8; 32], Status> {
        let from = v1::Node {
            id: from.0.0,
            address: from.1.to_owned(),
            alive: true,
            zone: String::new(),
        };
        let request = PullRequest {
            cluster: self.cluster.clone(),
            term: self.term,
            chunk: Some(chunk.into()),
            from: Some(from),
        };
        let (peer, mut client) = self.client(address)?;
        let reply = within(&peer, client.pull(request)).await?.into_inner();
        Ok(sha256(&reply.sha256, "PullReply.sha256")?)
    }

    /// Has a member make a new chunk from pieces of chunks that it has, and give it to the others.
    pub async fn compose(
        &self,
        address: &str,
        chunk: ChunkId,
        pieces: Vec<ComposePiece>,
        others: Vec<v1::Node>,
    ) -> Result<Composed, Status> {
        let request = ComposeRequest {
            cluster: self.cluster.clone(),
            term: self.term,
            transfer: Uuid::new_v4().as_bytes().to_vec(),
            chunk: Some(chunk.into()),
            pieces,
            others,
        };
        let (peer, mut client) = self.client(address)?;
        let reply = within(&peer, client.compose(request)).await?.into_inner();
        Ok(Composed {
            len: reply.len,
            sha256: sha256(&reply.sha256, "ComposeReply.sha256")?,
            on_disk: reply.on_disk.into_iter().map(NodeId).collect(),
        })
    }

    /// Every chunk that a member holds.
    pub async fn list(&self, address: &str) -> Result<BTreeMap<ChunkId, u32>, Status> {
        let mut held = BTreeMap::new();
        let request = ListRequest {
            cluster: self.cluster.clone(),
            after: None,
            ..ListRequest::default()
        };
        let (peer, mut client) = self.client(address)?;
        let mut stream = within(&peer, client.list(request)).await?.into_inner();
        while let Some(reply) = within(&peer, stream.message()).await? {
            for chunk in reply.chunks {
                held.insert(stored_chunk(chunk.id, "HeldChunk.id")?, chunk.len);
            }
        }
        Ok(held)
    }

    /// At most `limit` chunks of one set that a node holds after a chunk of it.
    pub async fn list_of(&self, address: &str, after: ChunkId, limit: u32) -> Result<Vec<ChunkId>, Status> {
        let until = ChunkId {
            set: SetId(after.set.0 + 1),
            seq: 0,
        };
        let request = ListRequest {
            cluster: self.cluster.clone(),
            after: Some(after.into()),
            until: Some(until.into()),
            limit,
            brief: true,
        };
        let (peer, mut client) = self.client(address)?;
        let mut stream = within(&peer, client.list(request)).await?.into_inner();
        let mut held = Vec::new();
        while let Some(reply) = within(&peer, stream.message()).await? {
            for chunk in reply.chunks {
                held.push(stored_chunk(chunk.id, "HeldChunk.id")?);
            }
        }
        held.retain(|id| id.set == after.set);
        Ok(held)
    }
}

/// Waits for a node while it answers pings, and for the deadline at most.
async fn within<T>(peer: &Arc<Peer>, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let answer = peer.while_alive(tokio::time::timeout(DEADLINE, work)).await;
    answer
        .map_err(|frozen| Status::unavailable(format!("{}: {frozen}", peer.address())))?
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the datanode did not answer")))
}
