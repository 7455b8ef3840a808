//! A recording as the mount hands it over, read into values. Pure.

use serde_json::Value;
use std::time::Duration;

/// Calls of one operation, or one call.
pub(super) struct Row {
    pub op: String,
    /// All calls, and those that were slow enough.
    pub all: u64,
    pub count: u64,
    pub total: Duration,
    /// In the order of the picture's stages.
    pub times: Vec<Duration>,
    /// Of one call: its inode, a name of it, and when it ended.
    pub ino: u64,
    pub path: Option<String>,
    pub at: Duration,
}

/// A recording.
pub(super) struct Picture {
    pub seconds: f64,
    pub stages: Vec<String>,
    /// That which took most time first.
    pub rows: Vec<Row>,
    /// The slowest first.
    pub slow: Vec<Row>,
}

impl Picture {
    pub fn read(sums: &Value, slow: &[Value]) -> Option<Picture> {
        let stages = sums["stages"].as_array()?.iter();
        let stages: Vec<String> = stages
            .filter_map(|stage| stage.as_str().map(str::to_owned))
            .collect();
        let mut rows: Vec<Row> = sums["rows"].as_array()?.iter().filter_map(row).collect();
        let mut slow: Vec<Row> = slow.iter().filter_map(row).collect();
        for rows in [&mut rows, &mut slow] {
            rows.sort_by_key(|row| std::cmp::Reverse(row.total));
        }
        Some(Picture {
            seconds: sums["seconds"].as_f64()?,
            stages,
            rows,
            slow,
        })
    }

    /// All operations together.
    pub fn sum(&self) -> Row {
        let mut sum = Row {
            op: "all".to_owned(),
            all: 0,
            count: 0,
            total: Duration::ZERO,
            times: vec![Duration::ZERO; self.stages.len()],
            ino: 0,
            path: None,
            at: Duration::ZERO,
        };
        for row in &self.rows {
            sum.all += row.all;
            sum.count += row.count;
            sum.total += row.total;
            for (own, time) in sum.times.iter_mut().zip(&row.times) {
                *own += *time;
            }
        }
        sum
    }
}

fn row(value: &Value) -> Option<Row> {
    let nanos = |value: &Value| value.as_u64().map(Duration::from_nanos);
    let times: Option<Vec<Duration>> = value["times"].as_array()?.iter().map(nanos).collect();
    Some(Row {
        op: value["op"].as_str()?.to_owned(),
        all: value["all"].as_u64().unwrap_or(1),
        count: value["count"].as_u64().unwrap_or(1),
        total: nanos(&value["total"])?,
        times: times?,
        ino: value["ino"].as_u64().unwrap_or(0),
        path: value["path"].as_str().map(str::to_owned),
        at: nanos(&value["at"]).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_took_most_is_first_and_sums_are_sums() {
        let sums = json!({ "seconds": 2.0, "stages": ["mount", "log"], "slow": 2, "rows": [
            { "op": "lookup", "all": 9, "count": 3, "total": 10, "times": [7, 3] },
            { "op": "mkdir", "all": 1, "count": 1, "total": 90, "times": [10, 80] },
            { "op": "of a later version" },
        ] });
        let slow = [
            json!({ "op": "lookup", "ino": 5, "path": null, "at": 7, "total": 6, "times": [6, 0] }),
            json!({ "op": "mkdir", "ino": 1, "path": "/", "at": 8, "total": 90, "times": [10, 80] }),
        ];
        let picture = Picture::read(&sums, &slow).unwrap();
        let ops: Vec<&str> = picture.rows.iter().map(|row| row.op.as_str()).collect();
        assert_eq!(ops, ["mkdir", "lookup"]);
        assert_eq!(
            (picture.slow[0].path.as_deref(), picture.slow[1].ino),
            (Some("/"), 5)
        );
        let sum = picture.sum();
        assert_eq!(
            (sum.all, sum.count, sum.total),
            (10, 4, Duration::from_nanos(100))
        );
        assert_eq!(sum.times, [17, 83].map(Duration::from_nanos));
        assert!(Picture::read(&json!({ "recorded": false }), &[]).is_none());
    }
}
