//! What the load generator counts and how it tells it: progress on the terminal, a table or JSON at the end.

use super::Settings;
use dfs_proto::v1;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often progress is shown and a sample taken.
const SAMPLE: Duration = Duration::from_secs(1);

/// One phase while it runs. All sessions count in it, in one thread.
pub(super) struct Tally {
    name: &'static str,
    began: Instant,
    done: Cell<u64>,
    /// Refusals by their code.
    errors: RefCell<BTreeMap<u32, u64>>,
    /// Time from sending a batch until all of it was answered, microseconds.
    times: RefCell<Vec<u32>>,
    /// Operations done after each interval, and the interval's rate.
    samples: RefCell<Vec<(u64, f64)>>,
    last: Cell<(Instant, u64)>,
    shows: bool,
}

/// One phase that is over.
pub(super) struct Phase {
    name: &'static str,
    done: u64,
    errors: BTreeMap<u32, u64>,
    seconds: f64,
    times: Vec<u32>,
    samples: Vec<(u64, f64)>,
}

impl Tally {
    pub fn new(name: &'static str, json: bool) -> Tally {
        let now = Instant::now();
        Tally {
            name,
            began: now,
            done: Cell::new(0),
            errors: RefCell::default(),
            times: RefCell::default(),
            samples: RefCell::default(),
            last: Cell::new((now, 0)),
            shows: !json && std::io::stderr().is_terminal(),
        }
    }

    pub fn answered(&self, replies: &[v1::Reply]) {
        for reply in replies {
            if let Some(v1::reply::Outcome::Error(code)) = &reply.outcome {
                *self.errors.borrow_mut().entry(*code).or_default() += 1;
            }
        }
        self.count(replies.len() as u64);
    }

    /// A page of a listing: its entries count.
    pub fn listed<'a>(&self, replies: &'a [v1::Reply]) -> Option<&'a v1::Page> {
        match replies.first().and_then(|reply| reply.outcome.as_ref()) {
            Some(v1::reply::Outcome::Result(v1::Result {
                result: Some(v1::result::Result::Page(page)),
            })) => {
                self.count(page.entries.len() as u64);
                Some(page)
            }
            _ => {
                self.answered(replies);
                None
            }
        }
    }

    pub fn took(&self, time: Duration) {
        self.times.borrow_mut().push(time.as_micros() as u32);
    }

    fn count(&self, more: u64) {
        let done = self.done.get() + more;
        self.done.set(done);
        let (since, before) = self.last.get();
        let passed = since.elapsed();
        if passed >= SAMPLE {
            let rate = (done - before) as f64 / passed.as_secs_f64();
            self.samples.borrow_mut().push((done, rate));
            self.last.set((Instant::now(), done));
            if self.shows {
                eprint!("\r{}: {done} done, {rate:.0}/s   ", self.name);
            }
        }
    }

    pub fn finish(self) -> Phase {
        if self.shows {
            eprint!("\r\x1b[K");
        }
        let mut times = self.times.into_inner();
        times.sort_unstable();
        Phase {
            name: self.name,
            done: self.done.get(),
            errors: self.errors.into_inner(),
            seconds: self.began.elapsed().as_secs_f64().max(1e-6),
            times,
            samples: self.samples.into_inner(),
        }
    }
}

impl Phase {
    fn rate(&self) -> f64 {
        self.done as f64 / self.seconds
    }

    /// The time that this share of the batches needed at most, milliseconds.
    fn quantile(&self, share: f64) -> f64 {
        let place = (self.times.len() as f64 * share) as usize;
        let time = self.times.get(place.min(self.times.len().saturating_sub(1)));
        f64::from(time.copied().unwrap_or_default()) / 1000.0
    }

    fn as_json(&self) -> Value {
        json!({
            "phase": self.name,
            "operations": self.done,
            "errors": self.errors.values().sum::<u64>(),
            "seconds": self.seconds,
            "per_second": self.rate(),
            "batch_ms_p50": self.quantile(0.5),
            "batch_ms_p99": self.quantile(0.99),
            "samples": self.samples,
        })
    }
}

/// All phases of a run.
pub(super) struct Report {
    json: bool,
    settings: Value,
    phases: Vec<Phase>,
}

impl Report {
    pub fn new(inodes: u64, settings: &Settings) -> Report {
        Report {
            json: settings.json,
            settings: json!({
                "inodes_before": inodes,
                "sessions": settings.sessions,
                "files": settings.files,
                "per_dir": settings.per_dir,
                "batch": settings.batch,
                "window": settings.window,
            }),
            phases: Vec::new(),
        }
    }

    pub fn add(&mut self, phase: Phase) {
        if !self.json {
            if self.phases.is_empty() {
                say!(
                    "{:<8} {:>12} {:>10} {:>12} {:>14} {:>14} {:>8}",
                    "PHASE",
                    "OPERATIONS",
                    "SECONDS",
                    "PER SECOND",
                    "BATCH p50 ms",
                    "BATCH p99 ms",
                    "ERRORS"
                );
            }
            say!(
                "{:<8} {:>12} {:>10.2} {:>12.0} {:>14.2} {:>14.2} {:>8}",
                phase.name,
                phase.done,
                phase.seconds,
                phase.rate(),
                phase.quantile(0.5),
                phase.quantile(0.99),
                phase.errors.values().sum::<u64>(),
            );
            for (code, count) in &phase.errors {
                say!("         {count} were refused: {}", refusal(*code));
            }
        }
        self.phases.push(phase);
    }

    pub fn errors(&self) -> u64 {
        self.phases.iter().flat_map(|phase| phase.errors.values()).sum()
    }

    pub fn print(&self, kept: Option<&str>) {
        if self.json {
            let phases: Vec<Value> = self.phases.iter().map(Phase::as_json).collect();
            say!(
                "{}",
                json!({ "settings": self.settings, "phases": phases, "kept": kept })
            );
        } else if let Some(kept) = kept {
            say!("{kept}");
        }
    }
}

/// What a refusal's code says.
fn refusal(code: u32) -> String {
    match dfs_proto::convert::fs_error(code) {
        Ok(error) => error.to_string(),
        Err(_) => format!("code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_rates_are_those_of_what_was_counted() {
        let tally = Tally::new("create", true);
        for millis in 1..=100 {
            tally.took(Duration::from_millis(millis));
        }
        let error = v1::Reply {
            outcome: Some(v1::reply::Outcome::Error(5)),
            ..v1::Reply::default()
        };
        tally.answered(&[v1::Reply::default(), error]);
        let phase = tally.finish();
        assert_eq!(phase.done, 2);
        assert_eq!(phase.errors.values().sum::<u64>(), 1);
        assert_eq!((phase.quantile(0.5), phase.quantile(0.99)), (51.0, 100.0));
    }
}
