//! What the executor counts of itself for operators. Owned by the executor; registered in its volume's scope, so that
//! it goes when the executor goes. It decides nothing, and nothing is decided by it.

use super::Executor;
use dfs_client::observe::{Counter, Gauge, Histogram, Metrics, Observer, Pulse, request};
use dfs_core::ids::Index;
use dfs_proto::v1;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The executor comes round ten times a second; one that did not for so long hangs.
const STANDSTILL: Duration = Duration::from_secs(10);
/// How often gauges that must be summed up are.
const SUMS: Duration = Duration::from_secs(1);
/// A call that took so long is worth a line in the log, with the id that its mount logs too.
const SLOW: Duration = Duration::from_secs(1);

pub struct Figures {
    metrics: Metrics,
    pulse: Pulse,
    calls: BTreeMap<&'static str, Histogram>,
    append: Histogram,
    record_rows: Histogram,
    record_bytes: Histogram,
    submitted: VecDeque<(Index, Instant)>,
    pub recalls: Counter,
    pub recall_time: Histogram,
    pub revoked: Counter,
    sessions: Gauge,
    leases: Gauge,
    locks: Gauge,
    parked: Gauge,
    nodes_alive: Gauge,
    nodes: Gauge,
    log_index: Gauge,
    term: Gauge,
    inodes: Gauge,
    bytes: Gauge,
    summed: Instant,
}

/// A call that was taken: since when, and what it is.
#[derive(Clone, Copy)]
pub struct Taken {
    /// When it came to this process, if its client wants to know.
    pub arrived: Option<Instant>,
    pub since: Instant,
    /// When it was executed for good.
    pub executed: Instant,
    pub kind: &'static str,
}

impl Taken {
    /// Where its time went, for a client that wants to know.
    pub fn timing(&self, now: Instant) -> Option<v1::Timing> {
        let between = |from: Instant, to: Instant| {
            let micros = to.saturating_duration_since(from).as_micros();
            u32::try_from(micros).unwrap_or(u32::MAX)
        };
        self.arrived.map(|arrived| v1::Timing {
            queued_us: between(arrived, self.since),
            waited_us: between(self.since, self.executed),
            log_us: between(self.executed, now),
        })
    }
}

impl Figures {
    pub fn new(observer: &Observer, volume: &str, now: Instant) -> Figures {
        let metrics = observer.metrics.clone();
        let pulse = Pulse::default();
        pulse.watch(
            &observer.health,
            &format!("executor of volume {volume}"),
            STANDSTILL,
        );
        let gauge = |name, help| metrics.gauge(name, help);
        Figures {
            pulse,
            calls: BTreeMap::new(),
            append: metrics.times(
                "dfs_coordinator_log_append_seconds",
                "Time from handing a record to the log until it was durable",
            ),
            record_rows: metrics.sizes("dfs_coordinator_log_record_rows", "Rows of a record"),
            record_bytes: metrics.sizes("dfs_coordinator_log_record_bytes", "Bytes of a record"),
            submitted: VecDeque::new(),
            recalls: metrics.counter(
                "dfs_coordinator_recalls_total",
                "Leases that sessions were asked to give back",
            ),
            recall_time: metrics.times(
                "dfs_coordinator_recall_seconds",
                "Time from a recall until the session had given the lease back",
            ),
            revoked: metrics.counter(
                "dfs_coordinator_leases_revoked_total",
                "Leases taken from sessions that were silent or did not give them back in time",
            ),
            sessions: gauge("dfs_coordinator_sessions", "Sessions of clients"),
            leases: gauge("dfs_coordinator_leases", "Leases held by all sessions"),
            locks: gauge("dfs_coordinator_locks", "File locks held and waited for"),
            parked: gauge(
                "dfs_coordinator_parked_calls",
                "Calls that wait for a lease of another session",
            ),
            nodes_alive: gauge("dfs_coordinator_datanodes_alive", "Datanodes that beat"),
            nodes: gauge("dfs_coordinator_datanodes", "Datanodes known"),
            log_index: gauge("dfs_coordinator_log_index", "Number of the newest durable record"),
            term: gauge("dfs_coordinator_term", "Number of the present reign"),
            inodes: gauge("dfs_coordinator_inodes", "Inodes of the volume"),
            bytes: gauge("dfs_coordinator_file_bytes", "Bytes of all files of the volume"),
            summed: now,
            metrics,
        }
    }

    /// A call was answered and the answer left.
    pub fn answered(&mut self, session: dfs_core::ids::SessionId, op_id: u64, taken: Taken, now: Instant) {
        let time = now.saturating_duration_since(taken.since);
        let metrics = &self.metrics;
        let calls = self.calls.entry(taken.kind).or_insert_with(|| {
            let help = "Time from taking a call until its answer left, by operation";
            let all = metrics.times_by("dfs_coordinator_call_seconds", help, "op", &[taken.kind]);
            all.into_iter().next().expect("one for each value")
        });
        calls.took(time);
        let (kind, millis) = (taken.kind, time.as_millis());
        if time >= SLOW {
            tracing::warn!(request = %request::call(session, op_id), op = kind, ms = millis, "a slow call");
        } else {
            tracing::debug!(request = %request::call(session, op_id), op = kind, ms = millis, "a call was answered");
        }
    }

    pub fn submitted(&mut self, index: Index, rows: usize, bytes: usize, now: Instant) {
        self.record_rows.note(rows as u64);
        self.record_bytes.note(bytes as u64);
        self.submitted.push_back((index, now));
    }

    pub fn durable(&mut self, index: Index, now: Instant) {
        while let Some((first, since)) = self.submitted.front().copied()
            && first <= index
        {
            self.append.took(now.saturating_duration_since(since));
            self.submitted.pop_front();
        }
    }
}

impl Executor {
    /// Shows how things stand.
    pub(super) fn show_figures(&mut self) {
        self.figures.pulse.beat();
        let now = self.now.monotonic;
        if now.saturating_duration_since(self.figures.summed) < SUMS {
            return;
        }
        let leases = self.leases.total();
        let alive = self.cluster.nodes.values().filter(|node| node.alive).count();
        let figures = &mut self.figures;
        figures.summed = now;
        figures.sessions.set(self.sessions.len() as u64);
        figures.leases.set(leases as u64);
        figures.locks.set(self.locks.len() as u64);
        figures.parked.set(self.parked.len() as u64);
        figures.nodes_alive.set(alive as u64);
        figures.nodes.set(self.cluster.nodes.len() as u64);
        figures.log_index.set(self.durable.0);
        figures.term.set(self.term.0);
        figures.inodes.set(self.counters.inodes.max(0) as u64);
        figures.bytes.set(self.counters.bytes.max(0) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_wants_it_hears_where_its_time_went() {
        let at = Instant::now();
        let after = |millis| at + Duration::from_millis(millis);
        let taken = Taken {
            arrived: Some(at),
            since: after(2),
            executed: after(12),
            kind: "make",
        };
        let timing = v1::Timing {
            queued_us: 2_000,
            waited_us: 10_000,
            log_us: 7_000,
        };
        assert_eq!(taken.timing(after(19)), Some(timing));
        let others = Taken {
            arrived: None,
            ..taken
        };
        assert_eq!(others.timing(after(19)), None);
    }
}
