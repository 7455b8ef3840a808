//! Where the executables under test and the public suites are. Called by the harness and by the suites' tests.
use std::path::{Path, PathBuf};

/// The folder of this build: the test runs from `<target>/<profile>/deps`.
fn build_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_path_buf()
}

/// DFS_PROGRAMS names a folder with other executables to test, say those that are installed.
fn built(name: &str) -> PathBuf {
    let dir = std::env::var_os("DFS_PROGRAMS").map_or_else(build_dir, PathBuf::from);
    let program = dir.join(name);
    let advice = "run `cargo xtask test`, or `cargo build -p dfs-server -p dfs-fuse` first";
    assert!(program.exists(), "{} is not built: {advice}", program.display());
    program
}

pub fn dfs() -> PathBuf {
    built("dfs")
}

pub fn dfs_server() -> PathBuf {
    built("dfs-server")
}

/// A public test suite that `cargo xtask test` has installed.
pub fn suite(name: &str) -> PathBuf {
    let program = build_dir().parent().unwrap().join("tools/bin").join(name);
    assert!(
        program.exists(),
        "{} is not there: run `cargo xtask test`, which installs it",
        program.display()
    );
    program
}

/// A program of a Debian package; its absence fails the test that needs it.
pub fn debian(name: &str) -> PathBuf {
    let more = ["/usr/sbin", "/sbin", "/usr/lib/postgresql/15/bin"].map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(name))
        .find(|file| Path::is_file(file));
    found.unwrap_or_else(|| panic!("{name} is not installed: run `cargo xtask test`, which installs it"))
}
