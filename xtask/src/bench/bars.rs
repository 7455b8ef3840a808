//! How good is good enough: for each row how many times better than the best peer DFS must be, and what part of the
//! passthrough's rate it must reach; and whether it does. Pure. Called by `report`.
use super::results::{Results, Row};
use super::targets::{ALL, Part, Target};

pub const SUBJECT: &str = "dfs";
pub const PASSTHROUGH: &str = "passthrough";
pub const DISK: &str = "ext4";
/// Of the disk's rate a sequential write with three copies on that one disk can have a third; this part of it is asked.
const DISK_SHARE: f64 = 0.8 / 3.0;

/// What is asked of a row. Nothing: the figure is reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    pub peer: Option<f64>,
    pub passthrough: Option<f64>,
}

const fn bar(peer: f64, passthrough: f64) -> Bar {
    Bar {
        peer: Some(peer),
        passthrough: Some(passthrough),
    }
}

/// The bars of a row, by its id.
pub fn asked(id: &str) -> Bar {
    match id {
        "small_walk_cold" | "small_walk_warm" | "small_stat_warm" | "git_status_cold" | "git_status_warm" => {
            bar(2.0, 0.8)
        }
        "untar" | "git_add_commit" | "rm_rf" => bar(5.0, 1.0),
        "seq_read_warm" => bar(1.5, 0.9),
        "seq_read_cold" | "seq_read_cold2" => bar(1.5, 0.8),
        "randread_1t" | "randread_8t" => bar(2.0, 0.6),
        "seq_write" | "randwrite_dsync_1t" | "randwrite_dsync_8t" | "append_fsync_p50"
        | "append_fsync_p99" | "sqlite_tx" => Bar {
            peer: Some(1.5),
            passthrough: None,
        },
        _ if id.starts_with("small_") || id.starts_with("md_") => bar(3.0, 1.0),
        _ => Bar {
            peer: None,
            passthrough: None,
        },
    }
}

/// A ratio that was measured, what it is to, and what is asked of it. More is better.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    pub to: String,
    pub is: f64,
    pub asked: Option<f64>,
}

impl Ratio {
    pub fn holds(&self) -> bool {
        self.asked.is_none_or(|asked| self.is >= asked)
    }
}

/// How many times better `ours` is.
fn times_better(row: &Row, ours: f64, theirs: f64) -> f64 {
    if row.higher_is_better() {
        ours / theirs
    } else {
        theirs / ours
    }
}

/// Whether a target may be compared in a row: MooseFS's default is not asked where something must be durable.
fn takes_part(target: &Target, id: &str) -> bool {
    target.part == Part::Peer && !(target.name == "moosefs" && syncs(id))
}

fn syncs(id: &str) -> bool {
    let prefixes = ["randwrite_", "append_"];
    let names = ["seq_write", "sqlite_tx", "git_add_commit"];
    names.contains(&id) || prefixes.iter().any(|prefix| id.starts_with(prefix))
}

/// The best peer of a row and its figure.
pub fn best_peer(results: &Results, row: &Row) -> Option<(&'static str, f64)> {
    let peers = ALL.iter().filter(|target| takes_part(target, &row.id));
    let figures = peers.filter_map(|target| Some((target.name, results.value(target.name, &row.id)?)));
    figures.reduce(|best, next| match times_better(row, next.1, best.1) > 1.0 {
        true => next,
        false => best,
    })
}

/// To the best peer, where there is a figure of one.
pub fn to_peer(results: &Results, row: &Row) -> Option<Ratio> {
    let ours = results.value(SUBJECT, &row.id)?;
    let (name, theirs) = best_peer(results, row)?;
    Some(Ratio {
        to: name.to_owned(),
        is: times_better(row, ours, theirs),
        asked: asked(&row.id).peer,
    })
}

/// To the passthrough; for the sequential write to the disk, of which three copies can have a third.
pub fn to_limit(results: &Results, row: &Row) -> Option<Ratio> {
    let ours = results.value(SUBJECT, &row.id)?;
    let (limit, asked) = match row.id.as_str() {
        "seq_write" => (DISK, Some(DISK_SHARE)),
        _ => (PASSTHROUGH, asked(&row.id).passthrough),
    };
    Some(Ratio {
        to: limit.to_owned(),
        is: times_better(row, ours, results.value(limit, &row.id)?),
        asked,
    })
}

/// CPU seconds per gigabyte of the sequential write: ours, and the least of the peers with its name.
pub fn write_cost(results: &Results) -> Option<(f64, Option<(&'static str, f64)>)> {
    let cost = |label| results.median(label, "seq_write", Row::cpu_per_gb);
    let peers = ALL.iter().filter(|target| takes_part(target, "seq_write"));
    let least = peers
        .filter_map(|target| Some((target.name, cost(target.name)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    Some((cost(SUBJECT)?, least))
}
