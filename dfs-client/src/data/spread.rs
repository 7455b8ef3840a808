//! The quick way of a small chunk: sent to every member at once on framed connections, so that all disks work at the same
//! time and nobody forwards. It is an attempt, like a quick read: unless every member has it on its disk soon, the
//! content goes the long way of `upload`, under another id.

use super::Data;
use super::seal::Batch;
use crate::channel::{Closer, Exchange, Peer};
use crate::observe::request;
use crate::session::Map;
use bytes::Bytes;
use dfs_core::chunk::{block_crcs, table_sha256};
use dfs_core::ids::ChunkId;
use dfs_proto::v1;
use dfs_proto::v1::framed_request::Body;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Longest content: beyond it, sending every byte to each member costs the writer's network more than a hop saves.
const SMALL: u32 = 128 << 10;
/// A disk that takes longer does not work. A member that is frozen is noticed by its pings long before.
const LIMIT: Duration = Duration::from_secs(10);

/// Why the attempt did not bring the chunk onto every disk.
pub(super) enum Small {
    /// Nothing was sent.
    NotTried,
    /// Somebody may have it: the id is used up.
    Failed,
}

/// Whether the batch may go the quick way.
pub(super) fn is_small(batch: &Batch) -> bool {
    batch.len <= SMALL
}

struct Asked {
    node: u32,
    peer: Arc<Peer>,
    exchange: Exchange,
}

impl Data {
    /// Sends a small chunk to all of `members`, and waits until it is on every disk. Gives its digest, and how long the
    /// slowest disk took.
    pub(super) async fn spread(
        &self,
        members: &[(v1::Node, Arc<Peer>)],
        map: &Map,
        id: ChunkId,
        batch: &Batch,
    ) -> Result<([u8; 32], Duration), Small> {
        if members.iter().any(|(_, peer)| !peer.is_healthy()) {
            return Err(Small::NotTried);
        }
        let mut asked = Vec::with_capacity(members.len());
        for (node, peer) in members {
            let Some(exchange) = peer.framed(&self.runtime) else {
                asked.into_iter().for_each(|asked: Asked| asked.exchange.end());
                return Err(Small::NotTried);
            };
            let (node, peer) = (node.id, peer.clone());
            asked.push(Asked { node, peer, exchange });
        }
        let Some(content) = batch.pieces(SMALL as usize).pop() else {
            return Err(Small::NotTried);
        };
        let crcs = block_crcs(&content);
        let sha256 = table_sha256(batch.len, &crcs);
        let put = v1::FramedPut {
            begin: Some(v1::PutBegin {
                transfer: uuid::Uuid::new_v4().as_bytes().to_vec(),
                cluster: map.cluster.clone(),
                chunk: Some(id.into()),
                len: batch.len,
                term: map.term.0,
                propagate: false,
                others: Vec::new(),
            }),
            crcs,
            sha256: sha256.to_vec(),
        };
        let request = request::transfer(self.session.id(), id);
        match converse(asked, request, put, content).await {
            Some(on_disk) => Ok((sha256, on_disk)),
            None => Err(Small::Failed),
        }
    }
}

/// Whether every member answered that it has the content on its disk: how long the slowest disk took.
async fn converse(
    asked: Vec<Asked>,
    request: String,
    put: v1::FramedPut,
    content: Bytes,
) -> Option<Duration> {
    let closers: Vec<Closer> = asked
        .iter()
        .filter_map(|asked| asked.exchange.closer().ok())
        .collect();
    let peers: Vec<Arc<Peer>> = asked.iter().map(|asked| asked.peer.clone()).collect();
    let in_use: Vec<_> = peers.iter().map(|peer| peer.begin()).collect();
    let (ended, told) = watch::channel(false);
    let talk = tokio::task::spawn_blocking(move || {
        let done = talk(asked, &request, &put, &content);
        // Those who watch are gone when one of them gave up.
        let _ = ended.send(true);
        done
    });
    let mut watched: FuturesUnordered<_> = peers
        .iter()
        .map(|peer| {
            let mut told = told.clone();
            peer.while_alive(async move { told.wait_for(|ended| *ended).await.is_ok() })
        })
        .collect();
    while let Some(watched) = watched.next().await {
        if watched.is_err() {
            // The thread that waits for the frozen one ends with its connection.
            closers.iter().for_each(Closer::close);
            return None;
        }
    }
    drop(in_use);
    talk.await.unwrap_or(None)
}

/// Asks all, then takes the answers. Blocks.
fn talk(mut asked: Vec<Asked>, request: &str, put: &v1::FramedPut, content: &[u8]) -> Option<Duration> {
    for Asked { exchange, .. } in &mut asked {
        if exchange
            .ask(request.to_owned(), Body::Put(put.clone()), content)
            .is_err()
        {
            return None;
        }
    }
    let mut slowest = Some(Duration::ZERO);
    for Asked {
        node,
        peer,
        mut exchange,
    } in asked
    {
        match exchange.answer(LIMIT) {
            Ok(reply) if reply.code == 0 && reply.on_disk == node => {
                peer.succeeded();
                exchange.end();
                let on_disk = Duration::from_micros(reply.disk_us.into());
                slowest = slowest.map(|slowest| slowest.max(on_disk));
            }
            Ok(reply) => {
                tracing::debug!(
                    member = node,
                    reason = reply.reason,
                    "a small chunk was not taken"
                );
                exchange.end();
                slowest = None;
            }
            Err(error) => {
                tracing::debug!(member = node, %error, "a small chunk's connection ended");
                slowest = None;
            }
        }
    }
    slowest
}
