//! Restores copies that members lack, each from a member whose copy verifies. What clients report is looked at
//! first: a report alone changes nothing.

use super::datanodes::{Copy, Datanodes};
use super::{pause, scan};
use crate::coordinator::Handle;
use crate::coordinator::executor::Status;
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, NodeId};
use dfs_core::keys::{self, Key};
use dfs_core::op::Op;
use dfs_core::rows::ChunkRow;
use dfs_core::view::{View, ViewError};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const INTERVAL: Duration = Duration::from_secs(1);
/// Copies looked at in one round.
const ROUND: usize = 1024;
/// A copy that could not be restored is tried again after this.
const RETRY: Duration = Duration::from_secs(10);
/// Most failures remembered; beyond it all are tried again.
const FAILURES_MAX: usize = 65_536;

type Missing = (ChunkId, NodeId);

pub async fn run(handle: Handle, mut reports: mpsc::Receiver<Missing>) {
    let datanodes = Datanodes::new(&handle);
    let mut failures: HashMap<Missing, Instant> = HashMap::new();
    loop {
        tokio::select! {
            report = reports.recv() => {
                let Some((chunk, node)) = report else { return };
                if let Err(FsError::Interrupted) = look(&handle, &datanodes, chunk, node).await {
                    return;
                }
            }
            () = pause(INTERVAL) => {}
        }
        let Some(status) = handle.status().await else {
            return;
        };
        failures.retain(|_, until| *until > Instant::now());
        if failures.len() > FAILURES_MAX {
            failures.clear();
        }
        let missing = scan::blocking(&handle.store, |store| {
            scan::rows(store, &keys::prefix::missing(), ROUND, |key, _| match key {
                Key::Missing { chunk, node } => Ok(Some((chunk, node))),
                _ => Ok(None),
            })
        });
        match missing.await {
            Ok((missing, _)) => {
                for copy in missing
                    .into_iter()
                    .filter(|copy| !failures.contains_key(copy))
                    .collect::<Vec<_>>()
                {
                    if !restore(&handle, &datanodes, &status, copy).await {
                        failures.insert(copy, Instant::now() + RETRY);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the list of missing copies cannot be read"),
        }
    }
}

/// Has the member read a copy that was reported, and notes it as missing when it really is bad.
pub async fn look(
    handle: &Handle,
    datanodes: &Datanodes,
    chunk: ChunkId,
    node: NodeId,
) -> Result<(), FsError> {
    let Some(status) = handle.status().await else {
        return Err(FsError::Interrupted);
    };
    let member = status
        .sets
        .get(&chunk.set)
        .is_some_and(|set| set.members.contains(&node));
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
            handle
                .own(Op::SetMissing {
                    chunk,
                    node,
                    missing: true,
                })
                .await
                .map(|_| ())
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

/// Restores one copy: whether it is there now, or need not be.
async fn restore(handle: &Handle, datanodes: &Datanodes, status: &Status, (chunk, node): Missing) -> bool {
    let Ok(Some(row)) = row(handle, chunk).await else {
        return false;
    };
    let Some(target) = status.nodes.get(&node).filter(|target| target.alive) else {
        return false;
    };
    let present = datanodes.verify(&target.row.address, chunk).await;
    let mut restored = matches!(present, Ok(Copy::Good(sha256)) if sha256 == row.sha256);
    if !restored {
        restored = copy_from_any(handle, datanodes, status, (chunk, node), &row).await;
    }
    restored
        && handle
            .own(Op::SetMissing {
                chunk,
                node,
                missing: false,
            })
            .await
            .is_ok()
}

async fn copy_from_any(
    handle: &Handle,
    datanodes: &Datanodes,
    status: &Status,
    (chunk, node): Missing,
    row: &ChunkRow,
) -> bool {
    let (Some(set), Some(target)) = (status.sets.get(&chunk.set), status.nodes.get(&node)) else {
        return false;
    };
    let missing = scan::blocking(&handle.store, move |store| {
        scan::rows(
            store,
            &keys::prefix::missing_of(chunk),
            usize::MAX,
            |key, _| match key {
                Key::Missing { node, .. } => Ok(Some(node)),
                _ => Ok(None),
            },
        )
    });
    let Ok((missing, _)) = missing.await else {
        return false;
    };
    for source in set
        .members
        .iter()
        .filter(|member| **member != node && !missing.contains(member))
    {
        let Some(from) = status.nodes.get(source).filter(|from| from.alive) else {
            continue;
        };
        // Checked before it becomes a source: a bad copy must not spread.
        let good = datanodes.verify(&from.row.address, chunk).await;
        if !matches!(good, Ok(Copy::Good(sha256)) if sha256 == row.sha256) {
            tracing::warn!(%chunk, node = %source, state = ?good, "a copy is no source for repair");
            if matches!(good, Ok(Copy::Good(_) | Copy::Missing | Copy::Corrupt)) {
                // Its own repair follows; when no good copy is left, this is the record of it.
                let _ = handle
                    .own(Op::SetMissing {
                        chunk,
                        node: *source,
                        missing: true,
                    })
                    .await;
            }
            continue;
        }
        match datanodes
            .pull(&target.row.address, chunk, (*source, &from.row.address))
            .await
        {
            Ok(sha256) if sha256 == row.sha256 => {
                tracing::info!(%chunk, %node, from = %source, "a copy was restored");
                return true;
            }
            Ok(_) => tracing::error!(%chunk, %node, from = %source, "the copy that arrived is another"),
            Err(error) => tracing::warn!(%chunk, %node, from = %source, %error, "a copy was not restored"),
        }
    }
    false
}
