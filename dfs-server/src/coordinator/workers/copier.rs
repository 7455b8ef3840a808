//! Makes a copy of a chunk at a node from whoever has a good one, reads it back, and says what came of it. Repair and
//! moves share it, so that no node has more than its part of the work at a time.

use super::datanodes::{Copy, Datanodes};
use super::scan;
use crate::coordinator::Handle;
use crate::coordinator::executor::{Event, Order, Status};
use dfs_core::ids::{ChunkId, NodeId};
use dfs_core::keys::{self, Key};
use dfs_core::op::Op;
use dfs_core::rows::{ChunkRow, NodeState, SetRow};
use dfs_core::view::{View, ViewError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Chunks that one node receives at a time, and that it gives at a time: enough to keep disk and network busy, few
/// enough to leave most of both to clients. Bytes per second are limited by the datanodes themselves.
const SLOTS: usize = 3;
/// How long the store may lag behind the log before a round is put off.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What came of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// It is there and was read back: its length.
    There(u64),
    /// Nobody refers to the chunk any more.
    Unneeded,
    /// It is not there; it can be tried again.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Gives,
    Takes,
}

pub struct Copier {
    pub handle: Handle,
    pub datanodes: Datanodes,
    slots: Mutex<BTreeMap<(NodeId, Side), Arc<Semaphore>>>,
}

impl Copier {
    pub fn new(handle: Handle) -> Copier {
        Copier {
            datanodes: Datanodes::new(&handle),
            handle,
            slots: Mutex::default(),
        }
    }

    /// Has a good copy of the chunk made at `node`.
    pub async fn copy(&self, status: &Status, chunk: ChunkId, node: NodeId) -> Copied {
        let row = match self.row(chunk).await {
            Ok(Some(row)) => row,
            Ok(None) => return Copied::Unneeded,
            Err(error) => {
                tracing::error!(%chunk, %error, "a chunk's row cannot be read");
                return Copied::Failed;
            }
        };
        let (Some(set), Some(target)) = (status.sets.get(&chunk.set), status.nodes.get(&node)) else {
            return Copied::Failed;
        };
        if !target.alive {
            return Copied::Failed;
        }
        let Ok(lacking) = self.lacking(chunk).await else {
            return Copied::Failed;
        };
        let _taking = self.slot(node, Side::Takes).await;
        if self.has_good(&target.row.address, chunk, &row).await {
            return Copied::There(u64::from(row.len));
        }
        for source in sources(status, set, (chunk, node), &lacking, |node| self.busy(node)) {
            let Some(from) = status.nodes.get(&source) else {
                continue;
            };
            let giving = self.slot(source, Side::Gives).await;
            let pulled = self
                .datanodes
                .pull(&target.row.address, chunk, (source, &from.row.address))
                .await;
            drop(giving);
            match pulled {
                Ok(sha256)
                    if sha256 == row.sha256 && self.has_good(&target.row.address, chunk, &row).await =>
                {
                    tracing::debug!(%chunk, %node, from = %source, "a copy was made");
                    self.count(row.len);
                    return Copied::There(u64::from(row.len));
                }
                Ok(_) => tracing::error!(%chunk, %node, from = %source, "the copy that arrived is another"),
                Err(error) => {
                    tracing::warn!(%chunk, %node, from = %source, %error, "a copy was not made");
                    self.doubt(&from.row.address, chunk, source, &row).await;
                }
            }
        }
        Copied::Failed
    }

    /// A copy was made and read back.
    fn count(&self, bytes: u32) {
        let metrics = &self.handle.settings.observer.metrics;
        let help = "Copies of chunks made by repairs and moves";
        metrics.counter("dfs_coordinator_copied_chunks_total", help).inc();
        let help = "Content of the copies made by repairs and moves";
        metrics
            .counter("dfs_coordinator_copied_bytes_total", help)
            .add(u64::from(bytes));
    }

    /// The node reads its copy from its disk, and it is what the metadata says.
    async fn has_good(&self, address: &str, chunk: ChunkId, row: &ChunkRow) -> bool {
        matches!(self.datanodes.verify(address, chunk).await, Ok(Copy::Good(sha256)) if sha256 == row.sha256)
    }

    /// A source that gave nothing is asked for its copy; one that is bad is noted, so that it is replaced too.
    async fn doubt(&self, address: &str, chunk: ChunkId, node: NodeId, row: &ChunkRow) {
        let bad = match self.datanodes.verify(address, chunk).await {
            Ok(Copy::Good(sha256)) => sha256 != row.sha256,
            Ok(Copy::Missing | Copy::Corrupt) => true,
            Ok(Copy::Unknown) | Err(_) => false,
        };
        if bad && !self.note(chunk, node, true).await {
            tracing::warn!(%chunk, %node, "a bad copy could not be noted; it is found again");
        }
    }

    /// Notes that the node lacks the chunk, or has it: whether that is durable.
    pub async fn note(&self, chunk: ChunkId, node: NodeId, missing: bool) -> bool {
        let op = Op::SetMissing { chunk, node, missing };
        self.handle.own(op).await.is_ok()
    }

    /// How many of its slots for giving the node uses.
    fn busy(&self, node: NodeId) -> usize {
        let slots = self.slots.lock();
        let free = slots
            .get(&(node, Side::Gives))
            .map_or(SLOTS, |slots| slots.available_permits());
        SLOTS - free.min(SLOTS)
    }

    async fn slot(&self, node: NodeId, side: Side) -> Option<OwnedSemaphorePermit> {
        let slots = self
            .slots
            .lock()
            .entry((node, side))
            .or_insert_with(|| Arc::new(Semaphore::new(SLOTS)))
            .clone();
        slots.acquire_owned().await.ok()
    }

    pub async fn row(&self, chunk: ChunkId) -> Result<Option<ChunkRow>, ViewError> {
        scan::blocking(&self.handle.store, move |store| {
            let key = keys::chunk(chunk);
            store
                .get(&key)?
                .map(|value| ChunkRow::decode(&key, &value))
                .transpose()
        })
        .await
    }

    async fn lacking(&self, chunk: ChunkId) -> Result<BTreeSet<NodeId>, ViewError> {
        scan::blocking(&self.handle.store, move |store| lacking(store, chunk)).await
    }

    /// Gives an order; a refusal is logged and is for the next round to think about.
    pub async fn order(&self, order: Order) -> bool {
        match self.handle.order(order.clone()).await {
            Ok(()) => true,
            Err(reason) => {
                tracing::info!(?order, reason, "an order does not fit any more");
                false
            }
        }
    }

    /// Waits until the store has all that `status` tells of: what is read from it then is not older.
    pub async fn caught_up(&self, status: &Status) -> bool {
        let wanted = status.latest;
        let deadline = tokio::time::Instant::now() + CATCH_UP;
        loop {
            let applied = scan::blocking(&self.handle.store, |store| {
                store
                    .applied()
                    .map_err(|error| ViewError::Store(error.to_string()))
            });
            match applied.await {
                Ok(applied) if applied >= wanted => return true,
                Ok(_) if tokio::time::Instant::now() < deadline => {
                    super::pause(Duration::from_millis(5)).await
                }
                Ok(_) => return false,
                Err(error) => {
                    tracing::error!(%error, "the state cannot be read");
                    return false;
                }
            }
        }
    }
}

/// The members that are noted to lack the chunk.
pub fn lacking(store: &dyn View, chunk: ChunkId) -> Result<BTreeSet<NodeId>, ViewError> {
    let range = keys::prefix::missing_of(chunk);
    let (found, _) = scan::rows(store, &range, usize::MAX, |key, _| match key {
        Key::Missing { node, .. } => Ok(Some(node)),
        _ => Ok(None),
    })?;
    Ok(found.into_iter().collect())
}

/// Who may have a good copy for the target: members that have everything first, then those that are being filled,
/// then those of before; the least busy first in each part.
pub fn sources(
    status: &Status,
    set: &SetRow,
    (chunk, target): (ChunkId, NodeId),
    lacking: &BTreeSet<NodeId>,
    busy: impl Fn(NodeId) -> usize,
) -> Vec<NodeId> {
    let former = set.former.iter().map(|former| former.node);
    let all = set.members.iter().copied().chain(former);
    let speaks = |node: &NodeId| {
        let known = status.nodes.get(node);
        known.is_some_and(|known| known.alive && known.row.state != NodeState::Removed)
    };
    let mut sources: Vec<NodeId> = all
        .filter(|node| *node != target && !lacking.contains(node) && speaks(node))
        .collect();
    sources.sort_by_cached_key(|node| {
        let rank = match (set.members.contains(node), set.is_joining(*node)) {
            (true, false) => 0,
            (true, true) => 1,
            (false, _) => 2,
        };
        (rank, busy(*node), (chunk.seq.wrapping_add(u64::from(node.0))) % 7)
    });
    sources
}

impl Handle {
    /// An order about nodes or moves: durable when this returns, or the reason why it does not fit.
    pub async fn order(&self, order: Order) -> Result<(), String> {
        let stopping = || "the coordinator is stopping; try again".to_owned();
        let (answer, answered) = oneshot::channel();
        let sent = self.inbox.send(Event::Order(order, answer)).await;
        sent.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}
