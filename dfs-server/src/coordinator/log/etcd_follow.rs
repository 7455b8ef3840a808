//! A follower's eye on a log in etcd: what is there by pages, then what comes by watching, and pages again
//! whenever the watch ended. The host's followers wait on it.

use super::LogError;
use super::etcd_read::{decode, read_page};
use crate::coordinator::authority::LogReader;
use crate::coordinator::etcd::{Etcd, EtcdError, LogNames, Watch};
use dfs_core::ids::Index;
use dfs_core::record::Record;
use etcd_client::EventType;
use std::time::Duration;
use tokio::time::Instant;

/// Time for one question; they are repeated for as long as etcd is away.
const READING: Duration = Duration::from_secs(10);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads one volume's records in order.
pub struct EtcdFollower {
    etcd: Etcd,
    names: LogNames,
    next: Index,
    watch: Option<Watch>,
    /// Attempts to watch.
    turn: usize,
}

impl EtcdFollower {
    /// Begins with record `from`.
    pub fn new(etcd: Etcd, names: LogNames, from: Index) -> EtcdFollower {
        EtcdFollower {
            etcd,
            names,
            next: from,
            watch: None,
            turn: 0,
        }
    }

    /// Records that are there; none when the end is reached, which begins the watch.
    async fn read(&mut self) -> Result<Vec<Record>, LogError> {
        let deadline = Instant::now() + READING;
        let page = match read_page(&self.etcd, &self.names, self.next, deadline).await {
            Err(LogError::Etcd(EtcdError::Unreachable { last, .. })) => {
                tracing::warn!(last, "the metadata log cannot be followed while etcd is away");
                return Ok(Vec::new());
            }
            other => other?,
        };
        if page.records.is_empty() {
            let prefix = self.names.records();
            self.turn += 1;
            match Watch::begin(&self.etcd, &prefix, page.revision + 1, self.turn - 1).await {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => {
                    tracing::debug!(%error, "the metadata log is read again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Ok(page.records)
    }

    /// Records that came; none when the watch ended or left something out.
    async fn wait(&mut self, mut watch: Watch) -> Result<Vec<Record>, LogError> {
        let mut records: Vec<Record> = Vec::new();
        while records.is_empty() {
            let events = match watch.next().await {
                Ok(events) => events,
                Err(error) => {
                    tracing::debug!(%error, "the metadata log is read again");
                    return Ok(records);
                }
            };
            for event in events {
                let Some(kv) = event.kv().filter(|_| event.event_type() == EventType::Put) else {
                    continue;
                };
                let wanted = Index(self.next.0 + records.len() as u64);
                match self.names.index(kv.key()) {
                    Some(index) if index == wanted => {
                        let deadline = Instant::now() + READING;
                        let record = decode(&self.etcd, &self.names, index, kv, deadline).await?;
                        records.push(record);
                    }
                    Some(index) if index < wanted => {}
                    _ => return Ok(records),
                }
            }
        }
        self.watch = Some(watch);
        Ok(records)
    }
}

#[tonic::async_trait]
impl LogReader for EtcdFollower {
    async fn next(&mut self) -> Result<Vec<Record>, LogError> {
        loop {
            // A wait that is cancelled drops the watch with it; the pages then have what it had.
            let records = match self.watch.take() {
                Some(watch) => self.wait(watch).await?,
                None => self.read().await?,
            };
            if let Some(record) = records.last() {
                self.next = record.index.next();
                return Ok(records);
            }
        }
    }
}
