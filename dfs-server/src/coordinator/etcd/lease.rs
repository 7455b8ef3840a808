//! The coordinator's standing with etcd: one lease, kept alive, under which its entry and its leaderships are.
//! Moves all reigns forward with each answer, counted from the sending of the question, and ends them when the
//! lease is gone. The authority owns it; it knows no volumes.

use super::connection::Etcd;
use super::error::EtcdError;
use crate::coordinator::authority::Standing;
use etcd_client::LeaseGrantOptions;
use parking_lot::Mutex;
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Keepalives per life of the lease: three may be lost.
const KEEPALIVES: u32 = 4;
/// Part of the lease's life that is not used: clocks drift, and what was checked must still leave.
const MARGIN: u32 = 10;
/// Lives of the lease without any answer after which the reigns are given up. Until then they pause: etcd may
/// come back and say that the lease still holds, which etcd prolongs while it has no leader.
const PATIENCE: u32 = 15;
/// Pause between attempts to get a lease.
const PAUSE: Duration = Duration::from_millis(200);

/// A lease that this process holds, and what ends with it.
pub struct Lease {
    pub id: i64,
    state: Mutex<State>,
}

struct State {
    until: Instant,
    standings: Vec<Standing>,
    over: bool,
}

impl Lease {
    /// A reign under this lease; over at once when the lease is.
    pub fn standing(&self) -> Standing {
        let mut state = self.state.lock();
        let standing = Standing::until(state.until.into_std());
        state.standings.retain(|standing| !standing.is_over());
        match state.over {
            true => standing.end(),
            false => state.standings.push(standing.clone()),
        }
        standing
    }

    pub fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Whether a reign is under it.
    pub fn leads(&self) -> bool {
        self.state
            .lock()
            .standings
            .iter()
            .any(|standing| !standing.is_over())
    }

    fn extend(&self, until: Instant) {
        let mut state = self.state.lock();
        state.until = state.until.max(until);
        for standing in &state.standings {
            standing.extend(until.into_std());
        }
    }

    /// Ends every reign under it.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.over = true;
        for standing in state.standings.drain(..) {
            standing.end();
        }
    }
}

/// Gets leases and keeps them alive, one after another; tells the current one. Runs until it is cancelled.
pub async fn keep(etcd: Etcd, ttl: Duration, current: watch::Sender<Option<Arc<Lease>>>) {
    loop {
        let lease = match grant(&etcd, ttl).await {
            Ok(lease) => Arc::new(lease),
            Err(error) => {
                tracing::warn!(%error, "no lease of etcd yet");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        current.send_replace(Some(lease.clone()));
        let reason = keep_one(&etcd, ttl, &lease).await;
        tracing::warn!(
            reason,
            "the lease of etcd is over, and with it every reign of this coordinator"
        );
        lease.end();
        current.send_replace(None);
    }
}

async fn grant(etcd: &Etcd, ttl: Duration) -> Result<Lease, EtcdError> {
    // With a number of our own a repeated question does not leave a second lease behind.
    let id: i64 = rand::rng().random_range(1..i64::MAX);
    let sent = Instant::now();
    let options = LeaseGrantOptions::new().with_id(id);
    let asked = etcd.call("get a lease", sent + ttl, |mut client| {
        let options = options.clone();
        async move { client.lease_grant(ttl.as_secs() as i64, Some(options)).await }
    });
    match asked.await {
        Ok(_) | Err(EtcdError::LeaseExists { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(Lease {
        id,
        state: Mutex::new(State {
            until: sent + usable(ttl),
            standings: Vec::new(),
            over: false,
        }),
    })
}

fn usable(ttl: Duration) -> Duration {
    ttl - ttl / MARGIN
}

/// Keeps the lease alive; the reason why that ended.
async fn keep_one(etcd: &Etcd, ttl: Duration, lease: &Lease) -> String {
    let mut answered = Instant::now();
    loop {
        if lease.is_over() {
            return "it was given up".into();
        }
        let sent = Instant::now();
        let asked = etcd.call("keep the lease", sent + ttl, |mut client| async move {
            client.lease_keep_alive(lease.id).await.map(|_| ())
        });
        match asked.await {
            Ok(()) => {
                answered = sent;
                lease.extend(sent + usable(ttl));
            }
            Err(EtcdError::LeaseGone { .. }) => return "etcd has ended it".into(),
            Err(error) if answered.elapsed() > ttl * PATIENCE => return error.to_string(),
            Err(error) => tracing::warn!(%error, "this coordinator pauses until etcd answers"),
        }
        tokio::time::sleep_until(sent + ttl / KEEPALIVES).await;
    }
}
