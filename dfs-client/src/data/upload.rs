//! Sending a sealed chunk to a replica set: to the first healthy member, which forwards it to the others while it
//! arrives. Checksums are made here, at the writer.

use super::Data;
use super::seal::Batch;
use super::spread::{self, Small};
use crate::channel::{Frozen, MESSAGE_MAX, Peer};
use crate::config::DEFAULT_SLOW_CALL;
use crate::observe::request;
use crate::profile::Times;
use crate::session::Map;
use bytes::Bytes;
use dfs_core::chunk::{BLOCK_SIZE, block_count, block_crcs, table_sha256};
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::op::NewChunk;
use dfs_proto::v1;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_proto::v1::put_request::Part;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Status;

/// Bytes of one message: 16 blocks.
const GROUP: usize = 16 * BLOCK_SIZE as usize;
/// Messages that wait between the checksums and the network.
const GROUPS_AHEAD: usize = 2;
/// A chunk that is not on disk by then is sent elsewhere, though its member answers pings: its disk does not work.
const PUT_TIMEOUT: Duration = Duration::from_secs(20);
/// Sets tried before the attempt counts as failed.
const SETS_MAX: usize = 6;

type Takers = Vec<(v1::Node, Arc<Peer>)>;

enum Trouble {
    Full(String),
    Failed(String),
}

impl Data {
    /// Like `upload`, counted.
    pub(super) async fn upload_counted(&self, batch: &Batch) -> Result<NewChunk, FsError> {
        let begun = Instant::now();
        let result = self.upload(batch).await;
        let figures = self.session.figures();
        match &result {
            Ok(chunk) => {
                let ms = begun.elapsed().as_millis() as u64;
                let request = request::transfer(self.session.id(), chunk.id);
                if begun.elapsed() >= DEFAULT_SLOW_CALL {
                    tracing::warn!(request, bytes = batch.len, ms, "a slow upload");
                } else {
                    tracing::debug!(request, bytes = batch.len, ms, "uploaded");
                }
                figures.uploads.since(begun);
                figures.upload_bytes.add(u64::from(batch.len));
            }
            Err(_) => figures.upload_failures.inc(),
        }
        result
    }

    /// Puts the batch's content on the disks of a set, at least as many as the policy's minimum. `NoSpace` when
    /// the reason is that disks are full.
    async fn upload(&self, batch: &Batch) -> Result<NewChunk, FsError> {
        let mut avoid: Vec<SetId> = Vec::new();
        let mut full = false;
        let mut reasons = Vec::new();
        let mut small = spread::is_small(batch);
        for _ in 0..SETS_MAX {
            let id = match self.caches.stock.take(&self.session, &avoid).await {
                Ok(id) => id,
                Err(FsError::NoSpace) if !avoid.is_empty() && !full => {
                    return Err(self.gave_up(&reasons, FsError::Io));
                }
                Err(error) => return Err(self.gave_up(&reasons, error)),
            };
            if std::mem::take(&mut small) {
                match self.put_small(id, batch).await {
                    Ok(chunk) => return Ok(chunk),
                    Err(Small::NotTried) => {}
                    // Somebody may have it.
                    Err(Small::Failed) => continue,
                }
            }
            match self.put(id, batch).await {
                Ok(chunk) => return Ok(chunk),
                Err(Trouble::Full(reason)) => {
                    full = true;
                    reasons.push(reason);
                    avoid.push(id.set);
                }
                Err(Trouble::Failed(reason)) => {
                    // The set is tried once more: the failed member is now known to be unhealthy.
                    if reasons.len() % 2 == 1 {
                        avoid.push(id.set);
                    }
                    reasons.push(reason);
                }
            }
        }
        Err(self.gave_up(&reasons, if full { FsError::NoSpace } else { FsError::Io }))
    }

    fn gave_up(&self, reasons: &[String], error: FsError) -> FsError {
        tracing::warn!(?reasons, %error, "written data found no replica set; it is kept and tried again");
        error
    }

    /// The members that take a new chunk, best first, and all that should have it.
    fn takers(&self, map: &Map, id: ChunkId) -> Result<(Takers, Vec<v1::Node>), Trouble> {
        let members = map.writers(id.set);
        let mut alive: Takers = members
            .iter()
            .filter(|node| node.alive)
            .filter_map(|node| Some((node.clone(), self.pool.peer(&node.address).ok()?)))
            .collect();
        if alive.len() < map.min_replicas.max(1) {
            return Err(Trouble::Failed(format!(
                "set {}: {} members live",
                id.set.0,
                alive.len()
            )));
        }
        alive.sort_by_key(|(_, peer)| (!peer.is_healthy(), peer.load()));
        // A member that answers no ping is left out and gets its copy by repair, unless too few would be left.
        let answering = alive.iter().filter(|(_, peer)| !peer.is_suspected()).count();
        if answering >= map.min_replicas.max(1) {
            alive.retain(|(_, peer)| !peer.is_suspected());
        }
        Ok((alive, members))
    }

    /// The quick way of a small chunk.
    async fn put_small(&self, id: ChunkId, batch: &Batch) -> Result<NewChunk, Small> {
        let map = self.session.map();
        let (alive, members) = self.takers(&map, id).map_err(|_| Small::NotTried)?;
        let begun = Instant::now();
        let spread = self.spread(&alive, &map, id, batch).await;
        if !matches!(spread, Err(Small::NotTried)) {
            self.note_put(
                begun,
                spread.as_ref().map_or(Duration::ZERO, |(_, on_disk)| *on_disk),
            );
        }
        let (sha256, _) = spread?;
        let on_disk = alive.iter().map(|(node, _)| node.id).collect();
        self.session.figures().quick_uploads.inc();
        Ok(uploaded(id, batch, sha256, &members, on_disk))
    }

    async fn put(&self, id: ChunkId, batch: &Batch) -> Result<NewChunk, Trouble> {
        let map = self.session.map();
        let (alive, members) = self.takers(&map, id)?;
        let begun = Instant::now();
        let led = self.lead(&alive, &map, id, batch).await;
        let on_disk = led.as_ref().map_or(0, |(reply, _)| reply.disk_us);
        self.note_put(begun, Duration::from_micros(on_disk.into()));
        let (reply, sha256) = led?;
        for failure in &reply.failures {
            tracing::warn!(chunk = %id, member = failure.node, reason = failure.reason, "a member has no copy");
            if let Some((_, peer)) = alive.iter().find(|(node, _)| node.id == failure.node) {
                peer.failed();
                if failure.silent {
                    peer.suspect();
                }
            }
        }
        if reply.on_disk.len() < map.min_replicas {
            let reason = format!("set {}: on {} disks only", id.set.0, reply.on_disk.len());
            let full = reply.failures.iter().any(|failure| failure.full);
            return Err(if full {
                Trouble::Full(reason)
            } else {
                Trouble::Failed(reason)
            });
        }
        Ok(uploaded(id, batch, sha256, &members, reply.on_disk))
    }

    /// Where the time of an attempt went, for those who wait for the content. One that failed was no work of disks.
    fn note_put(&self, begun: Instant, on_disk: Duration) {
        let profile = &self.session.figures().profile;
        if profile.is_on() {
            profile.worked(begun, Times::at_datanode(begun.elapsed(), on_disk));
        }
    }

    /// Sends to the first member that takes it. One that is full, dead or frozen cannot forward: then another
    /// leads. What the first one passed on before is the same content under the same id.
    async fn lead(
        &self,
        alive: &[(v1::Node, Arc<Peer>)],
        map: &Map,
        id: ChunkId,
        batch: &Batch,
    ) -> Result<(v1::PutReply, [u8; 32]), Trouble> {
        let mut last = Trouble::Failed(format!("set {}: no member lives", id.set.0));
        let mut gone = Vec::new();
        for (leader, first) in alive {
            let others = alive
                .iter()
                .map(|(node, _)| node)
                .filter(|node| node.id != leader.id && !gone.contains(&node.id));
            let begin = v1::PutBegin {
                transfer: uuid::Uuid::new_v4().as_bytes().to_vec(),
                cluster: map.cluster.clone(),
                chunk: Some(id.into()),
                len: batch.len,
                term: map.term.0,
                propagate: true,
                others: others.cloned().collect(),
            };
            let _in_use = first.begin();
            match self.send(first, id, begin, batch.pieces(GROUP)).await {
                Ok(answer) => {
                    first.succeeded();
                    return Ok(answer);
                }
                Err(trouble @ Trouble::Full(_)) => last = trouble,
                Err(Trouble::Failed(reason)) => {
                    tracing::warn!(chunk = %id, reason, "a member did not take a chunk; another is asked");
                    first.failed();
                    gone.push(leader.id);
                    last = Trouble::Failed(reason);
                }
            }
        }
        Err(last)
    }

    async fn send(
        &self,
        peer: &Arc<Peer>,
        id: ChunkId,
        begin: v1::PutBegin,
        pieces: Vec<Bytes>,
    ) -> Result<(v1::PutReply, [u8; 32]), Trouble> {
        let len = begin.len;
        let table = Arc::new(Mutex::new(Vec::with_capacity(block_count(len) as usize)));
        let parts = parts(pieces, len, table.clone());
        let request = request::transfer(self.session.id(), id);
        let put = async {
            match peer.streaming(&self.runtime) {
                Some(exchange) => peer.stream(exchange, request, begin, parts, PUT_TIMEOUT).await,
                None => put_over_grpc(peer, &request, begin, parts).await,
            }
        };
        let failed = |reason: String| Trouble::Failed(format!("{}: {reason}", peer.address()));
        let reply = tokio::time::timeout(PUT_TIMEOUT, put)
            .await
            .map_err(|_| failed("too slow".to_string()))?
            .map_err(|frozen| failed(frozen.to_string()))?;
        match reply {
            Ok(reply) => {
                let table = table.lock();
                match table.len() == block_count(len) as usize {
                    true => Ok((reply, table_sha256(len, &table))),
                    false => Err(failed("answered before the end".to_string())),
                }
            }
            Err(status) if dfs_proto::status::from_status(&status) == FsError::NoSpace => {
                Err(Trouble::Full(format!("{}: full", peer.address())))
            }
            Err(status) => Err(failed(format!("{:?}: {}", status.code(), status.message()))),
        }
    }
}

/// The groups of a chunk, each checksummed when it is its turn, and its end. The CRCs are gathered in `table`.
fn parts(pieces: Vec<Bytes>, len: u32, table: Arc<Mutex<Vec<u32>>>) -> impl Iterator<Item = Part> + Send {
    let ends = table.clone();
    let groups = pieces.into_iter().map(move |payload| {
        let crcs = block_crcs(&payload);
        let mut table = table.lock();
        let first_block = table.len() as u32;
        table.extend_from_slice(&crcs);
        Part::Blocks(v1::BlockGroup {
            first_block,
            payload,
            crcs,
            disk_us: 0,
        })
    });
    let end = std::iter::once_with(move || {
        let sha256 = table_sha256(len, &ends.lock()).to_vec();
        Part::End(v1::PutEnd { sha256 })
    });
    groups.chain(end)
}

/// For a peer to which no framed connection is ready.
async fn put_over_grpc(
    peer: &Arc<Peer>,
    request: &str,
    begin: v1::PutBegin,
    parts: impl Iterator<Item = Part> + Send + 'static,
) -> Result<Result<v1::PutReply, Status>, Frozen> {
    let (sender, receiver) = tokio::sync::mpsc::channel(GROUPS_AHEAD);
    let feed = async move {
        for part in std::iter::once(Part::Begin(begin)).chain(parts) {
            if sender.send(v1::PutRequest { part: Some(part) }).await.is_err() {
                return;
            }
        }
    };
    let mut client = ChunksClient::new(peer.channel())
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let requests = request::with(tokio_stream::wrappers::ReceiverStream::new(receiver), request);
    let put = async { tokio::join!(client.put(requests), feed).0 };
    Ok(peer.while_alive(put).await?.map(tonic::Response::into_inner))
}

/// The chunk as the commit tells of it.
fn uploaded(
    id: ChunkId,
    batch: &Batch,
    sha256: [u8; 32],
    members: &[v1::Node],
    on_disk: Vec<u32>,
) -> NewChunk {
    let missing = members
        .iter()
        .map(|node| node.id)
        .filter(|id| !on_disk.contains(id));
    NewChunk {
        id,
        len: batch.len,
        sha256,
        missing: missing.map(NodeId).collect(),
        on_disk: on_disk.iter().copied().map(NodeId).collect(),
    }
}
