//! `cargo xtask test`: from a bare Debian with Rust to every test run, in one command; CI calls exactly this.
use crate::shell::{self, Outcome, Stages};
use crate::{fuse, lint, packages, tidy, tools};

pub fn run(filter: &[String]) -> Outcome {
    let mut stages = Stages::default();
    let outcome = all(&mut stages, filter);
    stages.summary();
    outcome
}

fn all(stages: &mut Stages, filter: &[String]) -> Outcome {
    if !shell::is_root() {
        return Err("run as root: the tests install packages, mount file systems and kill servers".into());
    }
    stages.stage("tidy", tidy::run)?;
    stages.stage("packages", || {
        packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST])
    })?;
    stages.stage("FUSE", fuse::check)?;
    stages.stage("accounts", tools::accounts)?;
    stages.stage("nextest", tools::nextest)?;
    stages.stage("suites", tools::suites)?;
    stages.stage("lint", lint::run)?;
    stages.stage("executables", || {
        shell::run(shell::cargo().args(["build", "--quiet", "-p", "dfs-server", "-p", "dfs-fuse"]))
    })?;
    stages.stage("tests", || shell::run(&mut nextest(filter)))
}

fn nextest(filter: &[String]) -> std::process::Command {
    let mut nextest = shell::cargo();
    nextest.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    if std::env::var("CI").is_ok_and(|value| value == "true" || value == "1") {
        nextest.args(["--profile", "ci"]);
    }
    nextest.args(filter);
    nextest
}
