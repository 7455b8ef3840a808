//! The heartbeat: tells the coordinator every second where this datanode is and how it is, and learns cluster,
//! number and term from the answer. One task of the datanode; the list of coordinators is tried in turn.

use super::args::Settings;
use super::service::ChunkService;
use dfs_client::channel::{Backoff, Pool};
use dfs_proto::v1::cluster_client::ClusterClient;
use dfs_proto::v1::{BeatReply, NodeBeat};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const EVERY: Duration = Duration::from_secs(1);
/// A coordinator that does not answer by then is tried again, or the next one.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);
/// Every how many failures in a row one is logged.
const LOG_EVERY: u64 = 30;

/// Beats until the task is ended.
pub async fn run(settings: Arc<Settings>, service: ChunkService, listening: SocketAddr) {
    let address = settings
        .advertise
        .clone()
        .unwrap_or_else(|| listening.to_string());
    let pool = Pool::default();
    let fresh = || Backoff::new(RETRY_FIRST, RETRY_MOST, None);
    let (mut backoff, mut turn, mut failures) = (fresh(), 0, 0u64);
    loop {
        let Some(coordinator) = settings
            .coordinators
            .get(turn % settings.coordinators.len().max(1))
        else {
            return;
        };
        match beat(&pool, coordinator, &settings, &service, &address).await {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!(%coordinator, failures, "the coordinator answers");
                }
                (backoff, failures) = (fresh(), 0);
                service.farewell().pause(EVERY).await;
            }
            Err(reason) => {
                if failures.is_multiple_of(LOG_EVERY) {
                    tracing::warn!(%coordinator, %reason, "no heartbeat");
                }
                failures += 1;
                turn += 1;
                backoff.wait().await;
            }
        }
    }
}

async fn beat(
    pool: &Pool,
    coordinator: &str,
    settings: &Settings,
    service: &ChunkService,
    address: &str,
) -> Result<(), String> {
    let message = describe(settings, service, address).await;
    let leaving = message.leaving;
    let peer = pool
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
        service.farewell().told();
    }
    let membership = service.membership();
    let learned = tokio::task::spawn_blocking(move || membership.learn(&reply)).await;
    learned
        .map_err(|e| e.to_string())?
        .map_err(|fatal| fatal.to_string())
}

async fn describe(settings: &Settings, service: &ChunkService, address: &str) -> NodeBeat {
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
        volume: 0,
        leaving: service.farewell().is_asked(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clock_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64,
        bad: service.bad_to_tell().into_iter().map(Into::into).collect(),
    }
}
