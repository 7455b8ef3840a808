//! The data half of `dfs fsck`: every member reads and verifies every copy that it should have.

use super::rows::{Metadata, still_used};
use crate::channel::{MESSAGE_MAX, connect_lazy};
use crate::commands::{Admin, Failure, place};
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_proto::v1;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_proto::v1::verify_reply::State;
use std::collections::{BTreeMap, HashMap};

/// Chunks per request: at most 2 GiB for a datanode to read between two messages to us.
pub(super) const BATCH: usize = 256;

/// A copy that is not what the metadata says.
pub(super) struct BadCopy {
    pub chunk: ChunkId,
    pub node: NodeId,
    pub reason: String,
}

#[derive(Default)]
pub(super) struct Copies {
    pub verified: u64,
    pub awaiting_repair: u64,
    pub good: HashMap<ChunkId, usize>,
    pub bad: Vec<BadCopy>,
    /// Members that could not be asked, and why.
    pub unreachable: Vec<String>,
}

/// Has every copy verified.
pub(super) async fn verify(
    admin: &mut Admin,
    status: &v1::StatusReply,
    metadata: &Metadata,
) -> Result<Copies, Failure> {
    let mut copies = Copies::default();
    for (node, chunks) in by_member(status, metadata, &mut copies) {
        let known = status.nodes.iter().filter_map(|status| status.node.as_ref());
        let Some(known) = known.into_iter().find(|known| known.id == node.0) else {
            copies.unreachable.push(format!("node {node} is not known"));
            continue;
        };
        eprintln!("node {}: {} copies", place(known), chunks.len());
        for batch in chunks.chunks(BATCH) {
            if let Err(error) = verify_batch(known, &status.cluster, batch, metadata, &mut copies).await {
                copies
                    .unreachable
                    .push(format!("node {}: {}", place(known), error.message()));
                break;
            }
        }
    }
    let mut bad = Vec::new();
    for copy in std::mem::take(&mut copies.bad) {
        if still_used(admin, copy.chunk).await? {
            bad.push(copy);
        }
    }
    copies.bad = bad;
    Ok(copies)
}

fn by_member(
    status: &v1::StatusReply,
    metadata: &Metadata,
    copies: &mut Copies,
) -> BTreeMap<NodeId, Vec<ChunkId>> {
    let sets: HashMap<SetId, &v1::ReplicaSet> = status.sets.iter().map(|set| (SetId(set.id), set)).collect();
    let mut by_member: BTreeMap<NodeId, Vec<ChunkId>> = BTreeMap::new();
    for id in metadata.chunks.keys() {
        let Some(set) = sets.get(&id.set) else {
            copies
                .unreachable
                .push(format!("chunk {id}: its replica set is not known"));
            continue;
        };
        // Those that join or leave need not have it.
        let full = set
            .members
            .iter()
            .filter(|node| !set.joining.contains(node) && !set.leaving.contains(node));
        for node in full.map(|node| NodeId(*node)) {
            if metadata.missing.contains(&(*id, node)) {
                copies.awaiting_repair += 1;
            } else {
                by_member.entry(node).or_default().push(*id);
            }
        }
    }
    by_member
}

async fn verify_batch(
    node: &v1::Node,
    cluster: &[u8],
    chunks: &[ChunkId],
    metadata: &Metadata,
    copies: &mut Copies,
) -> Result<(), tonic::Status> {
    let channel =
        connect_lazy(&node.address).map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let mut client = ChunksClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
    let request = v1::VerifyRequest {
        cluster: cluster.to_vec(),
        chunks: chunks.iter().map(|id| (*id).into()).collect(),
    };
    let mut replies = client.verify(request).await?.into_inner();
    let mut answered = 0;
    while let Some(reply) = replies.message().await? {
        let id = reply.chunk.and_then(|id| ChunkId::try_from(id).ok());
        let Some((id, row)) = id.and_then(|id| Some((id, metadata.chunks.get(&id)?))) else {
            continue;
        };
        answered += 1;
        copies.verified += 1;
        let reason = match reply.state() {
            State::Good if reply.len != row.len => {
                Some(format!("{} bytes instead of {}", reply.len, row.len))
            }
            State::Good if reply.sha256 != row.sha256 => Some("not the content that was written".to_string()),
            State::Good => None,
            State::Missing => Some("missing".to_string()),
            State::Corrupt => Some(format!("corrupt: {}", reply.reason)),
            State::Unreadable | State::Unspecified => Some(format!("unreadable: {}", reply.reason)),
        };
        match reason {
            Some(reason) => copies.bad.push(BadCopy {
                chunk: id,
                node: NodeId(node.id),
                reason,
            }),
            None => *copies.good.entry(id).or_default() += 1,
        }
    }
    if answered < chunks.len() {
        let message = format!("verified {answered} of {} copies", chunks.len());
        return Err(tonic::Status::internal(message));
    }
    Ok(())
}
