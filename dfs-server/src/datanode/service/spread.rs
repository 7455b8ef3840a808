//! A chunk on its way to this node's disk and to the other members at once. Put feeds one from the network,
//! compose from chunks that are here.

use super::Shared;
use super::forward::Forward;
use super::sink::Sink;
use dfs_proto::convert::chunk::Transfer;
use dfs_proto::v1::{BlockGroup, MemberFailure, PutBegin, PutEnd, put_request::Part};
use futures_util::future::join_all;
use std::sync::Arc;
use tonic::Status;

/// Dropped before `end`, nothing of the chunk remains on any member.
pub struct Spread {
    sink: Sink,
    forwards: Vec<Forward>,
}

/// Where the chunk is durable: this node is not named, it has it.
pub struct Spreading {
    pub on_disk: Vec<u32>,
    pub failures: Vec<MemberFailure>,
}

impl Spread {
    /// `own` is this node's number: it is not forwarded to.
    pub fn begin(shared: &Arc<Shared>, transfer: &Transfer, own: u32) -> Spread {
        let others = transfer.forward.iter().filter(|other| other.id != own);
        Spread {
            sink: Sink::begin(&shared.store, transfer.chunk, transfer.len, false),
            forwards: others
                .map(|other| Forward::begin(shared, other, onward(transfer)))
                .collect(),
        }
    }

    /// The next blocks. False when this node's store has given up: `failure` says why.
    pub async fn send(&mut self, group: BlockGroup) -> bool {
        let part = Part::Blocks(group.clone());
        let onward = join_all(self.forwards.iter_mut().map(|forward| forward.send(part.clone())));
        let (taken, _) = tokio::join!(self.sink.send(group), onward);
        taken
    }

    /// Why this node's store gave up.
    pub async fn failure(self) -> Status {
        let ended = self.sink.failure().await;
        ended
            .err()
            .unwrap_or_else(|| Status::internal("the store ended before the chunk"))
    }

    /// Waits until the chunk is durable here and the members have answered.
    pub async fn end(mut self, sha256: [u8; 32]) -> Result<Spreading, Status> {
        let end = Part::End(PutEnd {
            sha256: sha256.to_vec(),
        });
        let forwards = &mut self.forwards;
        let members = async {
            join_all(forwards.iter_mut().map(|forward| forward.send(end.clone()))).await;
            join_all(forwards.drain(..).map(Forward::finish)).await
        };
        let (stored, members) = tokio::join!(self.sink.finish(sha256), members);
        stored?;
        let mut spreading = Spreading {
            on_disk: Vec::new(),
            failures: Vec::new(),
        };
        for member in members {
            match member {
                Ok(node) => spreading.on_disk.push(node),
                Err(failure) => {
                    tracing::warn!(node = failure.node, reason = failure.reason, "a member failed");
                    spreading.failures.push(failure);
                }
            }
        }
        Ok(spreading)
    }
}

/// What a member is told: the same transfer, not to be passed on.
fn onward(transfer: &Transfer) -> PutBegin {
    PutBegin {
        transfer: transfer.transfer.to_vec(),
        cluster: transfer.cluster.to_vec(),
        chunk: Some(transfer.chunk.into()),
        len: transfer.len,
        term: transfer.term.0,
        propagate: false,
        others: Vec::new(),
    }
}
