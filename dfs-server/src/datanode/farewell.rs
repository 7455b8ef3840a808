//! An orderly stop as the coordinator hears of it: asked for, told with the next heartbeat, believed by everybody a
//! moment later; only then does the datanode stop to serve. So nobody has to suspect a node that is merely restarted.
//! The heartbeat tells; the role asks and waits.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A coordinator that does not hear the farewell by then finds out by itself.
const TELL_LIMIT: Duration = Duration::from_secs(2);
/// How long the news travels from the coordinator to all clients.
const NEWS: Duration = Duration::from_millis(300);

/// How far the farewell has come; clones are the same.
#[derive(Clone)]
pub struct Farewell {
    asked: Arc<watch::Sender<bool>>,
    told: Arc<watch::Sender<bool>>,
}

impl Default for Farewell {
    fn default() -> Farewell {
        Farewell {
            asked: Arc::new(watch::Sender::new(false)),
            told: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Farewell {
    /// Whether the datanode is about to stop.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits that long, or until the farewell is asked for.
    pub async fn pause(&self, time: Duration) {
        if self.is_asked() {
            tokio::time::sleep(time).await;
            return;
        }
        let mut asked = self.asked.subscribe();
        // The sender is here: it cannot be gone.
        let _ = tokio::time::timeout(time, asked.wait_for(|asked| *asked)).await;
    }

    /// The coordinator has heard it.
    pub fn told(&self) {
        self.told.send_replace(true);
    }

    /// Says farewell, and returns when everybody may know, or when nobody listens.
    pub async fn say(&self) {
        self.asked.send_replace(true);
        let mut told = self.told.subscribe();
        let heard = tokio::time::timeout(TELL_LIMIT, told.wait_for(|told| *told))
            .await
            .is_ok();
        if heard {
            tokio::time::sleep(NEWS).await;
        } else {
            tracing::warn!("no coordinator heard that this datanode stops; it will be missed after a while");
        }
    }
}
