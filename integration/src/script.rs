//! Shell scripts with a bound on their time. Called by the tests that run ordinary programs.
use crate::patience;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Runs `set -eu; SCRIPT` in `dir`; the output, whatever the end was.
pub fn attempt(dir: &Path, limit: Duration, script: &str) -> Output {
    let mut command = Command::new("timeout");
    // The outer bound is for a script that cannot even be killed.
    command.args([
        "-k",
        "5",
        &limit.as_secs().to_string(),
        "bash",
        "-c",
        &format!("set -euo pipefail\n{script}"),
    ]);
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .env("HOME", dir);
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    patience::within("the script's end", limit + Duration::from_secs(15), move || {
        command.output().unwrap()
    })
}

/// The same, and it must succeed; gives back what it printed.
pub fn run(dir: &Path, limit: Duration, script: &str) -> String {
    let output = attempt(dir, limit, script);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "script ended with {}:\n{script}\n---- stdout\n{out}\n---- stderr\n{err}",
        output.status
    );
    out.into_owned()
}
