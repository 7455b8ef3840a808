//! What coordinators know of one another and of the volumes: a picture of the registry's keys, kept up by one
//! watch and read anew whenever that ended, and the entries themselves. The authority publishes from it; it decides
//! nothing.

use super::connection::{Etcd, kv};
use super::error::EtcdError;
use super::names::Names;
use super::watch::Watch;
use crate::coordinator::authority::{Leader, Peer, VolumeEntry, VolumeState};
use dfs_core::ids::{Index, VolumeId};
use etcd_client::{EventType, GetOptions};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

/// Time for reading all entries once.
const READING: Duration = Duration::from_secs(10);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// A volume's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRow {
    pub number: u16,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    /// Made anew by whoever creates a volume: tells a repeated question from somebody else's volume.
    pub made: Uuid,
}

/// A leader's key: the coordinator, and a number that is new in each reign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRow {
    pub coordinator: Uuid,
    pub address: String,
    pub reign: Uuid,
}

/// A coordinator's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorRow {
    pub address: String,
    #[serde(default)]
    pub checkpoints: BTreeMap<u16, u64>,
}

/// The cluster's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRow {
    pub format: u32,
}

impl ClusterRow {
    /// The layout of the keys that this program uses.
    pub const NOW: ClusterRow = ClusterRow { format: 1 };
}

/// Reads an entry.
pub fn parse<'a, T: Deserialize<'a>>(key: &[u8], value: &'a [u8]) -> Result<T, EtcdError> {
    serde_json::from_slice(value).map_err(|error| EtcdError::Damaged {
        key: String::from_utf8_lossy(key).into_owned(),
        reason: error.to_string(),
    })
}

/// Writes an entry.
pub fn encode(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("names and numbers always encode")
}

/// What is published.
pub struct Registry {
    names: Names,
    own: Uuid,
    pub volumes: watch::Sender<Arc<Vec<VolumeEntry>>>,
    pub peers: watch::Sender<Arc<Vec<Peer>>>,
    /// Those that somebody asked for; an entry stays, there are few volumes.
    leaders: Mutex<BTreeMap<VolumeId, watch::Sender<Option<Leader>>>>,
    /// The newest picture of all leaders.
    seen: Mutex<BTreeMap<VolumeId, Leader>>,
}

impl Registry {
    pub fn new(names: Names, own: Uuid) -> Registry {
        Registry {
            names,
            own,
            volumes: watch::Sender::new(Arc::default()),
            peers: watch::Sender::new(Arc::default()),
            leaders: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Who leads the volume, as it changes.
    pub fn leader(&self, volume: VolumeId) -> watch::Receiver<Option<Leader>> {
        let mut leaders = self.leaders.lock();
        let now = self.seen.lock().get(&volume).cloned();
        let sender = leaders.entry(volume).or_insert_with(|| watch::Sender::new(now));
        sender.subscribe()
    }

    fn publish(&self, entries: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let mut volumes = Vec::new();
        let mut peers = Vec::new();
        let mut leaders = BTreeMap::new();
        for (key, value) in entries {
            if let Err(error) = self.sort(key, value, &mut volumes, &mut peers, &mut leaders) {
                tracing::error!(%error, "an entry of the registry is passed over");
            }
        }
        volumes.sort_by_key(|volume: &VolumeEntry| volume.number);
        replace(&self.volumes, Arc::new(volumes));
        replace(&self.peers, Arc::new(peers));
        let senders = self.leaders.lock();
        for (volume, sender) in senders.iter() {
            replace(sender, leaders.get(volume).cloned());
        }
        *self.seen.lock() = leaders;
    }

    fn sort(
        &self,
        key: &[u8],
        value: &[u8],
        volumes: &mut Vec<VolumeEntry>,
        peers: &mut Vec<Peer>,
        leaders: &mut BTreeMap<VolumeId, Leader>,
    ) -> Result<(), EtcdError> {
        let text = String::from_utf8_lossy(key);
        if let Some(name) = text.strip_prefix(&self.names.volumes()) {
            let row: VolumeRow = parse(key, value)?;
            volumes.push(VolumeEntry {
                number: VolumeId(row.number),
                name: name.to_owned(),
                state: match row.deleting {
                    true => VolumeState::Deleting,
                    false => VolumeState::Active,
                },
            });
        } else if let Some(id) = text.strip_prefix(&self.names.coordinators()) {
            let row: CoordinatorRow = parse(key, value)?;
            let id = Uuid::try_parse(id).unwrap_or_default();
            let index = |(volume, index)| (VolumeId(volume), Index(index));
            if id != self.own {
                peers.push(Peer {
                    coordinator: id,
                    address: row.address,
                    checkpoints: row.checkpoints.into_iter().map(index).collect(),
                });
            }
        } else if let Some(number) = text.strip_prefix(&self.names.leaders()) {
            let row: LeaderRow = parse(key, value)?;
            if let Ok(number) = number.parse() {
                let leader = Leader {
                    coordinator: row.coordinator,
                    address: row.address,
                };
                leaders.insert(VolumeId(number), leader);
            }
        }
        Ok(())
    }
}

fn replace<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|old| {
        let changed = *old != value;
        *old = value;
        changed
    });
}

/// Keeps the picture up. Runs until it is cancelled; `read` turns true when the picture is there.
pub async fn mirror(etcd: Etcd, registry: Arc<Registry>, read: watch::Sender<bool>) {
    let prefix = registry.names.registry();
    let mut turn = 0;
    loop {
        let (mut entries, revision) = match read_all(&etcd, &prefix).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the registry in etcd cannot be read; trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        registry.publish(&entries);
        read.send_replace(true);
        let end = match Watch::begin(&etcd, &prefix, revision + 1, turn).await {
            Ok(watch) => follow(watch, &registry, &mut entries).await,
            Err(end) => end,
        };
        tracing::debug!(%end, "the registry is read again");
        turn += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(
    mut watch: Watch,
    registry: &Registry,
    entries: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> super::watch::WatchEnd {
    loop {
        let events = match watch.next().await {
            Ok(events) => events,
            Err(end) => return end,
        };
        for event in events {
            let Some(kv) = event.kv() else { continue };
            match event.event_type() {
                EventType::Put => entries.insert(kv.key().to_vec(), kv.value().to_vec()),
                EventType::Delete => entries.remove(kv.key()),
            };
        }
        registry.publish(entries);
    }
}

async fn read_all(etcd: &Etcd, prefix: &str) -> Result<(BTreeMap<Vec<u8>, Vec<u8>>, i64), EtcdError> {
    let options = GetOptions::new().with_prefix();
    let deadline = Instant::now() + READING;
    let mut found = etcd
        .call("read the registry", deadline, |client| {
            let options = options.clone();
            async move { kv(&client).get(prefix, Some(options)).await }
        })
        .await?;
    let revision = found.header().map_or(0, |header| header.revision());
    let entries = found.take_kvs().into_iter().map(|kv| {
        let (key, value) = kv.into_key_value();
        (key, value)
    });
    Ok((entries.collect(), revision))
}
