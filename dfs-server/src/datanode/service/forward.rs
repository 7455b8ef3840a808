//! Passing a chunk on to another member while it arrives, on a framed connection where one is ready. Each member has a bounded queue; one that is dead or
//! slow fails alone, with its reason, and the others go on.

use super::Shared;
use dfs_client::channel::{Frozen, Peer};
use dfs_client::observe::request;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_proto::v1::{MemberFailure, Node, PutBegin, PutReply, PutRequest, put_request::Part};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// Groups (of 1 MiB) on their way to one member: as many as fit a chunk, so that one that lags a little does
/// not slow the sender.
const QUEUE: usize = 8;
/// A member that answers pings but takes nothing, or does not answer after the end, for so long has failed: its
/// disk does not do its work. Below the sender's own limit for the whole chunk.
const STALL: Duration = Duration::from_secs(12);

tokio::task_local! {
    /// The id of the request that the present task serves; it goes on to the members.
    pub static REQUEST: String;
}

/// One member that receives the chunk through us.
pub struct Forward {
    node: u32,
    feed: Option<mpsc::Sender<Part>>,
    call: JoinHandle<Result<(), MemberFailure>>,
    stalled: bool,
}

impl Forward {
    /// Begins to forward to `member`. Whatever fails is told by `finish`.
    pub fn begin(shared: &Shared, member: &Node, begin: PutBegin) -> Forward {
        let node = member.id;
        let failed = move |reason: String, full: bool| MemberFailure {
            node,
            reason,
            full,
            silent: false,
        };
        let (feed, parts) = mpsc::channel(QUEUE);
        let id = REQUEST.try_with(String::clone).unwrap_or_default();
        let connected = shared.member(&member.address);
        let forwarders = shared.forwarders.clone();
        let call = tokio::spawn(async move {
            let (peer, client) = connected.map_err(|reason| failed(reason, false))?;
            if peer.is_suspected() {
                return Err(silent(node));
            }
            if !peer.is_healthy() {
                return Err(failed(
                    "it failed a moment ago and is left alone for a while".into(),
                    false,
                ));
            }
            let _load = peer.begin();
            let turn = forwarders.try_acquire();
            let exchange = turn
                .as_ref()
                .ok()
                .and_then(|_| peer.streaming(&Handle::current()));
            let answer = match exchange {
                Some(exchange) => {
                    let parts = blocking(parts);
                    peer.stream(exchange, id, begin, parts, STALL).await
                }
                None => over_grpc(&peer, client, &id, begin, parts).await,
            };
            match answer.map_err(|_| silent(node))? {
                Ok(_) => {
                    peer.succeeded();
                    Ok(())
                }
                Err(status) => {
                    if matches!(
                        status.code(),
                        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown
                    ) {
                        peer.failed();
                    }
                    Err(failed(
                        status.message().to_string(),
                        status.code() == Code::ResourceExhausted,
                    ))
                }
            }
        });
        Forward {
            node,
            feed: Some(feed),
            call,
            stalled: false,
        }
    }

    /// Passes a part on; a member that has failed is passed over.
    pub async fn send(&mut self, part: Part) {
        let Some(feed) = &self.feed else { return };
        match tokio::time::timeout(STALL, feed.send(part)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.feed = None,
            Err(_) => {
                self.stalled = true;
                self.feed = None;
                self.call.abort();
            }
        }
    }

    /// Waits until the member has the chunk on its disk.
    pub async fn finish(mut self) -> Result<u32, MemberFailure> {
        let node = self.node;
        let failed = |reason: String| MemberFailure {
            node,
            reason,
            full: false,
            silent: false,
        };
        let stalled = || failed(format!("no progress in {} s", STALL.as_secs()));
        self.feed = None;
        match tokio::time::timeout(STALL, &mut self.call).await {
            _ if self.stalled => Err(stalled()),
            Ok(Ok(answer)) => answer.map(|()| node),
            Ok(Err(e)) => Err(failed(format!("its task failed: {e}"))),
            Err(_) => Err(stalled()),
        }
    }
}

/// The parts as a thread takes them that may wait.
fn blocking(mut parts: mpsc::Receiver<Part>) -> impl Iterator<Item = Part> + Send {
    std::iter::from_fn(move || parts.blocking_recv())
}

/// For a member to which no framed connection is ready.
async fn over_grpc(
    peer: &Arc<Peer>,
    mut client: ChunksClient<Channel>,
    id: &str,
    begin: PutBegin,
    parts: mpsc::Receiver<Part>,
) -> Result<Result<PutReply, Status>, Frozen> {
    let begin = tokio_stream::once(Part::Begin(begin));
    let requests = begin
        .chain(ReceiverStream::new(parts))
        .map(|part| PutRequest { part: Some(part) });
    let put = peer.while_alive(client.put(request::with(requests, id)));
    Ok(put.await?.map(Response::into_inner))
}

fn silent(node: u32) -> MemberFailure {
    MemberFailure {
        node,
        reason: Frozen.to_string(),
        full: false,
        silent: true,
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.call.abort();
    }
}
