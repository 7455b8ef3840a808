//! Whether a peer that lets us wait is frozen or only busy: a tiny ping on a connection of its own, which neither
//! the disk nor the flow control of a transfer holds up. Asked only while somebody waits, and until a peer that
//! did not answer does so again. Knows no transfer.

use super::{Peer, connect_lazy};
use dfs_proto::v1::PingRequest;
use dfs_proto::v1::chunks_client::ChunksClient;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Channel;

/// A call that is answered within this costs no ping.
const UNASKED: Duration = Duration::from_millis(50);
/// A peer that answers no ping for this many ticks is frozen: 450 ms. Ticks, not time: where this process gets no
/// processor, its own ticks are late too, and a loaded machine is not taken for a frozen peer.
const TICK: Duration = Duration::from_millis(50);
const TICKS: u32 = 9;
/// From one answered ping to the next, while somebody waits.
const PING_PAUSE: Duration = Duration::from_millis(100);
/// Between pings to a peer that did not answer the last one.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(1);

/// The peer answered no ping while it was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it answers no ping: frozen, gone or cut off")]
pub struct Frozen;

/// What is known of a peer's pings. The prober, one task at most, is its only writer.
pub(super) struct Liveness {
    /// Counts the pings that were not answered; those who wait are woken by it and are all that keeps a healthy
    /// peer's prober going.
    unanswered: watch::Sender<u64>,
    suspected: AtomicBool,
    probing: Mutex<bool>,
}

impl Default for Liveness {
    fn default() -> Liveness {
        Liveness {
            unanswered: watch::Sender::new(0),
            suspected: AtomicBool::new(false),
            probing: Mutex::new(false),
        }
    }
}

impl Peer {
    /// Does `work`, which waits for this peer, and gives it up when the peer answers no ping. However slow its
    /// disk is, a peer that answers them is waited for.
    pub async fn while_alive<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> Result<T, Frozen> {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(UNASKED, &mut work).await {
            return Ok(done);
        }
        let mut unanswered = self.liveness.unanswered.subscribe();
        self.probe();
        tokio::select! {
            biased;
            done = work => Ok(done),
            _ = unanswered.changed() => Err(Frozen),
        }
    }

    /// The last ping was not answered. Cleared by the next one that is.
    pub fn is_suspected(&self) -> bool {
        self.liveness.suspected.load(Ordering::Relaxed)
    }

    /// Another member said that this peer lets it wait: pinged until it answers.
    pub fn suspect(self: &Arc<Self>) {
        self.liveness.suspected.store(true, Ordering::Relaxed);
        self.probe();
    }

    /// Starts the prober when it does not run.
    fn probe(self: &Arc<Self>) {
        let mut probing = self.liveness.probing.lock();
        if !*probing {
            *probing = true;
            tokio::spawn(run(Arc::downgrade(self)));
        }
    }
}

async fn run(peer: Weak<Peer>) {
    let mut connection: Option<Channel> = None;
    let mut retry = RETRY_FIRST;
    loop {
        let Some(alive) = upgrade_and_ping(&peer, &mut connection).await else {
            return;
        };
        let Some(peer) = peer.upgrade() else { return };
        let liveness = &peer.liveness;
        let suspected = liveness.suspected.swap(!alive, Ordering::Relaxed);
        if suspected == alive {
            tracing::info!(peer = peer.address, alive, "pings");
        }
        if suspected && alive {
            // Its calls failed because of what is over.
            peer.succeeded();
        }
        let pause = if alive {
            let mut probing = liveness.probing.lock();
            if liveness.unanswered.receiver_count() == 0 {
                *probing = false;
                return;
            }
            retry = RETRY_FIRST;
            PING_PAUSE
        } else {
            // After a break of the network an old connection repeats its packets ever more rarely.
            connection = None;
            liveness.unanswered.send_modify(|count| *count += 1);
            let pause = retry;
            retry = (retry * 2).min(RETRY_MOST);
            pause
        };
        drop(peer);
        tokio::time::sleep(pause).await;
    }
}

/// Whether the peer answers; none when nobody has it any more.
async fn upgrade_and_ping(peer: &Weak<Peer>, connection: &mut Option<Channel>) -> Option<bool> {
    let address = peer.upgrade()?.address.clone();
    let channel = match connection {
        Some(channel) => channel.clone(),
        None => match connect_lazy(&address) {
            Ok(channel) => connection.insert(channel).clone(),
            Err(_) => return Some(false),
        },
    };
    let mut client = ChunksClient::new(channel);
    let mut ping = std::pin::pin!(client.ping(PingRequest {}));
    for _ in 0..TICKS {
        if let Ok(answer) = tokio::time::timeout(TICK, &mut ping).await {
            // A server that does not know pings lives, too.
            return Some(answer.map_or_else(|status| status.code() == Code::Unimplemented, |_| true));
        }
    }
    Some(false)
}
