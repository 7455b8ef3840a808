//! The bars, the best peer, the page and the charts, from results that are made up.
use super::bars::{self, asked};
use super::results::{Results, median};
use super::targets::{ALL, Part};
use super::{chart, report, table};
use serde_json::json;

/// Runs of one round: a target, and figures of its rows.
fn results(runs: &[(&str, &[(&str, f64)])]) -> Results {
    let runs = runs.iter().map(|(label, rows)| {
        let rows: Vec<_> = rows
            .iter()
            .map(|(id, value)| {
                let better = if *id == "untar" { "low" } else { "high" };
                json!({"id": id, "title": format!("row {id}"), "unit": "x", "better": better, "value": value,
                    "secs": 1.0, "cpu_s": 2.0, "other_s": 0.5, "disk_w_mb": 0.0, "flushes": 3.0,
                    "detail": [{"bytes": 1e9}]})
            })
            .collect();
        let run = json!({"label": label, "note": "abc", "when": "2026", "kernel": "6", "cpus": 2, "quick": false,
            "load_before": [1.0, 1.0, 1.0], "total_s": 9.0, "rows": rows});
        serde_json::from_value(run).expect("a run")
    });
    Results { runs: runs.collect() }
}

#[test]
fn the_best_peer_is_the_fastest_and_for_times_the_shortest() {
    let results = results(&[
        ("dfs", &[("md_mkdir_1p", 600.0), ("untar", 2.0)]),
        ("gluster", &[("md_mkdir_1p", 100.0), ("untar", 60.0)]),
        ("ceph", &[("md_mkdir_1p", 300.0), ("untar", 8.0)]),
        ("ext4", &[("md_mkdir_1p", 9000.0), ("untar", 0.1)]),
    ]);
    let rows = results.rows();
    let ratio = |at: usize| bars::to_peer(&results, rows[at]).expect("a ratio");
    assert_eq!(
        (ratio(0).to.as_str(), ratio(0).is, ratio(0).holds()),
        ("ceph", 2.0, false)
    );
    assert_eq!(
        (ratio(1).to.as_str(), ratio(1).is, ratio(1).holds()),
        ("ceph", 4.0, false)
    );
    assert!(
        bars::to_limit(&results, rows[0]).is_none(),
        "no passthrough was measured"
    );
}

#[test]
fn moosefs_that_never_syncs_is_no_peer_where_rows_sync() {
    let rows: &[(&str, f64)] = &[("sqlite_tx", 100.0), ("md_mkdir_1p", 100.0)];
    let safe: &[(&str, f64)] = &[("sqlite_tx", 10.0)];
    let results = results(&[("dfs", rows), ("moosefs", rows), ("moosefs-safe", safe)]);
    let best = |at: usize| bars::best_peer(&results, results.rows()[at]).expect("a peer").0;
    assert_eq!((best(0), best(1)), ("moosefs-safe", "moosefs"));
}

#[test]
fn the_disk_is_the_limit_of_a_sequential_write() {
    let row = |value| [("seq_write", value)];
    let of = |ours: f64| {
        let (dfs, disk, fuse) = (row(ours), row(900.0), row(100.0));
        let results = results(&[("dfs", &dfs), ("ext4", &disk), ("passthrough", &fuse)]);
        let ratio = bars::to_limit(&results, results.rows()[0]).expect("a ratio");
        (ratio.to.clone(), ratio.holds())
    };
    assert_eq!(of(241.0), ("ext4".to_owned(), true));
    assert_eq!(of(239.0), ("ext4".to_owned(), false));
}

#[test]
fn every_row_of_the_workloads_has_its_bars_and_no_other_has() {
    let source = include_str!("../../bench/fsbench.py");
    let (_, rest) = source.split_once("ROWS = [").expect("the rows");
    let (rows, _) = rest.split_once("\n]").expect("their end");
    let ids: Vec<&str> = rows
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next())
        .collect();
    assert_eq!(ids.len(), 38);
    let free: Vec<&&str> = ids.iter().filter(|id| asked(id).peer.is_none()).collect();
    assert_eq!(free, [&"randwrite_nosync"]);
    assert!(asked("unheard_of").peer.is_none());
}

#[test]
fn the_page_says_what_holds_and_what_falls_short() {
    let results = results(&[
        ("ext4", &[("md_mkdir_1p", 9000.0), ("seq_write", 900.0)]),
        ("passthrough", &[("md_mkdir_1p", 500.0), ("seq_write", 600.0)]),
        ("dfs", &[("md_mkdir_1p", 250.0), ("seq_write", 300.0)]),
        ("ceph", &[("md_mkdir_1p", 50.0), ("seq_write", 100.0)]),
    ]);
    let page = report::page(&results, &[("metadata", "Names")], true).expect("a page");
    for line in [
        "| row md_mkdir_1p | ceph | x5.00 | x3.00, holds | passthrough | x0.500 | **x1.00, short by 2.00** |",
        "| row seq_write | ceph | x3.00 | x1.50, holds | ext4 | x0.333 | x0.267, holds |",
        "Of the bars against peers 2 of 2 hold; of those against the limits 1 of 2 hold.",
        "DFS uses 2.0 CPU seconds per GB, ceph 2.0: `no more CPU` holds.",
        "| row md_mkdir_1p | x | 9000 | 500 | **250** | 50.0 | 2.00 | 3.00 |",
        "![Names](benchmarks/metadata.svg)",
        "| 1 | 25 % |",
    ] {
        assert!(page.contains(line), "{line}\nis not in\n{page}");
    }
}

#[test]
fn bars_grow_with_the_logarithm() {
    let bar = |series, value| chart::Bar { series, value };
    let chart = chart::Chart {
        title: "a < b".to_owned(),
        series: vec!["one".to_owned(), "two".to_owned()],
        groups: vec![chart::Group {
            title: "row".to_owned(),
            bars: vec![bar(0, 10.0), bar(1, 1000.0), bar(0, 100.0)],
        }],
    };
    let svg = chart.draw().expect("a chart");
    let width = |number: usize| -> f64 {
        let bars: Vec<&str> = svg.lines().filter(|line| line.contains("x=\"290\"")).collect();
        let (_, rest) = bars[number].split_once("width=\"").expect("a width");
        rest.split('"')
            .next()
            .expect("its end")
            .parse()
            .expect("a number")
    };
    assert!((width(1) - 2.0 * width(2)).abs() < 0.2, "{svg}");
    assert!(width(0) <= 1.0 && svg.contains("a &lt; b") && svg.trim_end().ends_with("</svg>"));
    assert!(
        chart::Chart {
            groups: Vec::new(),
            ..chart
        }
        .draw()
        .is_none()
    );
}

#[test]
fn medians_and_figures() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    assert_eq!(median(Vec::new()), None);
    assert_eq!(
        [0.1234, 1.234, 12.34, 1234.5].map(table::figure),
        ["0.123", "1.23", "12.3", "1234"]
    );
}

#[test]
fn there_is_one_subject_and_every_target_has_its_script() {
    assert_eq!(
        ALL.iter().filter(|target| target.part == Part::Subject).count(),
        1
    );
    assert!(ALL.iter().any(|target| target.name == bars::PASSTHROUGH));
    for target in &ALL {
        assert!(target.script_path().is_file(), "{}", target.name);
    }
}
