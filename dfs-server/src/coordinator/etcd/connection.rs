//! Requests to etcd over all its endpoints: one that is silent is overtaken by the next within a moment, and the
//! one that answers is asked first from then on. The log, the election and the registry ask through here. Every
//! request may take effect more than once or late, so callers send only what can be repeated.

use super::error::{EtcdError, Verdict, judge};
use super::settings::EtcdSettings;
use etcd_client::{Client, ConnectOptions, KvClient};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// After this silence the next endpoint is asked too: a frozen member must not cost a second.
const OVERTAKE: Duration = Duration::from_millis(400);
/// Pause after all endpoints have failed at once, as while etcd elects its leader.
const PAUSE: Duration = Duration::from_millis(50);
/// One request at one endpoint; etcd's own limit is 7 s.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Requests on their way at once for one call.
const ATTEMPTS: usize = 6;
const CONNECT: Duration = Duration::from_secs(1);
/// etcd closes connections that are probed more often than every 5 s.
const PROBE: Duration = Duration::from_secs(10);
const PROBE_ANSWER: Duration = Duration::from_secs(3);
/// Largest answer: a page of records. tonic's own limit of 4 MiB is below what etcd may send.
pub const ANSWER_BYTES: usize = 64 << 20;

struct Endpoint {
    uri: String,
    client: OnceCell<Client>,
}

struct Inner {
    endpoints: Vec<Endpoint>,
    options: ConnectOptions,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
}

/// Connections to the members of one etcd cluster; clones share them.
#[derive(Clone)]
pub struct Etcd(Arc<Inner>);

impl Etcd {
    /// Prepares connections; the first request makes them.
    pub fn new(settings: &EtcdSettings) -> Etcd {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(PROBE, PROBE_ANSWER)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(tls) = &settings.tls {
            options = options.with_tls(tls.clone());
        }
        if let Some((user, password)) = &settings.user {
            options = options.with_user(user.clone(), password.clone());
        }
        let endpoints = settings.endpoints.iter().map(|uri| Endpoint {
            uri: uri.clone(),
            client: OnceCell::new(),
        });
        Etcd(Arc::new(Inner {
            endpoints: endpoints.collect(),
            options,
            preferred: AtomicUsize::new(0),
        }))
    }

    /// How many endpoints there are.
    pub fn endpoints(&self) -> usize {
        self.0.endpoints.len()
    }

    /// The endpoint that answered last, and after it the others in turn.
    pub fn preferred(&self, turn: usize) -> usize {
        (self.0.preferred.load(Ordering::Relaxed) + turn) % self.endpoints()
    }

    /// The client of one endpoint, for what concerns that member alone and for long streams.
    pub async fn client(&self, endpoint: usize) -> Result<Client, etcd_client::Error> {
        let endpoint = &self.0.endpoints[endpoint % self.endpoints()];
        let connect = || Client::connect([endpoint.uri.clone()], Some(self.0.options.clone()));
        endpoint.client.get_or_try_init(connect).await.cloned()
    }

    /// The endpoint's address, for messages.
    pub fn name(&self, endpoint: usize) -> &str {
        &self.0.endpoints[endpoint % self.endpoints()].uri
    }

    /// Asks until an endpoint answers, at most until `deadline`. `ask` may be done several times.
    pub async fn call<T, Fut>(
        &self,
        doing: &'static str,
        deadline: Instant,
        ask: impl Fn(Client) -> Fut,
    ) -> Result<T, EtcdError>
    where
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let attempt = |turn: usize| {
            let (endpoint, ask) = (self.preferred(turn), &ask);
            async move {
                let asked = async { ask(self.client(endpoint).await?).await };
                (endpoint, tokio::time::timeout(ATTEMPT, asked).await)
            }
        };
        let mut last = "none was reached in time".to_owned();
        let mut attempts = FuturesUnordered::new();
        let mut turn = 0;
        loop {
            if attempts.len() < ATTEMPTS {
                attempts.push(attempt(turn));
                turn += 1;
            }
            tokio::select! {
                biased;
                Some((endpoint, answer)) = attempts.next(), if !attempts.is_empty() => match answer {
                    Ok(Ok(answer)) => {
                        self.0.preferred.store(endpoint, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Ok(Err(error)) => match judge(doing, error) {
                        Verdict::Final(error) => return Err(error),
                        Verdict::Again(reason) => last = format!("{}: {reason}", self.name(endpoint)),
                    },
                    Err(_) => last = format!("{}: no answer", self.name(endpoint)),
                },
                () = tokio::time::sleep(OVERTAKE) => {}
                () = tokio::time::sleep_until(deadline) => {
                    return Err(EtcdError::Unreachable { doing, last });
                }
            }
            if turn.is_multiple_of(self.endpoints()) {
                // All were asked since the last pause.
                tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
            }
        }
    }
}

/// The key-value part, with room for a page of records.
pub fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(ANSWER_BYTES)
}
