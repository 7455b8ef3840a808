//! What happened between two looks at a mount: rates, and quantiles of times from the differences of histograms. Pure.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The pages of a mount's report at one moment.
pub(super) struct Look {
    pub at: Instant,
    pub general: Value,
    pub calls: Value,
    pub requests: Value,
}

/// Calls of one kind in an interval.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub op: String,
    pub count: u64,
    pub per_second: f64,
    pub mean: Duration,
    pub half: Duration,
    pub most: Duration,
    /// Time that all of them took together.
    pub total: Duration,
}

/// An interval.
pub(super) struct Picture {
    pub seconds: f64,
    /// That which took most time first.
    pub calls: Vec<Row>,
    pub requests: Vec<Row>,
    before: Value,
    pub now: Value,
}

impl Picture {
    /// `only` names the operations that are wanted; empty: all.
    pub fn between(before: &Look, now: &Look, only: &[String]) -> Picture {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-6);
        let wanted = |row: &Row| only.is_empty() || only.contains(&row.op);
        let mut calls = rows(&before.calls, &now.calls, seconds);
        calls.retain(wanted);
        let mut requests = rows(&before.requests, &now.requests, seconds);
        requests.retain(wanted);
        Picture {
            seconds,
            calls,
            requests,
            before: before.general.clone(),
            now: now.general.clone(),
        }
    }

    /// A figure that stands for this moment.
    pub fn present(&self, name: &str) -> u64 {
        self.now[name].as_u64().unwrap_or(0)
    }

    /// How much a figure rose.
    pub fn rose(&self, name: &str) -> u64 {
        let before = self.before[name].as_u64().unwrap_or(0);
        self.present(name).saturating_sub(before)
    }

    pub fn rate(&self, name: &str) -> f64 {
        self.rose(name) as f64 / self.seconds
    }

    /// All calls together.
    pub fn all_calls(&self) -> f64 {
        self.calls.iter().map(|row| row.per_second).sum()
    }

    pub fn all_requests(&self) -> f64 {
        self.requests.iter().map(|row| row.per_second).sum()
    }

    /// The part of the bytes of blocks that needed no datanode; nothing when none were needed.
    pub fn hit_part(&self) -> Option<f64> {
        let hits = self.rose("memory_hit_bytes") + self.rose("disk_hit_bytes");
        let all = hits + self.rose("downloaded_bytes");
        (all > 0).then(|| hits as f64 / all as f64)
    }
}

fn numbers(value: &Value) -> Vec<u64> {
    let all = value.as_array().into_iter().flatten();
    all.map(|number| number.as_u64().unwrap_or(0)).collect()
}

fn by_op(page: &Value) -> BTreeMap<&str, (u64, Vec<u64>)> {
    let rows = page["rows"].as_array().into_iter().flatten();
    rows.filter_map(|row| {
        Some((
            row["op"].as_str()?,
            (row["sum"].as_u64()?, numbers(&row["counts"])),
        ))
    })
    .collect()
}

/// What was called between two pages, longest together first.
fn rows(before: &Value, now: &Value, seconds: f64) -> Vec<Row> {
    let bounds = numbers(&now["bounds"]);
    let old = by_op(before);
    let mut rows: Vec<Row> = by_op(now)
        .into_iter()
        .filter_map(|(op, (sum, counts))| {
            let (old_sum, old_counts) = old.get(op).cloned().unwrap_or_default();
            let was = |at: usize| old_counts.get(at).copied().unwrap_or(0);
            let counts = counts.iter().enumerate();
            let counts: Vec<u64> = counts.map(|(at, count)| count.saturating_sub(was(at))).collect();
            let count: u64 = counts.iter().sum();
            let total = Duration::from_nanos(sum.saturating_sub(old_sum));
            (count > 0).then(|| Row {
                op: op.to_owned(),
                count,
                per_second: count as f64 / seconds,
                mean: total.div_f64(count as f64),
                half: quantile(&bounds, &counts, 0.5),
                most: quantile(&bounds, &counts, 0.99),
                total,
            })
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.total));
    rows
}

/// The time within which a part of the calls was done, taken as evenly spread inside a bucket. What is above all bounds
/// counts as the last of them.
fn quantile(bounds: &[u64], counts: &[u64], part: f64) -> Duration {
    let wanted = counts.iter().sum::<u64>() as f64 * part;
    let mut below = 0.0;
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if below + count >= wanted {
            let low = at
                .checked_sub(1)
                .and_then(|at| bounds.get(at))
                .copied()
                .unwrap_or(0);
            let high = bounds.get(at).copied().unwrap_or(low);
            let inside = (wanted - below) / count;
            return Duration::from_nanos(low + ((high.saturating_sub(low)) as f64 * inside) as u64);
        }
        below += count;
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look(at: Instant, sum: u64, counts: &[u64], read: u64) -> Look {
        Look {
            at,
            general: json!({ "memory_hit_bytes": read, "downloaded_bytes": read / 3, "unshipped": 4 }),
            calls: json!({ "bounds": [1000, 2000, 4000], "rows": [
                { "op": "lookup", "sum": sum, "counts": counts },
                { "op": "idle", "sum": 5, "counts": [1] },
            ] }),
            requests: json!({ "bounds": [], "rows": [] }),
        }
    }

    #[test]
    fn differences_become_rates_and_quantiles() {
        let at = Instant::now();
        let before = look(at, 1_000_000, &[5], 0);
        let now = look(at + Duration::from_secs(2), 1_100_000, &[5, 90, 9, 1], 300);
        let picture = Picture::between(&before, &now, &[]);
        assert_eq!(picture.calls.len(), 1, "what was not called is not shown");
        let row = &picture.calls[0];
        assert_eq!(
            (row.op.as_str(), row.count, row.per_second),
            ("lookup", 100, 50.0)
        );
        assert_eq!(
            (row.total, row.mean),
            (Duration::from_micros(100), Duration::from_micros(1))
        );
        assert!(row.half > Duration::from_nanos(1500) && row.half < Duration::from_nanos(1600));
        assert_eq!(row.most, Duration::from_micros(4));
        assert_eq!(
            (picture.rate("memory_hit_bytes"), picture.hit_part()),
            (150.0, Some(0.75))
        );
        assert_eq!((picture.present("unshipped"), picture.rose("unshipped")), (4, 0));
        let other = Picture::between(&before, &now, &["read".to_owned()]);
        assert!(other.calls.is_empty() && other.all_calls() == 0.0);
    }

    #[test]
    fn what_is_above_all_bounds_is_the_last_bound() {
        assert_eq!(quantile(&[10, 20], &[0, 0, 3], 0.5), Duration::from_nanos(20));
        assert_eq!(quantile(&[10, 20], &[], 0.5), Duration::ZERO);
    }
}
