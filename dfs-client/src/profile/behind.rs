//! Spans of work that is done behind its callers: an upload of a chunk with content of many files, a commit, a shipment of
//! changes. Who waits for such work looks up what was under way meanwhile. Pure.

use super::Times;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Spans that are kept: more than end in the longest wait of a call, as a rule; beyond it the oldest are forgotten.
const SPANS_MAX: usize = 1024;

struct Span {
    begun: Instant,
    ended: Instant,
    times: Times,
}

#[derive(Default)]
pub(super) struct Behind(VecDeque<Span>);

impl Behind {
    pub fn add(&mut self, begun: Instant, ended: Instant, times: Times) {
        if self.0.len() >= SPANS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Span { begun, ended, times });
    }

    /// What was worked at in this interval. Where spans lie over one another the first one counts: the sum is never more
    /// than the interval.
    pub fn between(&self, from: Instant, to: Instant) -> Times {
        let mut spans: Vec<&Span> = self
            .0
            .iter()
            .filter(|span| span.ended > from && span.begun < to)
            .collect();
        spans.sort_by_key(|span| span.begun);
        let mut times = Times::default();
        let mut cursor = from;
        for span in spans {
            let begun = span.begun.max(cursor);
            let ended = span.ended.min(to);
            let seen = ended.saturating_duration_since(begun);
            let whole = span.ended.saturating_duration_since(span.begun);
            if seen > Duration::ZERO {
                let part = seen.as_secs_f64() / whole.as_secs_f64();
                times.add_all(&span.times.scaled(part));
                cursor = ended;
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stage;
    use super::*;

    #[test]
    fn spans_cover_an_interval_at_most_once() {
        let zero = Instant::now();
        let at = |millis: u64| zero + Duration::from_millis(millis);
        let mut behind = Behind::default();
        let mut put = |begun, ended, stage| {
            let mut times = Times::default();
            times.add(stage, Duration::from_millis(ended - begun));
            behind.add(at(begun), at(ended), times);
        };
        put(0, 100, Stage::Datanode);
        put(50, 120, Stage::Datanode);
        put(150, 250, Stage::Log);
        put(400, 500, Stage::Log);
        let times = behind.between(at(80), at(200));
        let millis = |stage: Stage| (times.0[stage as usize] as f64 / 1e6).round();
        assert_eq!((millis(Stage::Datanode), millis(Stage::Log)), (40.0, 50.0));
        assert_eq!(behind.between(at(300), at(350)), Times::default());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut behind = Behind::default();
        let now = Instant::now();
        for _ in 0..2 * SPANS_MAX {
            behind.add(now, now, Times::default());
        }
        assert_eq!(behind.0.len(), SPANS_MAX);
    }
}
