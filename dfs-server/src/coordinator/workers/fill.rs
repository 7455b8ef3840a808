//! Fills members that join: walks the chunks that their sets had, in order, with a durable cursor; each copy is made,
//! read back and compared before the cursor passes it. When everything is there the member that it replaces leaves.

use super::copier::{Copied, Copier};
use super::{pause, scan};
use crate::coordinator::executor::{Order, Status};
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::keys::{self, Key};
use dfs_core::rows::{Joining, PlanKind};
use dfs_core::view::{View, ViewError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const INTERVAL: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_millis(500);
/// Members filled at a time; the copies of all share the nodes' slots.
const FILLS: usize = 16;
/// Chunks between two steps of the cursor: what a crash does again.
const PAGE: usize = 32;

type Place = (SetId, NodeId);

pub async fn run(copier: Arc<Copier>) {
    let mut running: JoinSet<Place> = JoinSet::new();
    let mut busy: BTreeSet<Place> = BTreeSet::new();
    loop {
        tokio::select! {
            ended = running.join_next(), if !running.is_empty() => match ended {
                Some(Ok(place)) => drop(busy.remove(&place)),
                Some(Err(error)) => {
                    tracing::error!(%error, "a fill failed; it goes on from its cursor");
                    if running.is_empty() {
                        busy.clear();
                    }
                }
                None => {}
            },
            () = pause(if busy.is_empty() { IDLE } else { INTERVAL }) => {}
        }
        let Some(status) = copier.handle.status().await else {
            return;
        };
        let status = Arc::new(status);
        for (set, joining) in most_endangered_first(&status) {
            let place = (set, joining.node);
            let alive = status.nodes.get(&joining.node).is_some_and(|node| node.alive);
            if running.len() < FILLS && alive && busy.insert(place) {
                let (copier, status) = (copier.clone(), status.clone());
                running.spawn(async move {
                    page(&copier, &status, set, joining).await;
                    place
                });
            }
        }
    }
}

/// The members that join, those of sets with the fewest living holders first, levelling last.
pub fn most_endangered_first(status: &Status) -> Vec<(SetId, Joining)> {
    let alive = |node: &NodeId| status.nodes.get(node).is_some_and(|node| node.alive);
    let mut found = Vec::new();
    for (id, set) in &status.sets {
        let living = set.holders().filter(alive).count();
        for joining in &set.joining {
            let kind = status
                .plans
                .get(&joining.plan)
                .map_or(PlanKind::Rebalance, |plan| plan.kind);
            found.push(((living, kind, *id, joining.node), *joining));
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found
        .into_iter()
        .map(|((_, _, id, _), joining)| (id, joining))
        .collect()
}

/// One step of a fill.
async fn page(copier: &Arc<Copier>, status: &Arc<Status>, set: SetId, joining: Joining) {
    if !copier.caught_up(status).await {
        return;
    }
    let found = scan::blocking(&copier.handle.store, move |store| step(store, set, &joining));
    let (found, next) = match found.await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%error, set = set.0, "the chunks of a set cannot be read");
            return;
        }
    };
    let Some(epoch) = status.sets.get(&set).map(|row| row.epoch) else {
        return;
    };
    let Some((chunks, bytes)) = copy_all(copier, status, joining.node, &found).await else {
        return;
    };
    let node = joining.node;
    if joining.next < joining.until || !found.is_empty() {
        let advance = Order::Advance {
            set,
            node,
            epoch,
            next,
            chunks,
            bytes,
        };
        if !copier.order(advance).await {
            return;
        }
    }
    if next >= joining.until {
        finish(copier, set, node).await;
    }
}

/// The chunks of one step, and where the cursor is when they are seen to.
pub fn step(store: &dyn View, set: SetId, joining: &Joining) -> Result<(Vec<ChunkId>, u64), ViewError> {
    let key = |seq| keys::chunk(ChunkId { set, seq });
    let range = (key(joining.next), key(joining.until));
    let (found, _) = scan::rows(store, &range, PAGE, |key, _| match key {
        Key::Chunk(id) => Ok(Some(id)),
        _ => Ok(None),
    })?;
    let next = match found.last() {
        Some(last) if found.len() >= PAGE => last.seq + 1,
        _ => joining.until,
    };
    Ok((found, next))
}

/// Whether anything is noted as missing at the member.
pub fn lacks_any(store: &dyn View, set: SetId, node: NodeId) -> Result<bool, ViewError> {
    let range = keys::prefix::missing_in(set);
    let (lacks, _) = scan::rows(store, &range, 1, |key, _| match key {
        Key::Missing { node: lacking, .. } if lacking == node => Ok(Some(())),
        _ => Ok(None),
    })?;
    Ok(!lacks.is_empty())
}

/// Copies made and their bytes; what could not be copied is noted as missing, for repair. `None` when that was
/// not possible either.
async fn copy_all(
    copier: &Arc<Copier>,
    status: &Arc<Status>,
    node: NodeId,
    found: &[ChunkId],
) -> Option<(u64, u64)> {
    let mut running = JoinSet::new();
    for chunk in found {
        let (copier, status, chunk) = (copier.clone(), status.clone(), *chunk);
        running.spawn(async move {
            match copier.copy(&status, chunk, node).await {
                Copied::There(len) => Some((1, len)),
                Copied::Unneeded => Some((0, 0)),
                Copied::Failed => copier.note(chunk, node, true).await.then_some((0, 0)),
            }
        });
    }
    let mut sum = Some((0, 0));
    while let Some(ended) = running.join_next().await {
        let copied = ended.ok().flatten();
        sum = sum
            .zip(copied)
            .map(|(sum, copied)| (sum.0 + copied.0, sum.1 + copied.1));
    }
    sum
}

/// Ends the move when nothing is noted as missing at the member: only then may the one that it replaces go.
async fn finish(copier: &Copier, set: SetId, node: NodeId) {
    let Some(status) = copier.handle.status().await else {
        return;
    };
    if !copier.caught_up(&status).await {
        return;
    }
    let lacks = scan::blocking(&copier.handle.store, move |store| lacks_any(store, set, node));
    match lacks.await {
        Ok(false) => drop(copier.order(Order::Finish { set, node }).await),
        Ok(true) => tracing::debug!(set = set.0, %node, "the last copies wait for repair"),
        Err(error) => tracing::error!(%error, "the list of missing copies cannot be read"),
    }
}
