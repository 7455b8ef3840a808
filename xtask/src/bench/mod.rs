//! `cargo xtask bench`: one set of workloads on several file systems, alternating, in one run. The workloads are
//! bench/fsbench.py; here are the order of the runs, what is taken up again after an interruption, and the page.
mod bars;
mod chart;
mod passthrough;
mod report;
mod results;
mod solo;
mod table;
mod targets;
#[cfg(test)]
mod tests;

use crate::shell::{self, Outcome, Stages};
use crate::{fuse, install, packages};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use targets::{ALL, Part, Place, Target};

#[derive(Args)]
pub struct BenchArgs {
    /// Also MooseFS, GlusterFS and CephFS, from their Debian packages, which are installed if they are missing
    #[arg(long)]
    peers: bool,
    /// Only these: ext4, passthrough, dfs, moosefs, moosefs-safe, gluster, ceph
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    only: Vec<String>,
    /// Only rows whose id matches this regular expression (see bench/fsbench.py --list)
    #[arg(long, value_name = "REGEX")]
    rows: Option<String>,
    /// How often the whole set runs on each file system; the page shows medians
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Smaller files and fewer operations: minutes instead of hours
    #[arg(long)]
    quick: bool,
    /// Go on where an interrupted run ended: what has a result is not measured again
    #[arg(long)]
    resume: bool,
    /// Measure the executables in this directory instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where the file systems keep their files: all on the same disk; 30 GB must be free for all peers
    #[arg(long, default_value = "/var/tmp/dfs-bench")]
    scratch: PathBuf,
    /// Where the page goes; charts and figures go into `benchmarks` beside it
    #[arg(long, default_value = "docs/BENCHMARKS.md")]
    output: PathBuf,
}

/// ext4 does not reuse the inodes of files just deleted and searches past them at each create: without a pause
/// one target's clean-up slows the next one's creates. Without a journal it is a minute.
const PAUSE: Duration = Duration::from_secs(65);
const PAUSE_QUICK: Duration = Duration::from_secs(3);
/// fsbench begins no new row after so many seconds on one target.
const HARD_LIMIT: &str = "1800";

pub fn run(args: &BenchArgs) -> Outcome {
    if !shell::is_root() {
        return Err("run as root: this mounts file systems and drops the page cache between the rows".into());
    }
    let chosen = chosen(args)?;
    let mut stages = Stages::default();
    stages.stage("packages", || {
        packages::ensure(&[packages::BUILD, packages::RUN, packages::BENCH])
    })?;
    stages.stage("FUSE", fuse::check)?;
    if args.programs.is_none() && chosen.iter().any(|target| target.part == Part::Subject) {
        stages.stage("build", install::build_release)?;
    }
    let results = args.scratch.join("results");
    prepare(args, &results)?;
    let solo = solo::Solo::enter();
    if solo.is_none() {
        println!("no CPU control group here: other programs disturb as they like");
    }
    let mut failed = Vec::new();
    for round in 1..=args.rounds {
        for target in &chosen {
            let name = format!("{}, round {round} of {}", target.name, args.rounds);
            let result = results.join(format!("{}-{round}.json", target.name));
            if result.exists() {
                println!("== {name}: has a result");
            } else if let Err(why) = stages.stage(&name, || measure(args, target, &result)) {
                println!("{why}");
                failed.push(name);
            }
        }
    }
    let weighted = solo.is_some();
    drop(solo);
    stages.stage("report", || {
        report::write(&results, &shell::root().join(&args.output), weighted)
    })?;
    stages.summary();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "no result of {}; --resume tries them again",
            failed.join("; ")
        )),
    }
}

fn chosen(args: &BenchArgs) -> Outcome<Vec<&'static Target>> {
    let named = |name: &String| ALL.iter().any(|target| target.name == *name);
    if let Some(unknown) = args.only.iter().find(|name| !named(name)) {
        let names: Vec<_> = ALL.iter().map(|target| target.name).collect();
        return Err(format!("--only {unknown}: there are {}", names.join(", ")));
    }
    let wanted = |target: &&Target| match args.only.is_empty() {
        true => args.peers || target.part != Part::Peer,
        false => args.only.iter().any(|name| name == target.name),
    };
    let mut chosen: Vec<&'static Target> = ALL.iter().filter(wanted).collect();
    let mut empty = Vec::new();
    for target in &chosen {
        if shell::capture(fsbench(args, target).arg("--list"))?
            .trim()
            .is_empty()
        {
            empty.push(target.name);
        }
    }
    chosen.retain(|target| !empty.contains(&target.name));
    match chosen.is_empty() {
        true => Err("no row of any file system matches: see xtask/bench/fsbench.py --list".into()),
        false => Ok(chosen),
    }
}

/// What an earlier run left is taken up, or cleared.
fn prepare(args: &BenchArgs, results: &Path) -> Outcome {
    if results.exists() && !args.resume {
        std::fs::remove_dir_all(results).map_err(|e| format!("cannot clear {}: {e}", results.display()))?;
    }
    std::fs::create_dir_all(results).map_err(|e| format!("cannot make {}: {e}", results.display()))
}

/// Starts the target, runs the workloads on it, and takes it away again whatever happened.
fn measure(args: &BenchArgs, target: &'static Target, result: &Path) -> Outcome {
    let place = Place::new(target, &args.scratch, &programs(args));
    place.prepare()?;
    let outcome = place.start().and_then(|()| workloads(args, &place, result));
    let end = place.stop();
    std::thread::sleep(if args.quick { PAUSE_QUICK } else { PAUSE });
    outcome.and(end)
}

fn programs(args: &BenchArgs) -> PathBuf {
    let built = || shell::target_dir().join("release");
    // The targets' scripts leave the directory that a relative path is meant from.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    args.programs.as_ref().map_or_else(built, absolute)
}

/// What is measured, for the page.
fn version(args: &BenchArgs) -> String {
    if args.programs.is_none() {
        return format!("commit {}", report::commit());
    }
    let mut dfs = shell::command(programs(args).join("dfs"));
    let said = shell::capture(dfs.arg("--version"));
    format!("executables given ({})", said.unwrap_or_default().trim())
}

/// fsbench with the rows that were chosen.
fn fsbench(args: &BenchArgs, target: &Target) -> std::process::Command {
    let mut fsbench = shell::command("python3");
    fsbench.arg(shell::root().join("xtask/bench/fsbench.py"));
    fsbench.env("FSBENCH_TMP", args.scratch.join("tools"));
    for rows in target.rows.into_iter().chain(args.rows.as_deref()) {
        fsbench.args(["--only", rows]);
    }
    fsbench
}

fn workloads(args: &BenchArgs, place: &Place, result: &Path) -> Outcome {
    let mut fsbench = fsbench(args, place.target);
    fsbench.arg(place.mountpoint());
    fsbench.args(["--label", place.target.name, "--note", &version(args)]);
    fsbench.args(["--remount", &place.remount_command(), "--hard", HARD_LIMIT]);
    fsbench.args(["--daemons", "^(dfs|dfs-server|passthrough)"]);
    let unfinished = result.with_extension("unfinished");
    fsbench.arg("--json").arg(&unfinished);
    if args.quick {
        fsbench.arg("--quick");
    }
    // Exit 1 means that some row has no value: the page says which, the others count.
    let status = fsbench
        .status()
        .map_err(|e| format!("cannot start python3: {e}"))?;
    match status.code() {
        Some(0 | 1) => std::fs::rename(&unfinished, result)
            .map_err(|e| format!("fsbench left no {}: {e}", unfinished.display())),
        _ => Err(format!("fsbench ended with {status}")),
    }
}
