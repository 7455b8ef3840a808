//! A cache on a local disk under a real mount: content is there after the client was killed, while no datanode
//! runs; damage and a full disk are not noticed by readers.
use integration::disk::Disk;
use integration::{Cluster, Mount, Room, patience};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BLOCK: usize = 64 << 10;
const SIZE: usize = 8 << 20;
const LIMIT: Duration = Duration::from_secs(30);
/// The entries of the first 16 MiB: 64 bytes each, from the second on.
const TABLE: usize = 16 << 10;

fn content() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 5 + at / 65_537) as u8).collect()
}

fn write(mount: &Mount, name: &str, content: &[u8]) {
    std::fs::write(mount.join(name), content).unwrap();
    File::open(mount.join(name)).unwrap().sync_all().unwrap();
}

fn options(dir: &Path) -> String {
    format!("allow_other,cache-dir={},cache-size=64,timeout=5", dir.display())
}

fn cache_file(dir: &Path) -> Option<PathBuf> {
    let volume = std::fs::read_dir(dir).ok()?.find_map(|entry| {
        let path = entry.ok()?.path();
        path.to_string_lossy().ends_with("-default").then_some(path)
    })?;
    Some(volume.join("blocks-0"))
}

/// Blocks that the cache's first table names.
fn blocks(dir: &Path) -> usize {
    let mut table = vec![0; TABLE];
    let read = cache_file(dir).and_then(|path| File::open(path).ok()?.read_exact_at(&mut table, 0).ok());
    let entries = table.chunks(64).filter(|entry| entry.starts_with(b"DFSBLCK"));
    read.map_or(0, |()| entries.count())
}

#[test]
fn a_killed_client_finds_its_cache_again() {
    let room = Room::new();
    let mut cluster = Cluster::start(room.path());
    let dir = room.folder("cache");
    let mut mount = Mount::with(&cluster, room.path(), "mnt", "", &options(&dir));
    write(&mount, "file", &content());
    let all = || blocks(&dir) >= SIZE / BLOCK;
    patience::until_true("the content is in the cache", LIMIT, all);
    mount.kill();
    cluster.datanodes.iter_mut().for_each(|node| node.kill());
    mount.mount();
    let read = |mount: &Mount| {
        let path = mount.join("file");
        patience::within("reading", LIMIT, move || std::fs::read(path))
    };
    assert!(read(&mount).unwrap() == content(), "from the cache alone");

    // A bad block is fetched again, which now needs a datanode.
    mount.kill();
    let cache = cache_file(&dir).unwrap();
    let file = File::options().read(true).write(true).open(cache).unwrap();
    let place = (SIZE / 2) as u64;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 1], place).unwrap();
    mount.mount();
    assert!(read(&mount).is_err(), "the bad block is believed");
    cluster.datanodes.iter_mut().for_each(|node| node.restart());
    cluster.wait_until_healthy();
    let whole = || read(&mount).is_ok_and(|found| found == content());
    patience::until_true("the content is whole again", LIMIT, whole);
    cluster.assert_clean();
}

#[test]
fn a_full_cache_disk_stops_nothing() {
    let room = Room::new();
    let cluster = Cluster::start(room.path());
    let disk = Disk::new(room.path(), "cache-disk", 48);
    disk.fill();
    let mut mount = Mount::with(&cluster, room.path(), "mnt", "", &options(disk.path()));
    write(&mount, "file", &content());
    mount.remount();
    assert!(std::fs::read(mount.join("file")).unwrap() == content());
    let log = mount.process().log();
    let lines = log
        .lines()
        .filter(|line| line.contains("no disk cache until the next mount"));
    assert!(lines.count() >= 1, "it says why nothing is cached\n{log}");
    mount.unmount();
}

#[test]
fn a_cache_disk_that_hangs_stops_nothing() {
    let room = Room::new();
    let cluster = Cluster::start(room.path());
    let disk = Disk::new(room.path(), "cache-disk", 96);
    let mut mount = Mount::with(&cluster, room.path(), "mnt", "", &options(disk.path()));
    write(&mount, "before", &content());
    let plain = Mount::new(&cluster, room.path(), "plain");
    let frozen = disk.freeze();
    write(&plain, "other", &content());
    let (name, other) = (mount.join("during"), mount.join("other"));
    let during = move || {
        std::fs::write(&name, content())?;
        File::open(&name)?.sync_all()?;
        std::fs::read(&other)
    };
    let found = patience::within("writing and reading", Duration::from_secs(15), during);
    assert!(found.unwrap() == content());
    drop(frozen);
    mount.remount();
    assert!(std::fs::read(mount.join("during")).unwrap() == content());
    assert!(std::fs::read(mount.join("before")).unwrap() == content());
}
