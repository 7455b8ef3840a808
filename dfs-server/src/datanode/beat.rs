//! The heartbeat: tells each volume's leader every second where this datanode is and how it is, and learns cluster,
//! number and term from the answer. One task for each volume, and one that finds out which there are.

use super::args::Settings;
use super::service::ChunkService;
use super::volumes::{Coordinators, Leaders};
use dfs_client::channel::{Backoff, Pool};
use dfs_core::ids::VolumeId;
use dfs_proto::v1::cluster_client::ClusterClient;
use dfs_proto::v1::{BeatReply, NodeBeat};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

const EVERY: Duration = Duration::from_secs(1);
/// A coordinator that does not answer by then is tried again, or the next one.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);
/// Every how many failures in a row one is logged.
const LOG_EVERY: u64 = 30;

/// What every beat needs.
struct Beater {
    settings: Arc<Settings>,
    service: ChunkService,
    address: String,
    pool: Pool,
    leaders: watch::Sender<Leaders>,
    /// A beat failed: who leads may have changed.
    failed: Notify,
}

/// Beats to the leader of every volume until `ended` says so or its sender is gone. When this returns, no beat has
/// the data directory in use.
pub async fn run(
    settings: Arc<Settings>,
    service: ChunkService,
    listening: SocketAddr,
    mut ended: oneshot::Receiver<()>,
) {
    let address = settings
        .advertise
        .clone()
        .unwrap_or_else(|| listening.to_string());
    let mut coordinators = Coordinators::new(settings.coordinators.clone());
    let beater = Arc::new(Beater {
        settings,
        service,
        address,
        pool: Pool::default(),
        leaders: watch::Sender::default(),
        failed: Notify::new(),
    });
    let mut beats: BTreeMap<VolumeId, AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut failures = 0u64;
    loop {
        let leaders = tokio::select! {
            leaders = coordinators.leaders(&beater.pool) => leaders,
            _ = &mut ended => break,
        };
        match leaders {
            Ok(leaders) => {
                beats.retain(|volume, task| {
                    let stays = leaders.contains_key(volume);
                    if !stays {
                        task.abort();
                    }
                    stays
                });
                for volume in leaders.keys() {
                    let begin = || tasks.spawn(beater.clone().volume(*volume));
                    beats.entry(*volume).or_insert_with(begin);
                }
                beater.leaders.send_if_modified(|known| {
                    let changed = *known != leaders;
                    *known = leaders;
                    changed
                });
                failures = 0;
            }
            Err(reason) => {
                if failures.is_multiple_of(LOG_EVERY) {
                    tracing::warn!(%reason, "no coordinator answers");
                }
                failures += 1;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = beater.failed.notified() => tokio::time::sleep(RETRY_FIRST).await,
            _ = &mut ended => break,
        }
    }
    tasks.shutdown().await;
}

impl Beater {
    /// Beats to the leader of one volume, whoever that is.
    async fn volume(self: Arc<Self>, volume: VolumeId) {
        let mut leaders = self.leaders.subscribe();
        let fresh = || Backoff::new(RETRY_FIRST, RETRY_MOST, None);
        let (mut backoff, mut failures) = (fresh(), 0u64);
        loop {
            let leader = leaders.borrow_and_update().get(&volume).cloned();
            let leader = leader.filter(|leader| !leader.is_empty());
            let result = match &leader {
                None => Err("nobody leads the volume".to_owned()),
                Some(leader) => tokio::select! {
                    result = self.beat(leader, volume) => result,
                    _ = leaders.changed() => continue,
                },
            };
            let pause = match result {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(%volume, failures, "the leader answers");
                    }
                    (backoff, failures) = (fresh(), 0);
                    EVERY
                }
                Err(reason) => {
                    if failures.is_multiple_of(LOG_EVERY) {
                        tracing::warn!(%volume, leader, %reason, "no heartbeat");
                    }
                    failures += 1;
                    self.failed.notify_one();
                    backoff.delay().unwrap_or(RETRY_MOST)
                }
            };
            let farewell = self.service.farewell();
            tokio::select! {
                () = farewell.pause(pause) => {}
                _ = leaders.changed() => {}
            }
        }
    }

    async fn beat(&self, coordinator: &str, volume: VolumeId) -> Result<(), String> {
        let message = describe(&self.settings, &self.service, &self.address, volume).await;
        let leaving = message.leaving;
        let peer = self
            .pool
            .peer(coordinator)
            .map_err(|e| format!("{coordinator:?} is no host:port: {e}"))?;
        let mut client = ClusterClient::new(peer.channel());
        let answer = tokio::time::timeout(ANSWER_LIMIT, client.beat(message));
        let answer = answer
            .await
            .map_err(|_| format!("no answer in {} s", ANSWER_LIMIT.as_secs()))?;
        let reply: BeatReply = answer
            .map_err(|status| status.message().to_string())?
            .into_inner();
        if leaving {
            self.service.farewell().told();
        }
        let membership = self.service.membership();
        // In place: a beat that is aborted has ended when this has.
        let learned = tokio::task::block_in_place(|| membership.learn(volume, &reply));
        learned.map_err(|fatal| fatal.to_string())
    }
}

async fn describe(settings: &Settings, service: &ChunkService, address: &str, volume: VolumeId) -> NodeBeat {
    let asked = service.clone();
    let usage = tokio::task::spawn_blocking(move || asked.usage())
        .await
        .unwrap_or_default();
    let membership = service.membership();
    NodeBeat {
        node: membership.uuid().as_bytes().to_vec(),
        cluster: membership
            .cluster()
            .map(|uuid| uuid.as_bytes().to_vec())
            .unwrap_or_default(),
        address: address.to_string(),
        zone: settings.zone.clone(),
        capacity_bytes: usage.capacity,
        used_bytes: usage.used,
        free_bytes: usage.free,
        chunks: usage.chunks,
        load: service.load(),
        problem: service.problem().unwrap_or_default(),
        volume: u32::from(volume.0),
        leaving: service.farewell().is_asked(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clock_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64,
        bad: service
            .bad_to_tell()
            .into_iter()
            .filter(|chunk| chunk.set.volume() == volume)
            .map(Into::into)
            .collect(),
    }
}
