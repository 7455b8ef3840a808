//! Sums over all chunks: what each set holds, which chunks have too few good copies. The planner asks for it.

use super::copier::Copier;
use super::scan;
use crate::coordinator::care::Survey;
use crate::coordinator::executor::Status;
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::keys::{self, Key};
use dfs_core::rows::{ChunkRow, NodeState, SetRow};
use dfs_core::view::{View, ViewError};
use std::collections::{BTreeMap, BTreeSet};

/// Rows read in one go; the store is asked again after each, so that no long snapshot is held.
const PAGE: usize = 16_384;

/// What must be known of sets and nodes to judge a chunk.
pub struct Known {
    sets: BTreeMap<SetId, SetRow>,
    dead: BTreeSet<NodeId>,
}

impl Known {
    pub fn of(status: &Status) -> Known {
        let gone = |state: NodeState| matches!(state, NodeState::Dead | NodeState::Removed);
        let dead = status.nodes.iter().filter(|(_, node)| gone(node.row.state));
        Known {
            sets: status.sets.clone(),
            dead: dead.map(|(id, _)| *id).collect(),
        }
    }
}

pub async fn survey(copier: &Copier, status: &Status) {
    let known = Known::of(status);
    match scan::blocking(&copier.handle.store, move |store| look(store, &known)).await {
        Ok(found) => copier.handle.care.set_survey(found),
        Err(error) => tracing::error!(%error, "the chunks could not be summed up"),
    }
}

pub fn look(store: &dyn View, known: &Known) -> Result<Survey, ViewError> {
    let mut found = Survey::default();
    let mut range = keys::prefix::chunks();
    loop {
        let (page, next) = scan::rows(store, &range, PAGE, |key, value| match key {
            Key::Chunk(id) => ChunkRow::decode(&keys::chunk(id), value).map(|row| Some((id, row))),
            _ => Ok(None),
        })?;
        for (id, row) in page {
            let figures = found.sets.entry(id.set).or_default();
            figures.chunks += 1;
            figures.bytes += u64::from(row.len);
            judge(store, known, id, &row, &mut found)?;
        }
        match next {
            Some(next) => range.0 = next,
            None => return Ok(found),
        }
    }
}

/// Counts a chunk that lacks copies at members that should have it.
fn judge(
    store: &dyn View,
    known: &Known,
    id: ChunkId,
    row: &ChunkRow,
    found: &mut Survey,
) -> Result<(), ViewError> {
    let Some(set) = known.sets.get(&id.set) else {
        return Ok(());
    };
    let dead = |node: &NodeId| known.dead.contains(node);
    if row.missing == 0 && !set.members.iter().any(dead) {
        return Ok(());
    }
    let noted = match row.missing {
        0 => BTreeSet::new(),
        _ => {
            let range = keys::prefix::missing_of(id);
            let noted = scan::rows(store, &range, usize::MAX, |key, _| match key {
                Key::Missing { node, .. } => Ok(Some(node)),
                _ => Ok(None),
            })?;
            noted.0.into_iter().collect::<BTreeSet<NodeId>>()
        }
    };
    let has = |node: &NodeId| {
        let filled = set
            .joining
            .iter()
            .all(|joining| joining.node != *node || id.seq < joining.next);
        !dead(node) && !noted.contains(node) && filled
    };
    let good = set.members.iter().filter(|node| has(node)).count();
    // What moves counts once: the one that joins or the one that leaves.
    let wanted = set.members.len()
        - set
            .joining
            .iter()
            .filter(|joining| joining.replaces.is_some())
            .count();
    for node in set.writers().filter(|node| noted.contains(node)) {
        *found.lacking.entry(node).or_default() += 1;
    }
    found.degraded += u64::from(good < wanted);
    found.lost += u64::from(good == 0);
    Ok(())
}
