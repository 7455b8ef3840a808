//! Three datanodes in this process on real disks and sockets, and calls to them as a client makes them.

use super::super::*;
use crate::config::data_dir::DataDir;
use crate::datanode::membership::Membership;
use crate::datanode::store::faulty::{Faults, Faulty};
use crate::datanode::store::segment::{SegmentStore, Settings};
use dfs_core::chunk::{BLOCK_SIZE, block_crcs, first_bad_block, sha256};
use dfs_core::ids::ChunkId;
use dfs_proto::v1::put_request::Part;
use dfs_proto::v1::{BeatReply, PutRequest};
use std::net::SocketAddr;
use tokio::sync::oneshot;

pub const CLUSTER: [u8; 16] = *b"cluster of tests";

/// Bytes per second that repairs may bring to a node, and take from it.
pub const REPAIRS: u64 = 8 << 20;
/// A port that the kernel chooses.
const ANY: &str = "127.0.0.1:0";

pub struct Node {
    pub dir: tempfile::TempDir,
    pub service: ChunkService,
    pub faults: Arc<Faults>,
    pub address: SocketAddr,
    pub client: ChunksClient<Channel>,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<Result<(), Fatal>>,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
}

impl Node {
    async fn start(number: u32, dir: tempfile::TempDir, address: &str) -> Node {
        let open = DataDir::open(&dir.path().join("node"), "datanode", true).unwrap();
        let chunks = dir.path().join("node/chunks");
        std::fs::create_dir_all(&chunks).unwrap();
        let settings = Settings {
            capacity: Some(1 << 30),
            ..Settings::default()
        };
        let inner = Arc::new(SegmentStore::open(&chunks, settings).unwrap());
        let faults = Arc::<Faults>::default();
        let store = Arc::new(Faulty {
            inner,
            faults: faults.clone(),
        });
        let membership = Membership::open(open).unwrap();
        membership
            .learn(
                dfs_core::ids::VolumeId(0),
                &BeatReply {
                    cluster: CLUSTER.to_vec(),
                    node: number,
                    term: 1,
                },
            )
            .unwrap();
        let service = ChunkService::new(store, Arc::new(membership), &Default::default(), REPAIRS);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(service.clone(), listener, async {
            let _ = stopped.await;
        }));
        let channel = dfs_client::channel::connect_lazy(&address.to_string()).unwrap();
        let client = ChunksClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
        Node {
            dir,
            service,
            faults,
            address,
            client,
            stop,
            server,
        }
    }

    /// Gives back the directory once nobody uses it.
    pub async fn end(self) -> tempfile::TempDir {
        drop(self.client);
        let _ = self.stop.send(());
        self.server.await.unwrap().unwrap();
        self.dir
    }
}

/// A whole transfer of `bytes` in groups of 1 MiB.
pub fn put_parts(chunk: ChunkId, bytes: &[u8], others: &[v1::Node]) -> Vec<PutRequest> {
    let begin = v1::PutBegin {
        transfer: uuid::Uuid::new_v4().as_bytes().to_vec(),
        cluster: CLUSTER.to_vec(),
        chunk: Some(chunk.into()),
        len: bytes.len() as u32,
        term: 1,
        propagate: !others.is_empty(),
        others: others.to_vec(),
    };
    let mut parts = vec![Part::Begin(begin)];
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let step = (GROUP_BLOCKS * BLOCK_SIZE) as usize;
    for at in (0..bytes.len()).step_by(step) {
        let payload = bytes.slice(at..bytes.len().min(at + step));
        let crcs = block_crcs(&payload);
        parts.push(Part::Blocks(v1::BlockGroup {
            first_block: at as u32 / BLOCK_SIZE,
            payload,
            crcs,
            disk_us: 0,
        }));
    }
    parts.push(Part::End(v1::PutEnd {
        sha256: sha256(&bytes).to_vec(),
    }));
    parts
        .into_iter()
        .map(|part| PutRequest { part: Some(part) })
        .collect()
}

impl Cluster {
    pub async fn start() -> Cluster {
        let mut nodes = Vec::new();
        for number in 1..=3 {
            nodes.push(Node::start(number, tempfile::tempdir().unwrap(), ANY).await);
        }
        Cluster { nodes }
    }

    /// One node, at an address that is free.
    pub async fn start_at(address: &str) -> Cluster {
        let node = Node::start(1, tempfile::tempdir().unwrap(), address).await;
        Cluster { nodes: vec![node] }
    }

    pub async fn restart(&mut self, node: usize) {
        let old = self.nodes.remove(node);
        let dir = old.end().await;
        self.nodes
            .insert(node, Node::start(node as u32 + 1, dir, ANY).await);
    }

    /// How the wire names a member.
    pub fn member(&self, node: usize) -> v1::Node {
        let address = self.nodes[node].address.to_string();
        v1::Node {
            id: node as u32 + 1,
            address,
            alive: true,
            zone: String::new(),
        }
    }

    pub fn client(&self, node: usize) -> ChunksClient<Channel> {
        self.nodes[node].client.clone()
    }

    pub async fn put_raw(&self, node: usize, parts: Vec<PutRequest>) -> Result<v1::PutReply, Status> {
        let reply = self.client(node).put(tokio_stream::iter(parts)).await;
        reply.map(tonic::Response::into_inner)
    }

    pub async fn put(
        &self,
        node: usize,
        chunk: ChunkId,
        bytes: &[u8],
        others: &[usize],
    ) -> Result<v1::PutReply, Status> {
        let others: Vec<_> = others.iter().map(|other| self.member(*other)).collect();
        self.put_raw(node, put_parts(chunk, bytes, &others)).await
    }

    /// Reads as a client does: every block is checked.
    pub async fn get(&self, node: usize, chunk: ChunkId, first: u32, blocks: u32) -> Result<Vec<u8>, Status> {
        let ask = v1::GetRequest {
            cluster: CLUSTER.to_vec(),
            chunk: Some(chunk.into()),
            first_block: first,
            blocks,
            repair: false,
        };
        let mut stream = self.client(node).get(ask).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(group) = stream.message().await? {
            assert_eq!(
                group.first_block,
                first + (bytes.len() as u32).div_ceil(BLOCK_SIZE)
            );
            if first_bad_block(group.first_block, &group.payload, &group.crcs).is_some() {
                return Err(Status::data_loss("a block does not match its checksum"));
            }
            bytes.extend_from_slice(&group.payload);
        }
        Ok(bytes)
    }

    pub async fn delete(
        &self,
        node: usize,
        term: u64,
        chunks: &[ChunkId],
    ) -> Result<v1::DeleteReply, Status> {
        let chunks = chunks.iter().map(|chunk| (*chunk).into()).collect();
        let ask = v1::DeleteRequest {
            cluster: CLUSTER.to_vec(),
            term,
            chunks,
        };
        self.client(node)
            .delete(ask)
            .await
            .map(tonic::Response::into_inner)
    }

    pub async fn verify(&self, node: usize, chunks: &[ChunkId]) -> Vec<v1::VerifyReply> {
        let chunks = chunks.iter().map(|chunk| (*chunk).into()).collect();
        let ask = v1::VerifyRequest {
            cluster: CLUSTER.to_vec(),
            chunks,
        };
        let mut stream = self.client(node).verify(ask).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(reply) = stream.message().await.unwrap() {
            all.push(reply);
        }
        all
    }

    pub async fn list(&self, node: usize, after: Option<ChunkId>) -> Vec<v1::HeldChunk> {
        let ask = v1::ListRequest {
            cluster: CLUSTER.to_vec(),
            after: after.map(Into::into),
            ..v1::ListRequest::default()
        };
        let mut stream = self.client(node).list(ask).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(reply) = stream.message().await.unwrap() {
            all.extend(reply.chunks);
        }
        all
    }

    pub async fn pull(
        &self,
        node: usize,
        term: u64,
        chunk: ChunkId,
        from: usize,
    ) -> Result<v1::PullReply, Status> {
        let from = Some(self.member(from));
        let ask = v1::PullRequest {
            cluster: CLUSTER.to_vec(),
            term,
            chunk: Some(chunk.into()),
            from,
        };
        self.client(node).pull(ask).await.map(tonic::Response::into_inner)
    }

    /// Flips a bit in the middle of the content of a node's first segment.
    pub fn flip_stored_bit(&self, node: usize) {
        use std::os::unix::fs::FileExt;
        let set = self.nodes[node].dir.path().join("node/chunks/000/1");
        let segment = std::fs::read_dir(set).unwrap().next().unwrap().unwrap().path();
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(segment)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 1_000_000).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], 1_000_000).unwrap();
    }
}
