//! Which coordinators there are and which of them leads the volume: asked of all that are known at once, before a
//! stream is opened and while the present one is silent. The stream's task uses it.

use super::Session;
use crate::channel::Pool;
use dfs_proto::v1::volumes_client::VolumesClient;
use dfs_proto::v1::{VolumesReply, VolumesRequest};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A coordinator that does not say by then who leads is passed over this time.
const ANSWER_LIMIT: Duration = Duration::from_millis(400);
/// A leader says something every second; after this much silence the others are asked.
const SILENCE: Duration = Duration::from_millis(1500);
/// How often silence is looked for, and the others are asked.
const LOOK: Duration = Duration::from_millis(200);
/// Coordinators that are remembered, those of the mount's options among them.
const KNOWN_MAX: usize = 16;

/// Who leads, as far as is known.
pub(super) struct Found {
    pub address: String,
    /// The leader itself says so.
    pub sure: bool,
}

/// The coordinators of the mount's options and those that they named.
pub(super) struct Coordinators {
    known: Mutex<Vec<String>>,
    pool: Pool,
}

impl Coordinators {
    pub fn new(given: &[String]) -> Coordinators {
        Coordinators {
            known: Mutex::new(given.to_vec()),
            pool: Pool::default(),
        }
    }

    pub fn known(&self) -> Vec<String> {
        self.known.lock().clone()
    }

    fn learn(&self, named: Vec<String>) {
        let mut known = self.known.lock();
        for address in named {
            if known.len() < KNOWN_MAX && !known.contains(&address) {
                tracing::info!(coordinator = address, "another coordinator is known");
                known.push(address);
            }
        }
    }

    async fn ask(&self, address: String) -> (String, Option<VolumesReply>) {
        let asked = async {
            let peer = self.pool.peer(&address).ok()?;
            let mut client = VolumesClient::new(peer.channel());
            let reply = tokio::time::timeout(ANSWER_LIMIT, client.list(VolumesRequest {})).await;
            Some(reply.ok()?.ok()?.into_inner())
        };
        let reply = asked.await;
        (address, reply)
    }

    /// Asks the coordinator for the others, so that they are known when it dies.
    pub async fn learn_from(&self, address: String) {
        if let (_, Some(reply)) = self.ask(address).await {
            self.learn(reply.coordinators);
        }
    }

    /// Who leads the volume, by the word of all coordinators except `but`.
    pub async fn find(&self, volume: &str, but: Option<&str>) -> Option<Found> {
        let known = self.known();
        let others = known.into_iter().filter(|address| Some(address.as_str()) != but);
        let mut asked: FuturesUnordered<_> = others.map(|address| self.ask(address)).collect();
        let mut heard = None;
        while let Some((address, reply)) = asked.next().await {
            let Some(reply) = reply else { continue };
            self.learn(reply.coordinators);
            let Some(volume) = reply.volumes.into_iter().find(|own| own.name == volume) else {
                continue;
            };
            if volume.here {
                return Some(Found { address, sure: true });
            }
            if !volume.leader.is_empty() {
                heard = Some(volume.leader);
            }
        }
        heard.map(|address| Found { address, sure: false })
    }
}

/// Returns when the coordinator at `address` is silent and another one leads the volume: its address.
pub(super) async fn moved(session: &Session, address: &str) -> String {
    let began = session.now();
    loop {
        tokio::time::sleep(LOOK).await;
        let heard = session.heard.load(Ordering::Relaxed).max(began);
        if session.now() < heard + SILENCE.as_millis() as u64 {
            continue;
        }
        let found = session
            .coordinators
            .find(&session.settings.volume, Some(address))
            .await;
        if let Some(Found { address, sure: true }) = found {
            return address;
        }
    }
}
