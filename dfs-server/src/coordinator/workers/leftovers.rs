//! Deletes what former members still hold of a set, under the leader's term, once the usual delay is over: by the
//! monotonic clock, from when this reign first saw that they are former. A copy stays while the chunk lacks so many
//! others that it may be the best source. It does not stay for one that is missing alone: a dead member lacks it for
//! ever, and the former one may be the only node that could replace it, once it has left. A node may join anew when the
//! delay is over once more and nothing was found there: a delete that was late on its way would take the new copies.

use super::copier::Copier;
use super::datanodes::DELETE_MAX;
use super::{pause, scan};
use crate::coordinator::executor::{Order, Status};
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::keys;
use dfs_core::rows::ChunkRow;
use dfs_core::types::Timestamp;
use dfs_core::view::{View, ViewError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);
/// A place that could not be cleared is looked at again after this.
const RETRY: Duration = Duration::from_secs(10);

pub type Place = (SetId, NodeId);
/// Since when each place that was left is let alone: since this reign first saw it, or last asked to delete there. With
/// the time in its row: one who leaves again waits again.
pub type Seen = BTreeMap<(Place, Timestamp), Instant>;

pub async fn run(copier: Arc<Copier>) {
    let mut put_off: BTreeMap<Place, Instant> = BTreeMap::new();
    let mut seen: Seen = Seen::new();
    loop {
        pause(INTERVAL).await;
        let Some(status) = copier.handle.status().await else {
            return;
        };
        put_off.retain(|_, until| *until > Instant::now());
        let settings = &copier.handle.settings;
        let delay = settings.gc_delay.max(settings.lease_term);
        for (set, node) in due(&status, &mut seen, (Instant::now(), delay)) {
            if put_off.contains_key(&(set, node)) {
                continue;
            }
            match clear(&copier, &status, set, node).await {
                Ok(Found::Nothing) => drop(copier.order(Order::Forget { set, node }).await),
                Ok(Found::Copies) => asked(&mut seen, (set, node), Instant::now()),
                Ok(Found::Unsure) => drop(put_off.insert((set, node), Instant::now() + RETRY)),
                Err(reason) => {
                    tracing::warn!(set = set.0, %node, reason, "what a former member holds stays for now");
                    asked(&mut seen, (set, node), Instant::now());
                }
            }
        }
    }
}

/// Former members that can be asked and whose delay is over.
pub fn due(status: &Status, seen: &mut Seen, (now, delay): (Instant, Duration)) -> Vec<Place> {
    let alive = |node: NodeId| status.nodes.get(&node).is_some_and(|node| node.alive);
    let places = status.sets.iter().flat_map(|(id, set)| {
        let former = set.former.iter();
        former.map(|former| ((*id, former.node), former.since))
    });
    *seen = places
        .map(|place| (place, seen.get(&place).copied().unwrap_or(now)))
        .collect();
    let ready = seen
        .iter()
        .filter(|((place, _), since)| now.duration_since(**since) >= delay && alive(place.1));
    ready.map(|((place, _), _)| *place).collect()
}

/// The node was asked to delete there: its delay begins anew.
pub fn asked(seen: &mut Seen, asked: Place, now: Instant) {
    for (_, since) in seen.iter_mut().filter(|((place, _), _)| *place == asked) {
        *since = now;
    }
}

/// What a look at a former member found.
enum Found {
    Nothing,
    Copies,
    /// It could not be looked.
    Unsure,
}

/// Deletes what is not needed there.
async fn clear(copier: &Copier, status: &Status, set: SetId, node: NodeId) -> Result<Found, String> {
    let Some(figures) = status.nodes.get(&node) else {
        return Ok(Found::Unsure);
    };
    if !copier.caught_up(status).await {
        return Ok(Found::Unsure);
    }
    let address = &figures.row.address;
    let mut after = ChunkId { set, seq: 0 };
    let mut found = Found::Nothing;
    let (mut kept, mut deleted) = (0, 0);
    loop {
        let held = copier.datanodes.list_of(address, after, DELETE_MAX as u32).await;
        let held = held.map_err(|status| status.to_string())?;
        let Some(last) = held.last().copied() else {
            break;
        };
        (after, found) = (last, Found::Copies);
        let count = held.len();
        let living = living(status, set);
        let enough = copier.handle.settings.min_replicas;
        let sure = scan::blocking(&copier.handle.store, move |store| {
            unneeded(store, held, &living, enough)
        });
        let sure = sure.await;
        let sure = sure.map_err(|error| error.to_string())?;
        let failures = copier.datanodes.delete(address, &sure).await;
        let failures = failures.map_err(|status| status.to_string())?;
        let gone = sure.len() - failures.len().min(sure.len());
        deleted += gone;
        kept += count - gone;
    }
    tracing::info!(set = set.0, %node, deleted, kept, "a former member's copies were looked at");
    Ok(found)
}

/// The living nodes that have all of the set that is not noted as missing there.
pub fn living(status: &Status, set: SetId) -> Vec<NodeId> {
    let alive = |node: &NodeId| status.nodes.get(node).is_some_and(|node| node.alive);
    let holders = status
        .sets
        .get(&set)
        .map(|row| row.holders().filter(alive).collect());
    holders.unwrap_or_default()
}

/// The chunks that lack no copy, or of which `enough` of the set's living holders have one.
pub fn unneeded(
    store: &dyn View,
    held: Vec<ChunkId>,
    living: &[NodeId],
    enough: usize,
) -> Result<Vec<ChunkId>, ViewError> {
    let mut sure = Vec::with_capacity(held.len());
    for id in held {
        let key = keys::chunk(id);
        let row = store
            .get(&key)?
            .map(|value| ChunkRow::decode(&key, &value))
            .transpose()?;
        if row.is_none_or(|row| row.missing == 0) || copies(store, id, living)? >= enough {
            sure.push(id);
        }
    }
    Ok(sure)
}

fn copies(store: &dyn View, id: ChunkId, living: &[NodeId]) -> Result<usize, ViewError> {
    let mut copies = 0;
    for node in living {
        copies += usize::from(store.get(&keys::missing(id, *node))?.is_none());
    }
    Ok(copies)
}
