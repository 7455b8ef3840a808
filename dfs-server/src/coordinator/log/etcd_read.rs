//! Reading a log in etcd: by pages, and as records come. The leader's log reads through it at start, followers
//! all the time. Whatever it returns is whole and without holes.

use super::LogError;
use super::etcd::{PART_BYTES, PARTS, WHOLE};
use crate::coordinator::etcd::{Etcd, EtcdError, LogNames, kv};
use dfs_core::ids::Index;
use dfs_core::record::Record;
use etcd_client::{GetOptions, KeyValue, SortOrder, SortTarget};
use tokio::time::Instant;

/// Records in one question: at most 16 MiB, by the length of one value.
const PAGE: i64 = 16;

/// Records that follow one another, and the revision of etcd at which that was all of the page.
pub struct Page {
    pub records: Vec<Record>,
    pub revision: i64,
}

/// Records from `from` on, as many as a page holds; empty when there are none yet.
pub async fn read_page(
    etcd: &Etcd,
    names: &LogNames,
    from: Index,
    deadline: Instant,
) -> Result<Page, LogError> {
    let options = GetOptions::new()
        .with_range(names.record(Index(u64::MAX)))
        .with_limit(PAGE)
        .with_sort(SortTarget::Key, SortOrder::Ascend);
    let mut found = etcd
        .call("read the metadata log", deadline, |client| {
            let (key, options) = (names.record(from), options.clone());
            async move { kv(&client).get(key, Some(options)).await }
        })
        .await?;
    let revision = found.header().map_or(0, |header| header.revision());
    let mut records = Vec::new();
    let mut next = from;
    for kv in found.take_kvs() {
        match names.index(kv.key()) {
            Some(index) if index == next => {}
            // What is absent at the beginning was trimmed; later it cannot be, since trims begin at the beginning.
            Some(first) if records.is_empty() => {
                return Err(LogError::Trimmed { wanted: from, first });
            }
            _ => return Err(damaged(names, next, "it is absent, and newer records are there")),
        }
        records.push(decode(etcd, names, next, &kv, deadline).await?);
        next = next.next();
    }
    Ok(Page { records, revision })
}

/// The record at `index`, which must be there.
pub async fn record_in_etcd(
    etcd: &Etcd,
    names: &LogNames,
    index: Index,
    deadline: Instant,
) -> Result<Record, LogError> {
    let found = etcd
        .call("read the metadata log", deadline, |client| {
            let key = names.record(index);
            async move { kv(&client).get(key, None).await }
        })
        .await?;
    match found.kvs().first() {
        Some(kv) => decode(etcd, names, index, kv, deadline).await,
        None => Err(damaged(names, index, "it is absent")),
    }
}

/// The record in a key's value, with its parts when it has some.
pub async fn decode(
    etcd: &Etcd,
    names: &LogNames,
    index: Index,
    kv: &KeyValue,
    deadline: Instant,
) -> Result<Record, LogError> {
    let record = match kv.value().split_first() {
        Some((&WHOLE, frame)) => Record::decode(frame),
        Some((&PARTS, rest)) => Record::decode(&parts(etcd, names, index, rest, deadline).await?),
        Some((kind, _)) => {
            let reason = format!("its kind {kind} is not known to this program: use a newer one");
            return Err(damaged(names, index, &reason));
        }
        None => return Err(damaged(names, index, "it is empty")),
    };
    let record = record.map_err(|error| damaged(names, index, &error.to_string()))?;
    match record.index == index {
        true => Ok(record),
        false => Err(damaged(
            names,
            index,
            &format!("it holds record {}", record.index.0),
        )),
    }
}

/// The frame of a record that was too long for one value.
async fn parts(
    etcd: &Etcd,
    names: &LogNames,
    index: Index,
    rest: &[u8],
    deadline: Instant,
) -> Result<Vec<u8>, LogError> {
    let numbers = rest
        .split_first_chunk::<8>()
        .and_then(|(writer, count)| Some((*writer, <[u8; 4]>::try_from(count).ok()?)));
    let Some((writer, count)) = numbers else {
        return Err(damaged(names, index, "it does not say where its parts are"));
    };
    let mut frame = Vec::new();
    for number in 0..u32::from_be_bytes(count) {
        let key = names.part(index, u64::from_be_bytes(writer), number);
        let found = etcd
            .call("read the metadata log", deadline, |client| {
                let key = key.clone();
                async move { kv(&client).get(key, None).await }
            })
            .await?;
        match found.kvs().first() {
            Some(part) if part.value().len() <= PART_BYTES => frame.extend_from_slice(part.value()),
            Some(_) => return Err(damaged(names, index, "a part of it is too long")),
            None => {
                // Trimmed meanwhile, or damaged: the next look at the log's beginning tells.
                return Err(LogError::Trimmed {
                    wanted: index,
                    first: index.next(),
                });
            }
        }
    }
    Ok(frame)
}

fn damaged(names: &LogNames, index: Index, reason: &str) -> LogError {
    LogError::Etcd(EtcdError::Damaged {
        key: names.record(index),
        reason: reason.to_owned(),
    })
}
