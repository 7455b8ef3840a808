//! `cargo xtask sim`: the coordinator's simulation for as long as asked, built for speed. A seed that fails prints
//! what led to it, and is lived through again by its number.
use crate::shell::{self, Outcome};

/// The test that takes its seed and its time from the environment.
const LONG_RUN: &str = "coordinator::simulation::tests::a_long_run_holds";

#[derive(clap::Args)]
pub struct SimArgs {
    /// How long; without it one seed
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 1000)]
    seed: u64,
}

pub fn run(args: &SimArgs) -> Outcome {
    let mut cargo = shell::cargo();
    cargo.args([
        "test",
        "--release",
        "--quiet",
        "-p",
        "dfs-server",
        "--bin",
        "dfs-server",
    ]);
    cargo.args(["--", "--exact", LONG_RUN, "--nocapture"]);
    cargo.env("DFS_SIM_SEED", args.seed.to_string());
    if let Some(minutes) = args.minutes {
        cargo.env("DFS_SIM_MINUTES", minutes.to_string());
    }
    shell::run(&mut cargo)
}
