//! Format and clippy, without a warning. Called by `cargo xtask lint`; the rules of the house are in `tidy`.
use crate::packages;
use crate::shell::{self, Outcome};

pub fn run() -> Outcome {
    packages::ensure(&[packages::BUILD])?;
    format_check()?;
    shell::run(shell::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

pub fn format_check() -> Outcome {
    let mut fmt = shell::cargo();
    shell::run(fmt.args(["fmt", "--all", "--check"])).map_err(|e| format!("{e}: run `cargo fmt --all`"))
}
