//! The `dfs` command line where no server is needed: what is refused, in which words, and that nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dfs_fuse::kernel::mountinfo;

const DFS: &str = env!("CARGO_BIN_EXE_dfs");
const SOURCE: &str = "dfs://localhost/default";

fn dfs(args: &[&str]) -> Output {
    Command::new(DFS).args(args).output().unwrap()
}

fn mount_program(args: &[&str]) -> Output {
    Command::new(DFS)
        .arg0("/sbin/mount.fuse.dfs")
        .args(args)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_wrong_mount_is_refused_in_one_line_that_names_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    let file = directory.path().join("file");
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(&file, b"").unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&[SOURCE, text(directory.path())], "not empty"),
        (&[SOURCE, text(&file)], "not a directory"),
        (&[SOURCE, "/no/such/place"], "/no/such/place"),
        (
            &[SOURCE, text(&empty), "-o", "ro,no-such-option"],
            "`no-such-option`",
        ),
        (&[SOURCE, text(&empty), "-o", "timeout=never"], "timeout=never"),
        (&["nfs://localhost/default", text(&empty)], "dfs://"),
        (&[SOURCE, text(&empty), "-o", "remount,ro"], "no dfs is mounted"),
    ];
    for (args, word) in cases {
        let output = dfs(&[&["mount"], args].concat());
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.starts_with("dfs: ") && said.contains(word) && said.lines().count() == 1,
            "{args:?}: {said}"
        );
    }
    assert_eq!(mountinfo::at(&empty).unwrap(), None);
}

#[test]
fn the_mount_program_keeps_mount_8s_exit_codes() {
    assert_eq!(mount_program(&[SOURCE]).status.code(), Some(1));
    assert_eq!(
        mount_program(&[SOURCE, "/mnt", "-f", "-o", "ro,_netdev"])
            .status
            .code(),
        Some(0)
    );
    let output = mount_program(&[SOURCE, "/mnt", "-f", "-o", "no-such-option"]);
    assert_eq!(output.status.code(), Some(32));
    assert!(said(&output).contains("no-such-option"));
    assert_eq!(
        mount_program(&[SOURCE, "/mnt", "-sf", "-o", "no-such-option"])
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn unmounting_what_is_no_dfs_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path(), Path::new("/proc"), Path::new("/")] {
        let output = dfs(&["umount", text(path)]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("no dfs is mounted"), "{}", said(&output));
    }
}

#[test]
fn the_help_of_mounting_teaches_its_options() {
    let help = String::from_utf8(dfs(&["mount", "--help"]).stdout).unwrap();
    for word in [
        "dfs://HOST[:PORT][,HOST...]/VOLUME[/SUBDIR]",
        "allow_other",
        "cache-size",
        "cache-dir",
        "buffer-size",
        "timeout",
        "SIGTERM",
    ] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
    assert!(!help.contains("ready-fd"));
}

/// How long a loaded machine may take for what takes a second.
const LONG: Duration = Duration::from_secs(60);

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_benchmark_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Command::new(DFS);
    bench.args(["bench", text(directory.path()), "--json"]);
    let mut bench = bench
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let entries = || std::fs::read_dir(directory.path()).unwrap();
    let room = wait_for("room", || Some(entries().next()?.unwrap().path()));
    wait_for("large file", || room.join("large").exists().then_some(()));
    let process = nix::unistd::Pid::from_raw(bench.id().try_into().unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGINT).unwrap();
    let status = wait_for("end", || bench.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
    assert_eq!(entries().count(), 0);
    let mut printed = String::new();
    bench.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    let result: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(result["interrupted"], true);
}

#[test]
fn a_benchmark_of_what_is_no_directory_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let refused = dfs(&["bench", text(&directory.path().join("nowhere"))]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("nowhere"), "{}", said(&refused));
}
