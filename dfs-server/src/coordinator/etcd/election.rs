//! Winning a volume's leadership and giving it up: one key per volume under the coordinator's lease, made when it
//! is absent. The authority campaigns through here. The key's create-revision is what fences the log.

use super::connection::{Etcd, kv};
use super::error::EtcdError;
use super::lease::Lease;
use super::names::Names;
use super::registry::{LeaderRow, encode};
use crate::coordinator::authority::{Leader, Standing};
use crate::coordinator::log::Fence;
use dfs_core::ids::VolumeId;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

/// Time for one question.
const ASKING: Duration = Duration::from_secs(5);
/// Pause between attempts to give up a leadership.
const PAUSE: Duration = Duration::from_millis(200);

/// The end of one attempt.
pub enum Attempt {
    Won(Fence, Standing),
    /// Somebody leads, or an earlier reign of this coordinator is not given up yet.
    Held,
}

/// Ends a reign that nobody took.
struct Unclaimed(Option<Standing>);

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(standing) = self.0.take() {
            standing.end();
        }
    }
}

/// Tries once to become the volume's leader. A reign that is won is given up when its standing ends, also when
/// this is cancelled before it returns.
pub async fn attempt(
    etcd: &Etcd,
    names: &Names,
    own: &Leader,
    volume: VolumeId,
    lease: &Arc<Lease>,
) -> Result<Attempt, EtcdError> {
    let standing = lease.standing();
    let mut unclaimed = Unclaimed(Some(standing.clone()));
    let (tell, told) = oneshot::channel();
    let (etcd, key, lease) = (etcd.clone(), names.leader(volume), lease.clone());
    let row = LeaderRow {
        coordinator: own.coordinator,
        address: own.address.clone(),
        reign: Uuid::new_v4(),
    };
    let reign = standing.clone();
    // A task of its own: what is asked cannot be taken back when the caller goes away.
    tokio::spawn(async move {
        let won = win(&etcd, &key, &encode(&row), lease.id).await;
        let fence = match &won {
            Ok(fence) => fence.clone(),
            // Nobody knows whether it was done: it is given up if it was.
            Err(_) => None,
        };
        let failed = won.is_err();
        // Whoever asked may be gone; the reign has ended then.
        let _ = tell.send(won);
        match fence {
            Some(fence) => {
                reign.ended().await;
                resign(&etcd, &fence.key, Some(fence.create_revision), &row, &lease).await;
            }
            None if failed => resign(&etcd, &key, None, &row, &lease).await,
            None => {}
        }
    });
    match told.await {
        Ok(Ok(Some(fence))) => {
            unclaimed.0 = None;
            Ok(Attempt::Won(fence, standing))
        }
        Ok(Ok(None)) => Ok(Attempt::Held),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Attempt::Held),
    }
}

/// Makes the leader's key if it is absent; its fence when it is ours.
async fn win(etcd: &Etcd, key: &str, value: &[u8], lease: i64) -> Result<Option<Fence>, EtcdError> {
    let put = TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)));
    let txn = Txn::new()
        .when([Compare::version(key, CompareOp::Equal, 0)])
        .and_then([put, TxnOp::get(key, None)])
        .or_else([TxnOp::get(key, None)]);
    let answer = etcd
        .call("campaign for a volume", Instant::now() + ASKING, |client| {
            let txn = txn.clone();
            async move { kv(&client).txn(txn).await }
        })
        .await?;
    let found = answer
        .op_responses()
        .into_iter()
        .find_map(|response| match response {
            TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
            _ => None,
        });
    Ok(found.filter(|kv| kv.value() == value).map(|kv| Fence {
        key: key.to_owned(),
        create_revision: kv.create_revision(),
    }))
}

/// Removes the key of this reign, so that others need not wait for the lease's end; that end does it as well.
async fn resign(etcd: &Etcd, key: &str, revision: Option<i64>, row: &LeaderRow, lease: &Lease) {
    let same = match revision {
        Some(revision) => Compare::create_revision(key, CompareOp::Equal, revision),
        None => Compare::value(key, CompareOp::Equal, encode(row)),
    };
    let txn = Txn::new().when([same]).and_then([TxnOp::delete(key, None)]);
    loop {
        let asked = etcd.call("give up a volume", Instant::now() + ASKING, |client| {
            let txn = txn.clone();
            async move { kv(&client).txn(txn).await }
        });
        match asked.await {
            Ok(_) => return,
            Err(error) if lease.is_over() => {
                tracing::debug!(%error, "the leadership ends with its lease");
                return;
            }
            Err(error) => tracing::warn!(%error, "the leadership is not given up yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
