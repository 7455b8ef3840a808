//! Public suites on a real mount: pjdfstest and fsx, each by its own runner.
use crate::Scene;
use integration::{programs, script};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);

/// The runner's settings: every opt-in feature that Linux has, and nothing expected to fail.
const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
utime_now = {}
utimensat = {}
rename_ctime = {}
[settings]
naptime = 0.01
allow_remount = true
expected_failures = []
[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
"#;

/// The one case that its own authors skip here: no file system of Linux has a LINK_MAX to reach.
const SKIPPED: usize = 1;
const CASES: usize = 398;
/// Cases that mount read-only; the runner keeps a file open in a run of all, so that they want a run of their own.
const READ_ONLY: usize = 13;

struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn pjdfstest(scene: &Scene, pattern: &str) -> (Tally, String) {
    scene.room.install_mount_program();
    let other = scene.room.folder("other");
    let configuration = scene.room.path().join("pjdfstest.toml");
    std::fs::write(&configuration, PJDFSTEST).unwrap();
    // The suite acts as other users in directories that it makes.
    let script = format!(
        "umask 0; RUST_BACKTRACE=0 {} -c {} -p {} -s {} {pattern} 2>&1 || true",
        programs::suite("pjdfstest").display(),
        configuration.display(),
        scene.path().display(),
        other.display()
    );
    let output = script::run(scene.room.path(), LIMIT, &script);
    let words: Vec<&str> = output
        .lines()
        .find(|line| line.starts_with("Summary:"))
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let number = |name: &str| {
        let at = words
            .iter()
            .position(|word| word.trim_matches(|c: char| !c.is_alphabetic()) == name)?;
        words[at - 1]
            .trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .ok()
    };
    let tally = Tally {
        passed: number("passed").unwrap_or_else(|| panic!("no tally in\n{output}")),
        failed: number("failed").unwrap_or(0),
        skipped: number("skipped").unwrap_or(0),
    };
    (tally, output)
}

// S1, S7
#[test]
fn pjdfstest_passes() {
    let scene = Scene::new();
    let (all, output) = pjdfstest(&scene, "");
    let failed: Vec<_> = output
        .lines()
        .filter(|line| line.contains("FAILED") && !line.contains("erofs"))
        .collect();
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert_eq!(all.passed + all.failed + all.skipped, CASES, "{output}");
    assert_eq!(all.skipped, SKIPPED, "{output}");
}

// S1, S31
#[test]
fn pjdfstest_passes_read_only() {
    let scene = Scene::new();
    let (tally, output) = pjdfstest(&scene, "erofs");
    assert_eq!(
        (tally.passed, tally.failed, tally.skipped),
        (READ_ONLY, 0, 0),
        "{output}"
    );
}

const FSX: &str = r#"
flen = 1048576
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 1
truncate = 5
fsync = 1
fdatasync = 1
posix_fallocate = 3
punch_hole = 5
sendfile = 2
posix_fadvise = 2
copy_file_range = 5
"#;

/// Operations per seed in a usual run; DFS_FSX_OPS asks for more.
const OPERATIONS: u32 = 8_000;

fn fsx(seeds: std::ops::Range<u32>) {
    let scene = Scene::new();
    let configuration = scene.room.path().join("fsx.toml");
    std::fs::write(&configuration, FSX).unwrap();
    let operations = std::env::var("DFS_FSX_OPS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(OPERATIONS);
    for seed in seeds {
        let script = format!(
            "{} -q -N {operations} -S {seed} -f {} -P {} {}/fsx-{seed}",
            programs::suite("fsx").display(),
            configuration.display(),
            scene.room.path().display(),
            scene.path().display()
        );
        script::run(scene.room.path(), Duration::from_secs(1800), &script);
    }
}

// S9
#[test]
fn fsx_finds_no_mismatch_seeds_1_to_5() {
    fsx(1..6);
}

// S9
#[test]
fn fsx_finds_no_mismatch_seeds_6_to_10() {
    fsx(6..11);
}
