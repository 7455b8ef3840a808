//! What a datanode counts of itself for operators: each request by operation and outcome, bytes, and what its store
//! says. The service counts at its edges; the rest is asked for at each look.

use super::super::store::ChunkStore;
use super::transfers::Transfers;
use dfs_client::observe::{Counter, Histogram, Metrics};
use std::sync::Arc;
use std::time::Instant;

/// The requests, in the order of their cells.
const OPERATIONS: [&str; 8] = [
    "put",
    "get",
    "get_pages",
    "delete",
    "verify",
    "pull",
    "list",
    "compose",
];

pub struct Figures {
    requests: Vec<Histogram>,
    failures: Vec<Counter>,
    /// Content that came from the network and is on the disk.
    pub received: Counter,
    /// Content that was sent to readers.
    pub sent: Counter,
}

impl Figures {
    pub fn new(metrics: &Metrics, store: &Arc<dyn ChunkStore>, transfers: &Transfers) -> Figures {
        let help =
            "Time of a request until its answer began (get, verify, list) or was complete, by operation";
        let figures = Figures {
            requests: metrics.times_by("dfs_datanode_request_seconds", help, "op", &OPERATIONS),
            failures: metrics.counters(
                "dfs_datanode_request_failures_total",
                "Requests that failed or were refused, by operation",
                "op",
                &OPERATIONS,
            ),
            received: metrics.counter(
                "dfs_datanode_received_bytes_total",
                "Content received and made durable",
            ),
            sent: metrics.counter("dfs_datanode_sent_bytes_total", "Content read for others"),
        };
        show_store(metrics, store);
        let transfers = transfers.clone();
        metrics.read_gauge(
            "dfs_datanode_transfers",
            "Chunks that are being received",
            move || f64::from(transfers.count()),
        );
        figures
    }

    /// A request ended so after it had begun then.
    pub fn request(&self, operation: &str, begun: Instant, failed: bool) {
        let Some(at) = OPERATIONS.iter().position(|own| *own == operation) else {
            return;
        };
        self.requests[at].since(begun);
        if failed {
            self.failures[at].inc();
        }
    }
}

fn show_store(metrics: &Metrics, store: &Arc<dyn ChunkStore>) {
    let ask = |what: fn(&dyn ChunkStore) -> f64| {
        let store = store.clone();
        move || what(store.as_ref())
    };
    metrics.read_gauge(
        "dfs_datanode_capacity_bytes",
        "Most bytes for chunks",
        ask(|store| store.usage().capacity as f64),
    );
    metrics.read_gauge(
        "dfs_datanode_used_bytes",
        "Bytes taken by chunks",
        ask(|store| store.usage().used as f64),
    );
    metrics.read_gauge(
        "dfs_datanode_free_bytes",
        "Bytes that chunks can still take",
        ask(|store| store.usage().free as f64),
    );
    metrics.read_gauge(
        "dfs_datanode_chunks",
        "Chunks held",
        ask(|store| store.usage().chunks as f64),
    );
    metrics.read_counter(
        "dfs_datanode_syncs_total",
        "Times that the disk was waited for to make writes durable",
        ask(|store| store.syncs() as f64),
    );
    metrics.read_gauge(
        "dfs_datanode_problem",
        "1 when the store complains (`dfs status` says what about)",
        ask(|store| if store.problem().is_some() { 1.0 } else { 0.0 }),
    );
}
