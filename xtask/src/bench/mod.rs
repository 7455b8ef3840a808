//! `cargo xtask bench`: one set of workloads on several file systems, alternating, in one run. The workloads are
//! bench/fsbench.py; here are the order of the runs, the targets and the report.
mod report;
mod targets;

use crate::shell::{self, Outcome, Stages};
use crate::{fuse, install, packages};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use targets::Target;

#[derive(Args)]
pub struct BenchArgs {
    /// Smaller files and fewer operations: minutes instead of an hour
    #[arg(long)]
    quick: bool,
    /// Only rows whose id matches this regular expression (see bench/fsbench.py --list)
    #[arg(long)]
    only: Option<String>,
    /// How often the whole set runs on each file system; the table shows medians
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Only these file systems
    #[arg(long, value_delimiter = ',')]
    on: Vec<String>,
    /// Where the file systems keep their data: all on the same disk
    #[arg(long, default_value = "/var/tmp/dfs-bench")]
    scratch: PathBuf,
    /// Where the table goes
    #[arg(long, default_value = "docs/BENCHMARKS.md")]
    output: PathBuf,
}

/// ext4 does not reuse the inodes of files just deleted and searches past them at each create: without a pause
/// one target's clean-up slows the next one's creates.
const PAUSE: Duration = Duration::from_secs(20);
const PAUSE_QUICK: Duration = Duration::from_secs(3);

pub fn run(args: &BenchArgs) -> Outcome {
    if !shell::is_root() {
        return Err("run as root: this mounts file systems and drops the page cache between the rows".into());
    }
    let mut stages = Stages::default();
    stages.stage("packages", || {
        packages::ensure(&[packages::BUILD, packages::RUN, packages::BENCH])
    })?;
    stages.stage("FUSE", fuse::check)?;
    stages.stage("build", install::build_release)?;
    let chosen = stages.stage("targets", || choose(args))?;
    let results = args.scratch.join("results");
    fresh(&results)?;
    for round in 1..=args.rounds {
        for target in &chosen {
            let name = format!("{}, round {round} of {}", target.name(), args.rounds);
            stages.stage(&name, || measure(args, target, &results, round))?;
        }
    }
    stages.stage("report", || {
        report::write(&results, &shell::root().join(&args.output), args.quick)
    })?;
    stages.summary();
    Ok(())
}

fn choose(args: &BenchArgs) -> Outcome<Vec<Target>> {
    let all = targets::all(&args.scratch);
    if let Some(unknown) = args
        .on
        .iter()
        .find(|name| !all.iter().any(|t| t.name() == **name))
    {
        let names: Vec<_> = all.iter().map(Target::name).collect();
        return Err(format!("--on {unknown}: there are {}", names.join(", ")));
    }
    let chosen = all
        .into_iter()
        .filter(|t| args.on.is_empty() || args.on.iter().any(|name| name == t.name()));
    chosen
        .map(|target| {
            target.prepare()?;
            Ok(target)
        })
        .collect()
}

fn fresh(dir: &Path) -> Outcome {
    if dir.exists() {
        std::fs::remove_dir_all(dir).map_err(|e| format!("cannot clear {}: {e}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))
}

/// Starts the target, runs the workloads on it, and takes it away again whatever happened.
fn measure(args: &BenchArgs, target: &Target, results: &Path, round: u32) -> Outcome {
    let outcome = target
        .start()
        .and_then(|()| workloads(args, target, results, round));
    let end = target.stop();
    std::thread::sleep(if args.quick { PAUSE_QUICK } else { PAUSE });
    outcome.and(end)
}

fn workloads(args: &BenchArgs, target: &Target, results: &Path, round: u32) -> Outcome {
    let mut fsbench = shell::command("python3");
    fsbench
        .arg(shell::root().join("xtask/bench/fsbench.py"))
        .arg(target.mountpoint());
    fsbench.env("FSBENCH_TMP", args.scratch.join("tools"));
    fsbench.args(["--label", target.name(), "--remount", &target.remount_command()]);
    fsbench.args(["--daemons", "^(dfs|dfs-server|passthrough)"]);
    fsbench
        .arg("--json")
        .arg(results.join(format!("{}-{round}.json", target.name())));
    if args.quick {
        fsbench.arg("--quick");
    }
    if let Some(only) = &args.only {
        fsbench.args(["--only", only]);
    }
    // Exit 1 means that some row has no value: the report says which, the others count.
    let status = fsbench
        .status()
        .map_err(|e| format!("cannot start python3: {e}"))?;
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(format!("fsbench ended with {status}")),
    }
}
