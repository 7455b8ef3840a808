//! gRPC channels, tuned in this one place, and the pool of them: one slot per server address with its health.
//! The client's session and transfers use it, and so do the servers among themselves. Of messages it knows the ping
//! and those of framed connections.

mod framed;
mod liveness;
mod pace;
mod pages;
mod stream;
mod wire;

pub use framed::{Exchange, machine};
pub use liveness::Frozen;
pub use wire::{Closer, Wire};

use parking_lot::Mutex;
use rand::RngExt;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// A window as large as a chunk, so that a whole chunk may be on its way.
pub const STREAM_WINDOW: u32 = 8 << 20;
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// Payload messages are 1 MiB: large frames cost fewer wake-ups.
pub const FRAME_SIZE: u32 = 1 << 20;
/// Largest message that is received: a directory page of 4,096 long names with attributes fits.
pub const MESSAGE_MAX: usize = 16 << 20;
/// A server on the network answers a connection within this or is taken for dead.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections per address, used in turn: one HTTP/2 connection is one task, which is one core.
const ROTATION: usize = 2;
/// Failures in a row after which an address is left alone for a while.
const BREAKER_FAILURES: u32 = 2;
const BREAKER_PAUSE: Duration = Duration::from_millis(500);
const BREAKER_PAUSE_MAX: Duration = Duration::from_secs(8);

/// A channel to `host:port` that connects when first used and reconnects by itself.
pub fn connect_lazy(address: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_lazy())
}

/// One server address: its channels and how it has behaved.
pub struct Peer {
    address: String,
    channels: Vec<Channel>,
    turn: AtomicUsize,
    failures: AtomicU32,
    /// Milliseconds after `started` before which the address is left alone.
    closed_until: AtomicU64,
    started: Instant,
    load: AtomicUsize,
    liveness: liveness::Liveness,
    pace: pace::Pace,
    framed: framed::Framed,
    pages: pages::Unknown,
}

impl Peer {
    fn new(address: &str, started: Instant) -> Result<Peer, tonic::transport::Error> {
        let channels = (0..ROTATION)
            .map(|_| connect_lazy(address))
            .collect::<Result<_, _>>()?;
        Ok(Peer {
            address: address.to_string(),
            channels,
            turn: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            closed_until: AtomicU64::new(0),
            started,
            load: AtomicUsize::new(0),
            liveness: liveness::Liveness::default(),
            pace: pace::Pace::default(),
            framed: framed::Framed::default(),
            pages: pages::Unknown::default(),
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next of the address's channels.
    pub fn channel(&self) -> Channel {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.channels[turn % self.channels.len()].clone()
    }

    /// Whether it answers its pings and the circuit is closed: the address answered lately, or its pause is over.
    pub fn is_healthy(&self) -> bool {
        !self.is_suspected()
            && self.started.elapsed().as_millis() as u64 >= self.closed_until.load(Ordering::Relaxed)
    }

    /// Transfers under way.
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Counts a transfer until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InUse {
        self.load.fetch_add(1, Ordering::Relaxed);
        InUse(self.clone())
    }

    /// A part of a transfer took so long to come.
    pub fn answered_in(&self, took: Duration) {
        self.pace.note(took);
    }

    /// Nearly all recent parts of transfers came within this; none when there were too few.
    pub fn usual_answer(&self) -> Option<Duration> {
        self.pace.usual()
    }

    pub fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.closed_until.store(0, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= BREAKER_FAILURES {
            let doubled = BREAKER_PAUSE * 2u32.saturating_pow((failures - BREAKER_FAILURES).min(8));
            let until = self.started.elapsed() + doubled.min(BREAKER_PAUSE_MAX);
            self.closed_until
                .store(until.as_millis() as u64, Ordering::Relaxed);
        }
    }
}

/// A transfer under way at a peer.
pub struct InUse(Arc<Peer>);

impl InUse {
    pub fn peer(&self) -> &Peer {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Peers by address. Bounded by the number of servers that a cluster ever had at one client.
pub struct Pool {
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    started: Instant,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            peers: Mutex::default(),
            started: Instant::now(),
        }
    }
}

impl Pool {
    /// The peer at `host:port`. Must be called inside a tokio runtime.
    pub fn peer(&self, address: &str) -> Result<Arc<Peer>, tonic::transport::Error> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(address) {
            return Ok(peer.clone());
        }
        let peer = Arc::new(Peer::new(address, self.started)?);
        peers.insert(address.to_string(), peer.clone());
        Ok(peer)
    }

    /// Forgets the addresses that are not among `live`.
    pub fn retain(&self, live: impl Fn(&str) -> bool) {
        self.peers.lock().retain(|address, _| live(address));
    }
}

/// Waits between attempts: doubling, with jitter so that many clients do not return at one moment, up to a
/// deadline.
pub struct Backoff {
    next: Duration,
    most: Duration,
    deadline: Option<Instant>,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration, deadline: Option<Instant>) -> Backoff {
        Backoff {
            next: first,
            most,
            deadline,
        }
    }

    /// The next wait, `None` when the deadline leaves no room for another attempt.
    pub fn delay(&mut self) -> Option<Duration> {
        let jitter = rand::rng().random_range(0.5..1.0);
        let delay = self.next.mul_f64(jitter);
        self.next = (self.next * 2).min(self.most);
        match self.deadline {
            Some(deadline) if Instant::now() + delay >= deadline => None,
            _ => Some(delay),
        }
    }

    /// Waits; false when the deadline leaves no room for another attempt.
    pub async fn wait(&mut self) -> bool {
        match self.delay() {
            Some(delay) => {
                tokio::time::sleep(delay).await;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_address_is_left_alone_and_comes_back() {
        let pool = Pool::default();
        let peer = pool.peer("127.0.0.1:1").unwrap();
        assert!(peer.is_healthy());
        for _ in 0..BREAKER_FAILURES {
            peer.failed();
        }
        assert!(!peer.is_healthy());
        peer.succeeded();
        assert!(peer.is_healthy());
        let busy = peer.begin();
        assert_eq!(peer.load(), 1);
        drop(busy);
        assert_eq!(peer.load(), 0);
    }

    #[test]
    fn waits_end_at_the_deadline() {
        let mut backoff = Backoff::new(
            Duration::from_millis(10),
            Duration::from_millis(40),
            Some(Instant::now() + Duration::from_millis(15)),
        );
        backoff.delay();
        backoff.delay();
        // Now at least 20 ms: past the deadline.
        assert!(backoff.delay().is_none());
    }
}
