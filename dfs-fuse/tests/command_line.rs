//! The `dfs` command line where no server is needed: what is refused, in which words, and that nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

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
