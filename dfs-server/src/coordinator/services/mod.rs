//! The coordinator's gRPC services: convert, tell the executor, convert back. They decide nothing.

mod admin;
mod cluster;
mod health;
mod inspect;
mod metadata;
mod nodes;
mod paths;
mod rows;
mod space;
mod volumes;

use super::host::Hosted;
use super::limits::MESSAGE_BYTES;
use crate::config::Fatal;
use dfs_proto::v1::admin_server::AdminServer;
use dfs_proto::v1::cluster_server::ClusterServer;
use dfs_proto::v1::metadata_server::MetadataServer;
use dfs_proto::v1::nodes_server::NodesServer;
use dfs_proto::v1::space_server::SpaceServer;
use dfs_proto::v1::volumes_server::VolumesServer;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::server::TcpIncoming;

/// Serves until `end` is dropped or fires.
pub async fn serve(hosted: Hosted, listener: TcpListener, end: oneshot::Receiver<()>) -> Result<(), Fatal> {
    let metadata = MetadataServer::new(metadata::Service::new(hosted.clone()))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX);
    let cluster = ClusterServer::new(cluster::Service::new(hosted.clone()));
    let admin = AdminServer::new(admin::Service::new(hosted.clone())).max_encoding_message_size(usize::MAX);
    let nodes = NodesServer::new(nodes::Service::new(hosted.clone()));
    let space = SpaceServer::new(space::Service::new(hosted.clone()));
    let volumes = VolumesServer::new(volumes::Service::new(hosted));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    crate::transport::server()
        .add_service(metadata)
        .add_service(cluster)
        .add_service(admin)
        .add_service(volumes)
        .add_service(nodes)
        .add_service(space)
        .serve_with_incoming_shutdown(incoming, async {
            // Dropped or sent: both mean the end.
            let _ = end.await;
        })
        .await
        .map_err(|error| Fatal::io("the coordinator's server failed", error))
}

/// The executor does not listen any more.
fn stopping() -> Status {
    Status::unavailable("the coordinator is stopping; try again")
}
