//! What a process shows of itself: figures for Prometheus, whether it lives, whether it is ready. Every role and
//! every mount makes one [`Observer`], hands its parts down to whoever counts or knows, and serves it over HTTP.
//! Knows no role: names and meanings are where the figures are counted, and in docs/OPERATIONS.md.

mod cells;
mod health;
mod http;
mod listen;
mod metrics;
mod notify;
mod process;
pub mod request;
#[cfg(test)]
mod tests;

pub use cells::{Counter, Gauge, Histogram};
pub use health::{Health, Pulse};
pub use listen::{Listen, begin};
pub use metrics::Metrics;

/// The figures and the health of one process; clones are the same.
#[derive(Clone)]
pub struct Observer {
    pub metrics: Metrics,
    pub health: Health,
}

impl Observer {
    /// With what is true of every process: version, start, memory, processor time, open files.
    pub fn new() -> Observer {
        let metrics = Metrics::new();
        process::register(&metrics);
        Observer {
            metrics,
            health: Health::default(),
        }
    }

    /// The same for a part of the process, whose figures carry a label.
    pub fn part(&self, label: &'static str, value: &str) -> Observer {
        Observer {
            metrics: self.metrics.labelled(label, value),
            health: self.health.clone(),
        }
    }
}

impl Default for Observer {
    fn default() -> Observer {
        Observer::new()
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}
