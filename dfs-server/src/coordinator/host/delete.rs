//! The end of a volume: its chunks are deleted at every datanode that it knows, under its last term, before its log
//! and its place in the list go. Called by `live` while this coordinator leads the volume and serves nobody in it.

use super::super::Settings;
use super::super::state::Store;
use dfs_client::channel::Pool;
use dfs_core::ids::{ChunkId, NodeId, SetId, Term, VolumeId};
use dfs_core::keys::{self, Key};
use dfs_core::rows::{NodeRow, NodeState};
use dfs_core::view::View;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_proto::v1::{DeleteRequest, ListRequest};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use tonic::Status;

/// A node that does not answer within this is tried again later.
const DEADLINE: Duration = Duration::from_secs(30);
/// Chunks of one request.
const PART: u32 = 512;
/// Pause before nodes that failed are tried again. A node that is gone for good must be removed by the operator.
const RETRY: Duration = Duration::from_secs(5);

/// Returns when every datanode of the volume has confirmed that it has no chunk of it.
pub async fn chunks(settings: &Settings, store: &Store, term: Term) {
    let pool = Pool::default();
    let mut left = nodes(store);
    while !left.is_empty() {
        let mut failed = Vec::new();
        for (id, address) in left {
            if let Err(status) = clear(&pool, settings, &address, term).await {
                tracing::warn!(node = %id, address, %status, volume = settings.volume,
                    "chunks of a deleted volume are still there; trying again");
                failed.push((id, address));
            }
        }
        left = failed;
        if !left.is_empty() {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// The datanodes that may hold something. A node whose row cannot be read is reported and passed over.
fn nodes(store: &Store) -> Vec<(NodeId, String)> {
    let (start, end) = keys::prefix::nodes();
    let mut found = Vec::new();
    let scanned = store.scan(&start, &end, &mut |key, value| {
        if let Some(Key::Node(id)) = keys::parse(key) {
            match NodeRow::decode(key, value) {
                Ok(row) if row.state == NodeState::Removed => {}
                Ok(row) => found.push((id, row.address)),
                Err(error) => tracing::error!(%error, node = %id, "a datanode's row is damaged"),
            }
        }
        ControlFlow::Continue(())
    });
    if let Err(error) = scanned {
        tracing::error!(%error, "the datanodes of a deleted volume cannot be read");
    }
    found
}

/// Deletes the volume's chunks at one node, part by part, until none is listed.
async fn clear(pool: &Pool, settings: &Settings, address: &str, term: Term) -> Result<(), Status> {
    let peer = pool
        .peer(address)
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut client = ChunksClient::new(peer.channel());
    let cluster = settings.cluster.as_bytes().to_vec();
    let (after, until) = bounds(settings.number);
    loop {
        let request = ListRequest {
            cluster: cluster.clone(),
            after: after.map(Into::into),
            until: until.map(Into::into),
            limit: PART,
            brief: true,
        };
        let mut chunks = Vec::new();
        let mut stream = within(client.list(request)).await?.into_inner();
        while let Some(reply) = within(stream.message()).await? {
            chunks.extend(reply.chunks.into_iter().filter_map(|held| held.id));
        }
        if chunks.is_empty() {
            return Ok(());
        }
        let request = DeleteRequest {
            cluster: cluster.clone(),
            term: term.0,
            chunks,
        };
        let reply = within(client.delete(request)).await?.into_inner();
        if let Some(failure) = reply.failures.first() {
            return Err(Status::internal(failure.reason.clone()));
        }
    }
}

/// Before the volume's first chunk, and after its last; `None` is the end of all.
fn bounds(volume: VolumeId) -> (Option<ChunkId>, Option<ChunkId>) {
    let edge = |volume: VolumeId| ChunkId {
        set: SetId::new(volume, 0),
        seq: 0,
    };
    let after = (volume.0 > 0).then(|| edge(volume));
    (after, volume.0.checked_add(1).map(|next| edge(VolumeId(next))))
}

async fn within<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the datanode did not answer")))
}

/// Removes what this coordinator has of a volume that is gone: state, checkpoints, log.
pub fn remove_local(dir: &Path, volume: VolumeId) -> std::io::Result<()> {
    if volume != VolumeId(0) {
        return ignore_absent(std::fs::remove_dir_all(dir));
    }
    // Number 0 shares its directory with the coordinator itself.
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "state" || name == "log" {
            ignore_absent(std::fs::remove_dir_all(entry.path()))?;
        } else if name.starts_with("checkpoint-") {
            ignore_absent(std::fs::remove_file(entry.path()))?;
        }
    }
    Ok(())
}

fn ignore_absent(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
