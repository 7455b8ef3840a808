//! The public test programs that DFS runs on itself, and the accounts they want. Called by `test`.
use crate::shell::{self, Outcome};
use std::path::PathBuf;

/// Name and version of each; they are built once into the target directory.
const SUITES: [(&str, &str); 2] = [("pjdfstest", "0.2.2"), ("fsx", "0.3.2")];

/// The tests look for the suites here, beside the executables under test.
pub fn dir() -> PathBuf {
    shell::target_dir().join("tools")
}

pub fn nextest() -> Outcome {
    if shell::on_path("cargo-nextest").is_some() {
        return Ok(());
    }
    shell::run(shell::cargo().args(["install", "--locked", "--quiet", "cargo-nextest"]))
}

pub fn suites() -> Outcome {
    for (name, version) in SUITES {
        let stamp = dir().join(format!("{name}-{version}"));
        if stamp.exists() && dir().join("bin").join(name).exists() {
            continue;
        }
        let mut install = shell::cargo();
        install.args([
            "install",
            "--locked",
            "--quiet",
            "--force",
            "--version",
            version,
            name,
        ]);
        shell::run(install.arg("--root").arg(dir()))?;
        std::fs::write(&stamp, "").map_err(|e| format!("cannot write {}: {e}", stamp.display()))?;
    }
    Ok(())
}

/// pjdfstest acts as two unprivileged users, each with a group of its own.
pub fn accounts() -> Outcome {
    let known = |table: &str, name: &str| {
        std::fs::read_to_string(table)
            .is_ok_and(|text| text.lines().any(|l| l.split(':').next() == Some(name)))
    };
    if !known("/etc/group", "nogroup") {
        shell::run(shell::command("groupadd").args(["--system", "nogroup"]))?;
    }
    if !known("/etc/group", "tests") {
        shell::run(shell::command("groupadd").arg("tests"))?;
    }
    if !known("/etc/passwd", "tests") {
        let args = [
            "--no-create-home",
            "--gid",
            "tests",
            "--shell",
            "/usr/sbin/nologin",
            "tests",
        ];
        shell::run(shell::command("useradd").args(args))?;
    }
    Ok(())
}
