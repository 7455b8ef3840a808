//! The chunk service: thin edges that check a request, do it and answer; one file per operation. Clients, other
//! datanodes and the coordinator call it over gRPC. It knows stores only by their trait.

mod bad;
mod compose;
mod delete;
mod figures;
mod forward;
mod framed;
mod framed_pages;
mod framed_put;
mod framed_stream;
mod front;
mod get;
mod list;
mod pull;
mod put;
mod sink;
mod spread;
mod status;
#[cfg(test)]
mod tests;
mod transfers;
mod verify;

use super::buffers::Buffers;
use super::farewell::Farewell;
use super::membership::Membership;
use super::store::{ChunkStore, Usage};
use super::throttle::Throttle;
use crate::config::Fatal;
use dfs_client::channel::Pool;
use dfs_client::observe::{Metrics, request};
use dfs_proto::v1::chunks_server::{Chunks, ChunksServer};
use dfs_proto::v1::{self, chunks_client::ChunksClient};
use figures::Figures;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use transfers::Transfers;

/// Largest message either way; groups of blocks are 1 MiB.
pub const MESSAGE_MAX: usize = 4 << 20;
/// Silence after which a streaming session is over.
const SILENCE: Duration = Duration::from_secs(60);
/// Blocks of one message of a reader's stream: 1 MiB.
const GROUP_BLOCKS: u32 = 16;
/// A request that took so long is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);
/// Disk reads, checks and deletes at one time; more only queue in the disk.
const DISK_JOBS: usize = 64;
/// Threads that forward at one time. Together with those that write to the disk, one for each transfer, fewer than the
/// runtime has: else nodes could wait for one another's threads.
const FORWARDERS: usize = 128;

/// The service's state, shared by all requests.
#[derive(Clone)]
pub struct ChunkService(Arc<Shared>);

struct Shared {
    store: Arc<dyn ChunkStore>,
    membership: Arc<Membership>,
    transfers: Transfers,
    /// Connections to other members.
    members: Pool,
    /// For what is received on framed connections.
    buffers: Arc<Buffers>,
    /// Who may forward with a thread.
    forwarders: Arc<Semaphore>,
    figures: Figures,
    farewell: Farewell,
    disk: Arc<Semaphore>,
    told: bad::Told,
    /// Repairs that bring chunks here, and that read chunks from here.
    repairs_in: Throttle,
    repairs_out: Throttle,
}

impl ChunkService {
    /// `repair_bandwidth` in bytes per second, for each direction; 0 is no limit.
    pub fn new(
        store: Arc<dyn ChunkStore>,
        membership: Arc<Membership>,
        metrics: &Metrics,
        repair_bandwidth: u64,
    ) -> ChunkService {
        let disk = Arc::new(Semaphore::new(DISK_JOBS));
        let (transfers, members) = (Transfers::default(), Pool::default());
        let figures = Figures::new(metrics, &store, &transfers);
        ChunkService(Arc::new(Shared {
            store,
            membership,
            transfers,
            members,
            buffers: Arc::default(),
            forwarders: Arc::new(Semaphore::new(FORWARDERS)),
            figures,
            farewell: Farewell::default(),
            disk,
            told: bad::Told::default(),
            repairs_in: Throttle::new(repair_bandwidth),
            repairs_out: Throttle::new(repair_bandwidth),
        }))
    }

    pub fn usage(&self) -> Usage {
        self.0.store.usage()
    }

    pub fn problem(&self) -> Option<String> {
        self.0.store.problem()
    }

    /// How often the store waited for its disk since the start.
    pub fn syncs(&self) -> u64 {
        self.0.store.syncs()
    }

    /// Transfers under way.
    pub fn load(&self) -> u32 {
        self.0.transfers.count()
    }

    pub fn farewell(&self) -> Farewell {
        self.0.farewell.clone()
    }

    pub fn membership(&self) -> Arc<Membership> {
        self.0.membership.clone()
    }
}

impl Shared {
    /// Does something that waits for the disk, on a thread that may.
    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        deed: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let permit = self
            .disk
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Status::unavailable("shutting down"))?;
        let shared = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            deed(&shared)
        });
        done.await
            .map_err(|e| Status::internal(format!("a disk thread failed: {e}")))
    }

    /// A client of another member.
    fn member(
        &self,
        address: &str,
    ) -> Result<(Arc<dfs_client::channel::Peer>, ChunksClient<Channel>), String> {
        let peer = self
            .members
            .peer(address)
            .map_err(|e| format!("{address:?} is no host:port: {e}"))?;
        let client = ChunksClient::new(peer.channel());
        Ok((
            peer,
            client
                .max_decoding_message_size(MESSAGE_MAX)
                .max_encoding_message_size(MESSAGE_MAX),
        ))
    }
}

/// Serves until `stop` ends and the transfers under way are done.
pub async fn serve(
    service: ChunkService,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Fatal> {
    let incoming = front::open(&service.0, listener);
    let chunks = ChunksServer::new(service)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let served = crate::transport::server()
        .add_service(chunks)
        .serve_with_incoming_shutdown(incoming, stop);
    served.await.map_err(|e| Fatal::io("the chunk service failed", e))
}

/// A request as figures and logs know it: when it began, who asks, and the id that it carries.
struct Noted {
    begun: Instant,
    peer: Option<std::net::SocketAddr>,
    id: String,
}

impl Noted {
    fn begin<T>(request: &Request<T>) -> Noted {
        Noted {
            begun: Instant::now(),
            peer: request.remote_addr(),
            id: request::of(request).to_owned(),
        }
    }

    /// Counts and logs how it ended.
    fn end<T>(self, shared: &Shared, operation: &str, result: Result<T, Status>) -> Result<T, Status> {
        shared.figures.request(operation, self.begun, result.is_err());
        told_time(operation, self.peer, &self.id, self.begun);
        logged(operation, self.peer, result)
    }
}

/// Logs how long a request took.
fn told_time(operation: &str, peer: Option<std::net::SocketAddr>, id: &str, begun: Instant) {
    let time = begun.elapsed();
    let ms = time.as_millis() as u64;
    if time >= SLOW {
        tracing::warn!(operation, request = id, ?peer, ms, "a slow request");
    } else if !id.is_empty() {
        tracing::debug!(operation, request = id, ?peer, ms, "done");
    }
}

/// Logs what was refused or failed, once, here; what is a normal answer is not logged.
fn logged<T>(
    operation: &str,
    peer: Option<std::net::SocketAddr>,
    result: Result<T, Status>,
) -> Result<T, Status> {
    use tonic::Code::{DataLoss, FailedPrecondition, Internal, InvalidArgument};
    if let Err(status) = &result {
        let (code, reason) = (status.code(), status.message());
        match code {
            InvalidArgument | FailedPrecondition => {
                tracing::warn!(operation, ?peer, ?code, reason, "refused")
            }
            Internal | DataLoss => tracing::error!(operation, ?peer, ?code, reason, "failed"),
            _ => tracing::debug!(operation, ?peer, ?code, reason, "not done"),
        }
    }
    result
}

type Sent<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Chunks for ChunkService {
    async fn put(
        &self,
        request: Request<Streaming<v1::PutRequest>>,
    ) -> Result<Response<v1::PutReply>, Status> {
        let noted = Noted::begin(&request);
        let put = put::put(&self.0, request.into_inner());
        let done = forward::REQUEST.scope(noted.id.clone(), put).await;
        noted.end(&self.0, "put", done).map(Response::new)
    }

    type GetStream = Sent<v1::BlockGroup>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let noted = Noted::begin(&request);
        let opened = get::get(&self.0, request.into_inner()).await;
        noted.end(&self.0, "get", opened).map(Response::new)
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteReply>, Status> {
        let noted = Noted::begin(&request);
        let done = delete::delete(&self.0, request.into_inner()).await;
        noted.end(&self.0, "delete", done).map(Response::new)
    }

    type VerifyStream = Sent<v1::VerifyReply>;

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let noted = Noted::begin(&request);
        let opened = verify::verify(&self.0, request.into_inner());
        noted.end(&self.0, "verify", opened).map(Response::new)
    }

    async fn pull(&self, request: Request<v1::PullRequest>) -> Result<Response<v1::PullReply>, Status> {
        let noted = Noted::begin(&request);
        let done = pull::pull(&self.0, request.into_inner()).await;
        noted.end(&self.0, "pull", done).map(Response::new)
    }

    type ListStream = Sent<v1::ListReply>;

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let noted = Noted::begin(&request);
        let opened = list::list(&self.0, request.into_inner());
        noted.end(&self.0, "list", opened).map(Response::new)
    }

    async fn ping(&self, _: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        Ok(Response::new(v1::PingReply {}))
    }

    async fn compose(
        &self,
        request: Request<v1::ComposeRequest>,
    ) -> Result<Response<v1::ComposeReply>, Status> {
        let noted = Noted::begin(&request);
        let done = compose::run(&self.0, request.into_inner()).await;
        noted.end(&self.0, "compose", done).map(Response::new)
    }
}
