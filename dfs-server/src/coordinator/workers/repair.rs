//! Restores copies that members lack, the most endangered first, each from whoever has a good one. What clients
//! and datanodes report is looked at first: a report alone changes nothing.

use super::copier::{Copied, Copier};
use super::datanodes::{Copy, Datanodes};
use super::{pause, scan};
use crate::coordinator::Handle;
use crate::coordinator::executor::Status;
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::keys::{self, Key};
use dfs_core::op::Op;
use dfs_core::rows::{ChunkRow, SetRow};
use dfs_core::view::{View, ViewError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const INTERVAL: Duration = Duration::from_secs(1);
/// Missing copies among which the most endangered are chosen.
const WINDOW: usize = 65_536;
/// Copies restored in one round, before others may be more endangered.
const ROUND: usize = 256;
/// A copy that could not be restored is tried again after this.
pub const RETRY: Duration = Duration::from_secs(10);
/// Most failures remembered; beyond it all are tried again.
const FAILURES_MAX: usize = 65_536;

pub type Missing = (ChunkId, NodeId);

pub async fn run(copier: Arc<Copier>, mut reports: mpsc::Receiver<Missing>) {
    let mut failures: HashMap<Missing, Instant> = HashMap::new();
    loop {
        tokio::select! {
            report = reports.recv() => {
                let Some((chunk, node)) = report else { return };
                if let Err(FsError::Interrupted) = look(&copier.handle, &copier.datanodes, chunk, node).await {
                    return;
                }
            }
            () = pause(INTERVAL) => {}
        }
        let Some(status) = copier.handle.status().await else {
            return;
        };
        failures.retain(|_, until| *until > Instant::now());
        if failures.len() > FAILURES_MAX {
            failures.clear();
        }
        let missing = scan::blocking(&copier.handle.store, |store| {
            scan::rows(store, &keys::prefix::missing(), WINDOW, |key, _| match key {
                Key::Missing { chunk, node } => Ok(Some((chunk, node))),
                _ => Ok(None),
            })
        });
        match missing.await {
            Ok((missing, _)) => {
                let alive = |node: NodeId| status.nodes.get(&node).is_some_and(|node| node.alive);
                let (due, void) = most_endangered(&status.sets, &alive, &missing, &failures);
                for (chunk, node) in void {
                    // It is no member any more: nothing to restore.
                    copier.note(chunk, node, false).await;
                }
                restore_all(&copier, status, due, &mut failures).await;
            }
            Err(error) => tracing::error!(%error, "the list of missing copies cannot be read"),
        }
    }
}

/// The copies to restore now, those of chunks with the fewest good copies first; and the notes about nodes that are
/// no members.
pub fn most_endangered(
    sets: &BTreeMap<SetId, SetRow>,
    alive: &dyn Fn(NodeId) -> bool,
    missing: &[Missing],
    failures: &HashMap<Missing, Instant>,
) -> (Vec<Missing>, Vec<Missing>) {
    let mut lacking: BTreeMap<ChunkId, BTreeSet<NodeId>> = BTreeMap::new();
    for (chunk, node) in missing {
        lacking.entry(*chunk).or_default().insert(*node);
    }
    let (mut due, mut void) = (Vec::new(), Vec::new());
    for (chunk, nodes) in lacking {
        let Some(set) = sets.get(&chunk.set) else {
            continue;
        };
        let good = set
            .holders()
            .filter(|node| alive(*node) && !nodes.contains(node))
            .count();
        for node in nodes {
            if !set.members.contains(&node) {
                void.push((chunk, node));
            } else if alive(node) && !set.is_leaving(node) && !failures.contains_key(&(chunk, node)) {
                due.push((good, (chunk, node)));
            }
        }
    }
    due.sort();
    due.truncate(ROUND);
    void.truncate(ROUND);
    (due.into_iter().map(|(_, copy)| copy).collect(), void)
}

async fn restore_all(
    copier: &Arc<Copier>,
    status: Status,
    due: Vec<Missing>,
    failures: &mut HashMap<Missing, Instant>,
) {
    let status = Arc::new(status);
    let mut running = JoinSet::new();
    for copy in due {
        let (copier, status) = (copier.clone(), status.clone());
        running.spawn(async move { (copy, restore(&copier, &status, copy).await) });
    }
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((_, true)) => {}
            Ok((copy, false)) => drop(failures.insert(copy, Instant::now() + RETRY)),
            Err(error) => tracing::error!(%error, "a repair failed"),
        }
    }
}

/// Restores one copy: whether it is there now, or need not be.
async fn restore(copier: &Copier, status: &Status, (chunk, node): Missing) -> bool {
    match copier.copy(status, chunk, node).await {
        Copied::There(_) => {
            tracing::info!(%chunk, %node, "a copy was restored");
            copier.note(chunk, node, false).await
        }
        Copied::Unneeded => true,
        Copied::Failed => false,
    }
}

/// Has the member read a copy that was reported, and notes it as missing when it really is bad. A member that
/// joins or leaves may lack copies.
pub async fn look(
    handle: &Handle,
    datanodes: &Datanodes,
    chunk: ChunkId,
    node: NodeId,
) -> Result<(), FsError> {
    let Some(status) = handle.status().await else {
        return Err(FsError::Interrupted);
    };
    let full = |set: &SetRow| set.full().any(|member| member == node);
    let member = status.sets.get(&chunk.set).is_some_and(full);
    let Some(figures) = status.nodes.get(&node).filter(|_| member) else {
        return Ok(());
    };
    match (
        row(handle, chunk).await,
        datanodes.verify(&figures.row.address, chunk).await,
    ) {
        (Ok(Some(row)), Ok(Copy::Good(sha256))) if sha256 == row.sha256 => Ok(()),
        (Ok(Some(_)), Ok(Copy::Good(_) | Copy::Missing | Copy::Corrupt)) => {
            tracing::warn!(%chunk, %node, "a copy is bad and will be replaced");
            let missing = true;
            let op = Op::SetMissing { chunk, node, missing };
            handle.own(op).await.map(|_| ())
        }
        (_, Err(error)) => {
            tracing::debug!(%chunk, %node, %error, "a reported copy could not be looked at");
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn row(handle: &Handle, chunk: ChunkId) -> Result<Option<ChunkRow>, ViewError> {
    scan::blocking(&handle.store, move |store| {
        let key = keys::chunk(chunk);
        store
            .get(&key)?
            .map(|value| ChunkRow::decode(&key, &value))
            .transpose()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_endangered_come_first_and_nothing_is_copied_in_vain() {
        let chunk = |seq| ChunkId { set: SetId(1), seq };
        let lacks = |seq, node| (chunk(seq), NodeId(node));
        let missing = [
            lacks(1, 2),
            lacks(2, 1),
            lacks(2, 2),
            lacks(3, 3),
            lacks(4, 5),
            lacks(5, 4),
        ];
        let mut set = SetRow::new([1, 2, 3].map(NodeId).to_vec());
        set.begin_move(NodeId(3), NodeId(4), 1, 1).unwrap();
        let sets = BTreeMap::from([(SetId(1), set)]);
        let (due, void) = most_endangered(&sets, &|_| true, &missing, &HashMap::new());
        let expected = [lacks(2, 1), lacks(2, 2), lacks(1, 2), lacks(5, 4)];
        assert_eq!(due, expected, "node 3 leaves; chunk 2 has one good copy");
        assert_eq!(void, [lacks(4, 5)], "node 5 is no member");
        let (due, _) = most_endangered(&sets, &|node| node != NodeId(2), &missing, &HashMap::new());
        assert_eq!(due, [lacks(2, 1), lacks(5, 4)], "a silent node takes nothing");
        let failed = HashMap::from([(lacks(2, 1), Instant::now())]);
        let (due, _) = most_endangered(&sets, &|_| true, &missing, &failed);
        assert!(!due.contains(&lacks(2, 1)), "it failed a moment ago");
    }
}
