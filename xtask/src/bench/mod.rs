//! placeholder of the benchmark
use crate::shell::Outcome;
#[derive(clap::Args)]
pub struct BenchArgs {}
pub fn run(_: &BenchArgs) -> Outcome {
    Ok(())
}
