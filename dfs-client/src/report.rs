//! What a mount says of itself to `dfs stats` and `dfs profile` through an ioctl: pages of JSON, so that a command and a mount of different
//! versions understand each other. Made by `vfs` and the kernel's door, read by `commands::{stats, profile}`. Knows no kernel.

use crate::observe::Histogram;
use serde_json::{Value, json};

/// The pages, by number; one fits into an answer.
pub const GENERAL: u32 = 0;
/// The kernel's calls by operation.
pub const CALLS: u32 = 1;
/// What was asked of the coordinator, by operation.
pub const REQUESTS: u32 = 2;
/// Where the time of calls went, by operation.
pub const PROFILE: u32 = 3;
/// The slow calls of the profile, one a page from here on.
pub const SLOW: u32 = 16;

/// Histograms of times as a page: bounds in nanoseconds, and of each that was used its sum and counts.
pub fn times<'a>(named: impl Iterator<Item = (&'a str, &'a Histogram)>) -> Value {
    let mut bounds: &[u64] = &[];
    let mut rows = Vec::new();
    for (name, histogram) in named {
        bounds = histogram.bounds();
        let (sum, mut counts) = histogram.counts();
        let used = counts.iter().rposition(|count| *count > 0);
        let Some(last) = used else { continue };
        counts.truncate(last + 1);
        rows.push(json!({ "op": name, "sum": sum, "counts": counts }));
    }
    json!({ "bounds": bounds, "rows": rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioctl::REPORT_TEXT;
    use crate::observe::Metrics;
    use std::time::Duration;

    #[test]
    fn a_page_of_every_operation_fits_into_an_answer() {
        let names: Vec<String> = (0..46).map(|number| format!("operation_{number}")).collect();
        let metrics = Metrics::new();
        let used = metrics.times("used_seconds", "For the test");
        let unused = metrics
            .labelled("other", "1")
            .times("unused_seconds", "For the test");
        for bound in used.bounds() {
            for _ in 0..12 {
                used.took(Duration::from_nanos(*bound));
            }
        }
        let all = names.iter().map(|name| (name.as_str(), &used));
        let page = times(all.chain([("unused", &unused)]));
        assert_eq!(page["rows"].as_array().unwrap().len(), 46);
        // Counts of nine digits each would still fit.
        let digits = page.to_string().len() + 46 * used.bounds().len() * 7 + 46 * 12;
        assert!(digits < REPORT_TEXT, "{digits}");
    }
}
