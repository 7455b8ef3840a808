//! Putting logs into etcd before their cluster exists there: claimed by one data directory, written under that
//! claim, and made a cluster by one transaction at the end. `move_log` drives it; running coordinators see nothing
//! of it until it is finished.

use super::connection::{Etcd, kv};
use super::error::EtcdError;
use super::names::Names;
use super::registry::{ClusterRow, VolumeRow, encode, parse};
use crate::coordinator::log::{LogError, record_in_etcd, values};
use dfs_core::ids::{Index, VolumeId};
use dfs_core::record::Record;
use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp, TxnResponse};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Time for one question.
const ASKING: Duration = Duration::from_secs(30);
const DOING: &str = "move a log to etcd";
/// Entries of volumes in one transaction; etcd takes 128 operations.
const VOLUMES: usize = 100;

/// A move under way.
pub struct Move {
    etcd: Etcd,
    names: Names,
    /// The data directory that moves.
    from: Uuid,
}

impl Move {
    /// Claims the cluster for the directory `from`, or goes on with its claim; `None` when the cluster is there.
    pub async fn begin(etcd: &Etcd, names: Names, from: Uuid) -> Result<Option<Move>, EtcdError> {
        let claim = Move {
            etcd: etcd.clone(),
            names,
            from,
        };
        if claim.get(claim.names.config()).await?.is_some() {
            return Ok(None);
        }
        let key = claim.names.moving();
        let txn = Txn::new()
            .when([
                Compare::version(key.clone(), CompareOp::Equal, 0),
                Compare::version(claim.names.config(), CompareOp::Equal, 0),
            ])
            .and_then([TxnOp::put(key.clone(), encode(&from), None)]);
        claim.txn(txn).await?;
        match claim.get(key.clone()).await? {
            Some(value) if parse::<Uuid>(key.as_bytes(), &value)? == from => Ok(Some(claim)),
            other => Err(EtcdError::Refused {
                doing: DOING,
                reason: format!(
                    "another directory is being moved to this cluster ({}); finish that, or delete {key} when \
                     it was given up",
                    other.map_or_else(String::new, |value| String::from_utf8_lossy(&value).into_owned())
                ),
            }),
        }
    }

    fn claimed(&self) -> Compare {
        Compare::value(self.names.moving(), CompareOp::Equal, encode(&self.from))
    }

    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, EtcdError> {
        let found = self
            .etcd
            .call(DOING, Instant::now() + ASKING, |client| {
                let key = key.clone();
                async move { kv(&client).get(key, None).await }
            })
            .await?;
        Ok(found.kvs().first().map(|kv| kv.value().to_vec()))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, EtcdError> {
        self.etcd
            .call(DOING, Instant::now() + ASKING, |client| {
                let txn = txn.clone();
                async move { kv(&client).txn(txn).await }
            })
            .await
    }

    async fn under_claim(&self, ops: Vec<TxnOp>) -> Result<(), EtcdError> {
        let answer = self.txn(Txn::new().when([self.claimed()]).and_then(ops)).await?;
        match answer.succeeded() {
            true => Ok(()),
            false => Err(EtcdError::Refused {
                doing: DOING,
                reason: "the claim of this directory is gone; run the move again".into(),
            }),
        }
    }

    /// Removes what an interrupted move left of the volume's log.
    pub async fn clear(&self, volume: VolumeId) -> Result<(), EtcdError> {
        let all = DeleteOptions::new().with_prefix();
        self.under_claim(vec![TxnOp::delete(self.names.log(volume).all(), Some(all))])
            .await
    }

    /// Writes records, as often as it is asked to.
    pub async fn write(&self, volume: VolumeId, records: &[Record]) -> Result<(), EtcdError> {
        let names = self.names.log(volume);
        let mut ops = Vec::new();
        for record in records {
            let (parts, value) = values(&names, record, 0);
            for (key, part) in parts {
                self.under_claim(vec![TxnOp::put(key, part, None)]).await?;
            }
            ops.push(TxnOp::put(names.record(record.index), value, None));
        }
        self.under_claim(ops).await
    }

    /// The record as it is in etcd.
    pub async fn read(&self, volume: VolumeId, index: Index) -> Result<Record, LogError> {
        let deadline = Instant::now() + ASKING;
        record_in_etcd(&self.etcd, &self.names.log(volume), index, deadline).await
    }

    /// Lists the volumes and makes the cluster, which takes the claim's place.
    pub async fn finish(&self, volumes: Vec<(String, VolumeId, bool)>, next: u32) -> Result<(), EtcdError> {
        for some in volumes.chunks(VOLUMES) {
            let puts = some.iter().map(|(name, number, deleting)| {
                let row = VolumeRow {
                    number: number.0,
                    deleting: *deleting,
                    made: self.from,
                };
                TxnOp::put(self.names.volume(name), encode(&row), None)
            });
            self.under_claim(puts.collect()).await?;
        }
        let cluster = self.names.cluster();
        let usual = Txn::new()
            .when([Compare::version(Names::usual_cluster(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(Names::usual_cluster(), encode(&cluster), None)]);
        self.txn(usual).await?;
        let ops = vec![
            TxnOp::put(self.names.next_volume(), encode(&next), None),
            TxnOp::put(self.names.config(), encode(&ClusterRow::NOW), None),
            TxnOp::delete(self.names.moving(), None),
        ];
        match self.under_claim(ops).await {
            // Asked twice: the first time has done it.
            Err(_) if self.get(self.names.config()).await?.is_some() => Ok(()),
            other => other,
        }
    }
}
