//! `dfs warmup`: what was warmed is read without any datanode, also by the next client when the cache is on a disk, and
//! what did not fit is said.
use integration::{Cluster, Mount, Room, patience, programs};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const LARGE: usize = 9 << 20;
const SMALL: usize = 40;
const BLOCK: u64 = 64 << 10;

fn warmup(args: &[&str], paths: &[PathBuf]) -> Output {
    let mut command = Command::new(programs::dfs());
    command.arg("warmup").args(args).args(paths);
    patience::within("dfs warmup", LIMIT, move || command.output().unwrap())
}

fn said(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn number(said: &Value, key: &str) -> u64 {
    said[key].as_u64().unwrap_or_else(|| panic!("{key} in {said}"))
}

fn content(size: usize, seed: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 3 + at / 65_521 + seed) as u8).collect()
}

/// A tree with small files, a large one, a hole, a link and a pipe; its content in bytes.
fn plant(root: &Path) -> u64 {
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    for number in 0..SMALL {
        std::fs::write(root.join(format!("a/b/{number}")), content(100 + number, number)).unwrap();
    }
    std::fs::write(root.join("large"), content(LARGE, 7)).unwrap();
    std::fs::File::create(root.join("hole"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    std::os::unix::fs::symlink("large", root.join("link")).unwrap();
    let made = Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success(), "mkfifo");
    (LARGE + (0..SMALL).map(|number| 100 + number).sum::<usize>()) as u64
}

fn assert_readable(root: &Path) {
    let root = root.to_owned();
    let read = move || {
        for number in 0..SMALL {
            let found = std::fs::read(root.join(format!("a/b/{number}"))).unwrap();
            assert!(found == content(100 + number, number), "{number}");
        }
        assert!(std::fs::read(root.join("large")).unwrap() == content(LARGE, 7));
    };
    patience::within("reading without datanodes", LIMIT, read);
}

#[test]
fn what_was_warmed_needs_no_datanode_now_and_after_a_remount() {
    let room = Room::new();
    let mut cluster = Cluster::start(room.path());
    let mut writer = Mount::new(&cluster, room.path(), "writer");
    std::fs::create_dir(writer.join("tree")).unwrap();
    let bytes = plant(&writer.join("tree"));
    writer.unmount();
    let cache = room.folder("cache");
    let options = format!(
        "allow_other,timeout=5,cache-dir={},cache-size=64",
        cache.display()
    );
    let mut mount = Mount::with(&cluster, room.path(), "mnt", "", &options);
    let tree = [mount.join("tree")];

    let cold = warmup(&["--check", "--json"], &tree);
    let before = said(&cold);
    assert_eq!(cold.status.code(), Some(1), "{before}");
    assert_eq!(
        (number(&before, "content_bytes"), number(&before, "cached_bytes")),
        (bytes, 0)
    );
    assert_eq!(
        (number(&before, "directories"), number(&before, "files")),
        (3, 2 + SMALL as u64)
    );

    let warm = warmup(&["--json", "-p", "3"], &tree);
    let done = said(&warm);
    assert_eq!(warm.status.code(), Some(0), "{done}");
    assert_eq!(number(&done, "missing_bytes"), 0, "{done}");
    // Small files share blocks: one that is brought for one file is there for the next.
    assert!(number(&done, "fetched_bytes") >= bytes - 4 * BLOCK, "{done}");
    assert_eq!(
        (number(&done, "failed"), &done["cache"]),
        (0, &Value::from("disk"))
    );

    cluster.datanodes.iter_mut().for_each(|node| node.kill());
    assert_readable(&mount.join("tree"));
    // The next client of this cache is as warm.
    mount.remount();
    let after = warmup(&["--check"], &tree);
    assert_eq!(after.status.code(), Some(0), "{after:?}");
    assert_readable(&mount.join("tree"));
    cluster.datanodes.iter_mut().for_each(|node| node.restart());
    cluster.wait_until_healthy();
    cluster.assert_clean();
}

#[test]
fn what_does_not_fit_into_memory_is_said_and_a_list_names_what_to_warm() {
    let room = Room::new();
    let mut cluster = Cluster::start(room.path());
    let mut writer = Mount::new(&cluster, room.path(), "writer");
    plant(writer.path());
    writer.unmount();
    let mount = Mount::with(
        &cluster,
        room.path(),
        "mnt",
        "",
        "allow_other,timeout=5,buffer-size=4",
    );
    let list = room.path().join("list");
    std::fs::write(&list, format!("{}\n\n", mount.join("a").display())).unwrap();
    let list = list.to_str().unwrap().to_owned();

    let small = warmup(&["--json", "-f", &list], &[]);
    let done = said(&small);
    assert_eq!(small.status.code(), Some(0), "{done}");
    assert_eq!(
        (number(&done, "files"), &done["cache"]),
        (SMALL as u64, &Value::from("memory"))
    );

    let large = warmup(&["--json"], &[mount.join("large")]);
    let done = said(&large);
    assert_eq!(large.status.code(), Some(1), "{done}");
    let (cached, missing) = (number(&done, "cached_bytes"), number(&done, "missing_bytes"));
    assert_eq!(cached + missing, LARGE as u64);
    assert!(missing >= (LARGE - (4 << 20)) as u64 && cached > 0, "{done}");

    // Paths elsewhere are refused; datanodes that are away are a failure that is told.
    let elsewhere = warmup(&[], &[room.path().to_owned()]);
    assert_eq!(elsewhere.status.code(), Some(2), "{elsewhere:?}");
    cluster.datanodes.iter_mut().for_each(|node| node.kill());
    let dead = warmup(&["--json"], &[mount.join("large")]);
    let done = said(&dead);
    assert_eq!(
        (dead.status.code(), number(&done, "failed")),
        (Some(1), 1),
        "{done}"
    );
    cluster.datanodes.iter_mut().for_each(|node| node.restart());
    cluster.wait_until_healthy();
}
