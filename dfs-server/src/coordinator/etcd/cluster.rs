//! Which cluster this etcd holds: made once, found by everyone who comes later. A coordinator asks at start,
//! before it takes part; a wrong etcd must not be taken for an empty one.

use super::connection::{Etcd, kv};
use super::error::EtcdError;
use super::names::Names;
use super::registry::{ClusterRow, encode, parse};
use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a start waits for etcd.
const STARTING: Duration = Duration::from_secs(30);

/// Why the cluster cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(
        "this etcd holds no cluster {wanted}{}: give the right --etcd or --cluster, or --init to make it",
        match found { Some(found) => format!(" (it holds {found})"), None => String::new() }
    )]
    Absent { wanted: Uuid, found: Option<Uuid> },
    #[error("this etcd holds no cluster: give the right --etcd, or --init to make one")]
    Empty,
    #[error("the cluster in etcd has format {0}, which is not known to this program: use a newer one")]
    Format(u32),
}

/// The cluster to take part in: `wanted` (from flags or the data directory), else the one that is there. What is
/// absent is made when `init`; of several that do so at once, one makes it.
pub async fn join(etcd: &Etcd, wanted: Option<Uuid>, init: bool) -> Result<Uuid, JoinError> {
    let usual = Names::usual_cluster();
    let found = match get(etcd, usual).await? {
        Some(value) => Some(parse::<Uuid>(usual.as_bytes(), &value)?),
        None => None,
    };
    let cluster = match (wanted, found) {
        (Some(wanted), _) => wanted,
        (None, Some(found)) => found,
        (None, None) if init => {
            let fresh = Uuid::new_v4();
            put_if_absent(etcd, usual, encode(&fresh)).await?;
            let now = get(etcd, usual).await?.unwrap_or_default();
            parse(usual.as_bytes(), &now)?
        }
        (None, None) => return Err(JoinError::Empty),
    };
    let config = Names::new(cluster).config();
    if init {
        put_if_absent(etcd, &config, encode(&ClusterRow::NOW)).await?;
        put_if_absent(etcd, usual, encode(&cluster)).await?;
    }
    let Some(value) = get(etcd, &config).await? else {
        return Err(JoinError::Absent {
            wanted: cluster,
            found,
        });
    };
    match parse::<ClusterRow>(config.as_bytes(), &value)? {
        ClusterRow::NOW => Ok(cluster),
        ClusterRow { format } => Err(JoinError::Format(format)),
    }
}

pub async fn get(etcd: &Etcd, key: &str) -> Result<Option<Vec<u8>>, EtcdError> {
    let found = etcd
        .call(
            "look for the cluster in etcd",
            Instant::now() + STARTING,
            |client| async move { kv(&client).get(key, None).await },
        )
        .await?;
    Ok(found.kvs().first().map(|kv| kv.value().to_vec()))
}

pub async fn put(etcd: &Etcd, key: &str, value: Vec<u8>) -> Result<(), EtcdError> {
    etcd.call("write to etcd", Instant::now() + STARTING, |client| {
        let value = value.clone();
        async move { kv(&client).put(key, value, None).await }
    })
    .await?;
    Ok(())
}

pub async fn put_if_absent(etcd: &Etcd, key: &str, value: Vec<u8>) -> Result<(), EtcdError> {
    let txn = Txn::new()
        .when([Compare::version(key, CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key, value, None)]);
    etcd.call("make the cluster in etcd", Instant::now() + STARTING, |client| {
        let txn = txn.clone();
        async move { kv(&client).txn(txn).await }
    })
    .await?;
    Ok(())
}
