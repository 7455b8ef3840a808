//! What is below a directory is known at once and exactly: on the mount that made it, on another, and after its
//! coordinator was killed or another one leads.
use crate::Scene;
use crate::write_back::sync;
use integration::{Cluster, Mount, Room, Setup, patience, programs, script, sys};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// What a mount did others count at most so much later.
const TOLD: Duration = Duration::from_secs(5);
/// On a machine that runs other tests.
const LOADED: Duration = Duration::from_secs(30);

/// Bytes, files and directories.
type Sums = (u64, u64, u64);

fn ask(args: &[&str], path: &Path) -> Output {
    let mut command = Command::new(programs::dfs());
    command.arg("summary").args(args).arg(path);
    patience::within("dfs summary", LIMIT, move || command.output().unwrap())
}

fn summary(dir: &Path) -> Sums {
    let output = ask(&["--json"], dir);
    assert!(output.status.success(), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| all[0][name].as_u64().unwrap_or_else(|| panic!("{name} in {all}"));
    (number("bytes"), number("files"), number("directories"))
}

fn attribute(dir: &Path, name: &str) -> u64 {
    let value = sys::get_xattr(dir, &format!("dfs.rstat.{name}")).unwrap();
    String::from_utf8(value).unwrap().parse().unwrap()
}

/// By looking at everything.
fn walked(dir: &Path) -> Sums {
    fn add(dir: &Path, seen: &mut BTreeSet<u64>, sums: &mut Sums) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            if found.is_dir() {
                sums.2 += 1;
                add(&entry.path(), seen, sums);
            } else if seen.insert(found.ino()) {
                sums.0 += found.size();
                sums.1 += 1;
            }
        }
    }
    let mut sums = (0, 0, 0);
    add(dir, &mut BTreeSet::new(), &mut sums);
    sums
}

/// Each directory of a tree without names outside of it, and what was removed is not held by anybody.
fn compare(mount: &Path, dirs: &[&str]) {
    for dir in dirs {
        let dir = mount.join(dir);
        assert_eq!(summary(&dir), walked(&dir), "{}", dir.display());
    }
}

/// Unpacks an archive of 300 files in 30 directories, a symbolic link and a hard link, into `dir/tree`.
fn unpack(room: &Room, dir: &Path) {
    let archive = room.path().join("tree.tar");
    if !archive.exists() {
        let work = "mkdir src; cd src; for d in $(seq 30); do mkdir -p tree/d$d/e; for f in $(seq 10); do
            head -c $((d * f * 37)) /dev/zero > tree/d$d/e/f$f; done; done
            ln -s f1 tree/d1/e/soft; ln tree/d1/e/f1 tree/d2/e/hard; tar cf ../tree.tar tree";
        script::run(room.path(), LIMIT, work);
    }
    script::run(dir, LIMIT, &format!("tar xf {}", archive.display()));
}

/// Renames across directories, links, sizes, exchanges and removals.
fn stir(tree: &Path) {
    let at = |name: &str| tree.join(name);
    std::fs::rename(at("d3"), at("d4/moved")).unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::rename(at("d5"), at("empty")).unwrap();
    sys::rename(&at("d6/e"), &at("d7/e/f1"), libc::RENAME_EXCHANGE).unwrap();
    std::fs::rename(at("d8/e/f1"), at("d9/e/f10")).unwrap();
    std::fs::hard_link(at("d10/e/f1"), at("d11/again")).unwrap();
    std::fs::remove_file(at("d10/e/f1")).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(at("d12/e/f9"))
        .unwrap()
        .set_len(100_000)
        .unwrap();
    std::fs::write(at("d13/e/f9"), "short").unwrap();
    std::fs::remove_dir_all(at("d14")).unwrap();
    std::fs::create_dir_all(at("a/b/c")).unwrap();
    std::fs::remove_dir_all(at("a")).unwrap();
}

// S66
#[test]
fn a_directory_knows_what_is_below_it() {
    let mut scene = Scene::new();
    let other = scene.second();
    for (n, mount) in [scene.path(), other.path()].into_iter().enumerate() {
        let dir = mount.join(format!("m{n}"));
        std::fs::create_dir(&dir).unwrap();
        unpack(&scene.room, &dir);
        // What this mount did counts without a wait.
        compare(
            mount,
            &[&format!("m{n}/tree"), &format!("m{n}/tree/d3"), &format!("m{n}")],
        );
        stir(&dir.join("tree"));
        compare(mount, &[&format!("m{n}/tree"), &format!("m{n}")]);
    }
    std::fs::rename(scene.join("m0/tree/d20"), scene.join("m1/tree/d20/taken")).unwrap();
    compare(scene.path(), &["m0", "m0/tree"]);
    sync_all(&other);
    let places = ["", "m0", "m1", "m1/tree", "m1/tree/d20", "m0/tree/empty/e"];
    compare(scene.path(), &places);
    compare(other.path(), &places);
    scene.cluster.coordinator.kill();
    scene.cluster.coordinator.start_again();
    compare(other.path(), &places);
    std::fs::remove_dir_all(other.join("m0")).unwrap();
    assert_eq!(summary(other.path()), walked(other.path()));
    // No recount of ours, so that both could be wrong: numbers known beforehand.
    let known = scene.join("known");
    std::fs::create_dir_all(known.join("a/b")).unwrap();
    std::fs::write(known.join("a/b/f"), [7; 1000]).unwrap();
    std::fs::hard_link(known.join("a/b/f"), known.join("g")).unwrap();
    std::os::unix::fs::symlink("target", known.join("l")).unwrap();
    assert_eq!(summary(&known), (1006, 2, 2));
    scene.cluster.assert_clean();
}

fn sync_all(mount: &Mount) {
    let mut command = Command::new(programs::dfs());
    command.arg("sync").arg(mount.path());
    let output = patience::within("dfs sync", LIMIT, move || command.output().unwrap());
    assert!(output.status.success(), "{output:?}");
}

/// Nobody asks the mount that works: what it did is told in time by itself.
// S66
#[test]
fn what_another_mount_did_counts_within_seconds() {
    let scene = Scene::new();
    let other = scene.second();
    let dir = scene.join("d");
    std::fs::create_dir(&dir).unwrap();
    sync(&dir);
    let there = other.join("d");
    assert_eq!(summary(&there), (0, 0, 0));
    for n in 0..50 {
        std::fs::create_dir(dir.join(format!("e{n}"))).unwrap();
        std::fs::write(dir.join(format!("e{n}/f")), [1; 100]).unwrap();
    }
    patience::until_true("the other mount counts it", TOLD + LOADED, || {
        summary(&there) == (5000, 50, 50)
    });
}

// S66
#[test]
fn sums_are_attributes_that_nobody_sets_and_no_listing_shows() {
    let scene = Scene::new();
    let (dir, file) = (scene.join("d"), scene.join("d/f"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(&file, "1234567").unwrap();
    std::fs::create_dir(dir.join("e")).unwrap();
    let all = ["rbytes", "rfiles", "rsubdirs", "rentries"].map(|name| attribute(&dir, name));
    assert_eq!(all, [7, 1, 1, 2]);
    assert_eq!(sys::list_xattrs(&dir).unwrap(), Vec::<String>::new());
    let name = "dfs.rstat.rbytes";
    assert_eq!(sys::errno(sys::set_xattr(&dir, name, b"1", 0)), libc::EOPNOTSUPP);
    assert_eq!(sys::errno(sys::remove_xattr(&dir, name)), libc::EOPNOTSUPP);
    assert_eq!(sys::errno(sys::get_xattr(&file, name)), libc::ENODATA);
    assert_eq!(sys::errno(sys::get_xattr(&dir, "dfs.rstat.other")), libc::ENODATA);
    // The command: for people, of a file, and what it says where it cannot help.
    let text = |output: Output| String::from_utf8(output.stdout).unwrap();
    let line = text(ask(&[], &dir));
    assert_eq!(
        line.trim_end(),
        format!("{}: 7 B in 1 file and 1 directory", dir.display())
    );
    assert_eq!(summary(&file), (7, 1, 0));
    for (path, says) in [
        (scene.room.path(), "is on no DFS mount"),
        (&scene.join("none"), "No such file"),
    ] {
        let output = ask(&[], path);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(says), "{error}");
    }
}

// S66
#[test]
fn sums_are_right_after_a_failover() {
    let setup = Setup {
        coordinators: 3,
        etcd: 1,
        coordinator_flags: ["--lease-term", "5s"].map(String::from).to_vec(),
        ..Setup::default()
    };
    let room = Room::new();
    let mut cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::with(&cluster, room.path(), "mnt", "", "allow_other");
    unpack(&room, mount.path());
    compare(mount.path(), &["", "tree"]);
    // In the middle of work that is not told yet.
    stir(&mount.join("tree"));
    cluster.leader().kill();
    compare(mount.path(), &["tree", "", "tree/d7"]);
    unpack(&room, &mount.join("tree/d1"));
    compare(mount.path(), &["tree", ""]);
    cluster.assert_clean();
}
