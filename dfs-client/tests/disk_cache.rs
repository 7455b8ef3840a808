//! Mounts with a cache on a local disk: what it saves, and that it changes nothing else whatever its disk does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, create, fsync, open, read, write};
use dfs_client::config::DiskCacheConfig;
use dfs_client::vfs::Vfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FILE: usize = 20 << 20;

fn mount(cluster: &Cluster, dir: &Path, mebibytes: u64) -> Arc<Vfs> {
    cluster.mount_with(|config| {
        config.disk_cache = Some(DiskCacheConfig {
            dir: dir.to_path_buf(),
            size: mebibytes << 20,
        });
    })
}

fn content() -> Vec<u8> {
    (0..FILE).map(|at| (at / 3 + at / 70_001) as u8).collect()
}

/// A cluster that has the file.
fn scene() -> Cluster {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    for (number, part) in content().chunks(1 << 20).enumerate() {
        write(&vfs, file, (number << 20) as u64, part);
    }
    fsync(&vfs, file);
    vfs.shutdown();
    cluster
}

fn gets(cluster: &Cluster) -> u64 {
    cluster.store.faults.lock().unwrap().gets
}

fn assert_reads(vfs: &Vfs) {
    let file = open(vfs, "file", libc::O_RDONLY);
    for (number, part) in content().chunks(128 << 10).enumerate() {
        assert!(read(vfs, file, (number * part.len()) as u64, part.len() as u32) == part);
    }
}

fn until(what: &str, happened: impl Fn() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn blocks_file(dir: &Path) -> PathBuf {
    let volume = std::fs::read_dir(dir).unwrap().next().unwrap().unwrap();
    volume.path().join("blocks-0")
}

#[test]
fn after_a_remount_no_datanode_is_asked() {
    let cluster = scene();
    let dir = tempfile::tempdir().unwrap();
    let first = mount(&cluster, dir.path(), 64);
    assert_reads(&first);
    let asked = gets(&cluster);
    assert!(asked > 0);
    first.shutdown();
    assert_eq!(first.cache_counters().disk_written_bytes, FILE as u64);
    cluster.store.faults.lock().unwrap().dead = vec![1, 2, 3];
    let second = mount(&cluster, dir.path(), 64);
    assert_reads(&second);
    assert_eq!(gets(&cluster), asked);
    let counters = second.cache_counters();
    assert_eq!((counters.disk_hit_bytes, counters.miss_bytes), (FILE as u64, 0));
    assert!(counters.memory_hit_bytes > 0);
}

#[test]
fn what_was_written_here_is_kept_too() {
    let cluster = Cluster::start();
    let dir = tempfile::tempdir().unwrap();
    let vfs = mount(&cluster, dir.path(), 64);
    let file = create(&vfs, "small");
    write(&vfs, file, 0, &[5; 100_000]);
    fsync(&vfs, file);
    vfs.shutdown();
    let later = mount(&cluster, dir.path(), 64);
    assert_eq!(
        read(&later, open(&later, "small", libc::O_RDONLY), 0, 200_000),
        [5; 100_000]
    );
    assert_eq!(gets(&cluster), 0);
}

#[test]
fn a_rotten_cache_is_read_around() {
    let cluster = scene();
    let dir = tempfile::tempdir().unwrap();
    let first = mount(&cluster, dir.path(), 64);
    assert_reads(&first);
    first.shutdown();
    let asked = gets(&cluster);
    let path = blocks_file(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    for at in (70_000..bytes.len()).step_by(1_000_003) {
        bytes[at] ^= 1;
    }
    std::fs::write(&path, bytes).unwrap();
    let second = mount(&cluster, dir.path(), 64);
    assert_reads(&second);
    let counters = second.cache_counters();
    assert!(counters.disk_bad_blocks > 5 && gets(&cluster) > asked);
    assert_eq!(counters.miss_bytes, counters.disk_bad_blocks * (64 << 10));
    // They were fetched again and are whole now.
    second.shutdown();
    let third = mount(&cluster, dir.path(), 64);
    assert_reads(&third);
    assert_eq!(third.cache_counters().miss_bytes, 0);
}

#[test]
fn a_cache_smaller_than_the_file_stays_within_its_bound() {
    let cluster = scene();
    let dir = tempfile::tempdir().unwrap();
    let vfs = mount(&cluster, dir.path(), 16);
    for _ in 0..2 {
        assert_reads(&vfs);
    }
    until("something is evicted", || {
        vfs.cache_counters().disk_evicted_blocks > 0
    });
    vfs.shutdown();
    assert_eq!(
        std::fs::metadata(blocks_file(dir.path())).unwrap().len(),
        16 << 20
    );
}

#[test]
fn two_mounts_share_a_directory() {
    let cluster = scene();
    let dir = tempfile::tempdir().unwrap();
    let mounts = [mount(&cluster, dir.path(), 64), mount(&cluster, dir.path(), 64)];
    std::thread::scope(|scope| {
        for vfs in &mounts {
            scope.spawn(|| assert_reads(vfs));
        }
    });
    for vfs in &mounts {
        vfs.shutdown();
        assert_eq!(vfs.cache_counters().disk_bad_blocks, 0);
    }
    let asked = gets(&cluster);
    let again = [mount(&cluster, dir.path(), 64), mount(&cluster, dir.path(), 64)];
    again.iter().for_each(|vfs| assert_reads(vfs));
    assert_eq!(gets(&cluster), asked);
}

#[test]
fn without_a_usable_disk_the_mount_works_as_before() {
    let cluster = scene();
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("file");
    std::fs::write(&taken, "").unwrap();
    let vfs = mount(&cluster, &taken, 64);
    assert_reads(&vfs);
    let counters = vfs.cache_counters();
    assert_eq!((counters.disk_blocks, counters.miss_bytes), (0, FILE as u64));
}
