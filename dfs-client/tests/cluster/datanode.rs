//! Three datanodes that share one store in memory, with faults by member.

use super::MEMBERS;
use bytes::Bytes;
use dfs_core::chunk::{BLOCK_SIZE, block_crcs, table_sha256};
use dfs_core::error::FsError;
use dfs_core::ids::ChunkId;
use dfs_proto::v1;
use dfs_proto::v1::chunks_server::{Chunks, ChunksServer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};
use v1::put_request::Part;

/// What goes wrong, by member.
#[derive(Default)]
pub struct Faults {
    /// Its copies have a flipped bit.
    pub rotten: Vec<u32>,
    /// It refuses everything.
    pub dead: Vec<u32>,
    /// It answers nothing.
    pub frozen: Vec<u32>,
    /// Its disk takes three seconds for each read; it answers pings.
    pub slow: Vec<u32>,
    /// It has no room.
    pub full: Vec<u32>,
    /// Chunks stored so far and reads so far.
    pub puts: u64,
    pub gets: u64,
    /// Requests for pages so far, and whether members do not know them.
    pub page_gets: u64,
    pub no_pages: bool,
}

#[derive(Default)]
pub struct Store {
    pub chunks: Mutex<HashMap<ChunkId, Bytes>>,
    pub faults: Mutex<Faults>,
}

pub struct Member {
    id: u32,
    store: Arc<Store>,
}

pub fn service(id: u32, store: Arc<Store>) -> ChunksServer<Member> {
    ChunksServer::new(Member { id, store }).max_decoding_message_size(16 << 20)
}

impl Member {
    async fn meet_faults(&self) -> Result<(), Status> {
        let (dead, frozen) = {
            let faults = self.store.faults.lock().unwrap();
            (faults.dead.contains(&self.id), faults.frozen.contains(&self.id))
        };
        if frozen {
            std::future::pending::<()>().await;
        }
        if dead {
            Err(Status::unavailable("dead"))
        } else {
            Ok(())
        }
    }
}

type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

#[tonic::async_trait]
impl Chunks for Member {
    type GetStream = Stream<v1::BlockGroup>;
    type VerifyStream = Stream<v1::VerifyReply>;
    type ListStream = Stream<v1::ListReply>;

    async fn put(
        &self,
        request: Request<Streaming<v1::PutRequest>>,
    ) -> Result<Response<v1::PutReply>, Status> {
        self.meet_faults().await?;
        let mut parts = request.into_inner();
        let mut begin = None;
        let mut content = Vec::new();
        while let Some(part) = parts.next().await {
            match part?.part.unwrap() {
                Part::Begin(first) => begin = Some(first),
                Part::Blocks(group) => {
                    assert_eq!(group.first_block as usize * BLOCK_SIZE as usize, content.len());
                    assert_eq!(block_crcs(&group.payload), group.crcs);
                    content.extend_from_slice(&group.payload);
                }
                Part::End(end) => assert_eq!(
                    end.sha256,
                    table_sha256(content.len() as u32, &block_crcs(&content))
                ),
            }
        }
        let begin = begin.unwrap();
        assert_eq!(begin.len as usize, content.len());
        let mut faults = self.store.faults.lock().unwrap();
        if faults.full.contains(&self.id) {
            return Err(dfs_proto::status::to_status(FsError::NoSpace, "full"));
        }
        faults.puts += 1;
        let lacks =
            |id: &u32| faults.dead.contains(id) || faults.full.contains(id) || faults.frozen.contains(id);
        let (lacking, on_disk): (Vec<u32>, Vec<u32>) = (1..=MEMBERS).partition(lacks);
        let failures = lacking
            .into_iter()
            .map(|node| v1::MemberFailure {
                node,
                reason: "fault".to_string(),
                full: faults.full.contains(&node),
                silent: faults.frozen.contains(&node),
            })
            .collect();
        let id = ChunkId::try_from(begin.chunk.unwrap()).unwrap();
        let old = self.store.chunks.lock().unwrap().insert(id, Bytes::from(content));
        assert!(old.is_none(), "chunk {id} was written twice");
        Ok(Response::new(v1::PutReply {
            on_disk,
            failures,
            disk_us: 0,
        }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        self.meet_faults().await?;
        if self.store.faults.lock().unwrap().slow.contains(&self.id) {
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        }
        let request = request.into_inner();
        let id = ChunkId::try_from(request.chunk.unwrap()).unwrap();
        let content = self.store.chunks.lock().unwrap().get(&id).cloned();
        let content = content.ok_or_else(|| Status::not_found("no such chunk"))?;
        let mut faults = self.store.faults.lock().unwrap();
        faults.gets += 1;
        let mut groups = Vec::new();
        for first_block in request.first_block..request.first_block + request.blocks {
            let from = (first_block * BLOCK_SIZE) as usize;
            let to = (from + BLOCK_SIZE as usize).min(content.len());
            let mut payload = content.slice(from..to).to_vec();
            let crcs = block_crcs(&payload);
            if faults.rotten.contains(&self.id) {
                payload[0] ^= 1;
            }
            groups.push(Ok(v1::BlockGroup {
                first_block,
                payload: payload.into(),
                crcs,
                disk_us: 0,
            }));
        }
        Ok(Response::new(tokio_stream::iter(groups)))
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteReply>, Status> {
        Err(Status::unimplemented("not used by the client"))
    }

    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        Err(Status::unimplemented("not used by the client"))
    }

    async fn pull(&self, _: Request<v1::PullRequest>) -> Result<Response<v1::PullReply>, Status> {
        Err(Status::unimplemented("not used by the client"))
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("not used by the client"))
    }

    async fn ping(&self, _: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        self.meet_faults().await?;
        Ok(Response::new(v1::PingReply {}))
    }

    async fn compose(&self, _: Request<v1::ComposeRequest>) -> Result<Response<v1::ComposeReply>, Status> {
        Err(Status::unimplemented("not used by the client"))
    }
}
