//! Small reads at random places of a file that the cache cannot hold: few bytes are moved, and whatever goes wrong with
//! pages, the content is right.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, create, fsync, open, read, root, write};
use dfs_client::vfs::Vfs;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FILE: usize = 20 << 20;
const SMALL: usize = 6 << 20;
const MEMORY: u64 = 16 << 20;
const BLOCK: u64 = 65_536;
/// Reads at random before pages are asked for.
const FIRST: u64 = 8;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 3 + at / 70_001) as u8).collect()
}

/// A cluster with a large file and a small one, and a mount that has none of them in memory.
fn scene() -> (Cluster, Arc<Vfs>) {
    let cluster = Cluster::start_framed();
    let vfs = cluster.mount();
    for (name, len) in [("large", FILE), ("small", SMALL)] {
        let file = create(&vfs, name);
        for (number, part) in content(len).chunks(1 << 20).enumerate() {
            write(&vfs, file, (number << 20) as u64, part);
        }
        fsync(&vfs, file);
    }
    vfs.shutdown();
    let vfs = cluster.mount_with(|config| config.buffer_size = MEMORY);
    (cluster, vfs)
}

fn page_gets(cluster: &Cluster) -> u64 {
    cluster.store.faults.lock().unwrap().page_gets
}

/// The place of a read: far from the one before, and in each block before any comes again.
fn place(number: usize, len: usize) -> usize {
    let blocks = len / BLOCK as usize;
    number * (blocks / 2 - 3) % blocks * BLOCK as usize + number * 5009 % 40_000
}

/// Reads `count` times at random and compares.
fn read_at_random(vfs: &Vfs, name: &str, len: usize, count: usize, size: usize) {
    let (content, file) = (content(len), open(vfs, name, libc::O_RDONLY));
    for number in 1..=count {
        let at = place(number, len);
        let got = read(vfs, file, at as u64, size as u32);
        assert!(got == content[at..at + size], "read {number} at {at}");
    }
}

// A file that memory can hold comes whole, in order, once it was read all over, and not before.
#[test]
fn what_is_read_at_random_all_over_comes_whole() {
    let (cluster, vfs) = scene();
    let file = open(&vfs, "small", libc::O_RDONLY);
    let content = content(SMALL);
    let same = |number: usize| {
        let at = place(number, SMALL);
        assert!(
            read(&vfs, file, at as u64, 4096) == content[at..at + 4096],
            "read {number}"
        );
    };
    let moved = || vfs.cache_counters().miss_bytes;
    // As most do; then all extents are known.
    read(&vfs, file, 0, 100);
    let few = FIRST + 15;
    (1..=few as usize).for_each(same);
    // Each in a block of its own, and what the first read brought ahead.
    assert!(
        moved() <= few * BLOCK + (1 << 20),
        "{} bytes for {few} reads",
        moved()
    );
    (few as usize + 1..=few as usize + 3).for_each(same);
    let begun = Instant::now();
    while moved() < SMALL as u64 {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{} bytes came",
            moved()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let gets = cluster.store.faults.lock().unwrap().gets;
    (1..200).for_each(same);
    // No second time, and nobody was asked any more.
    assert_eq!(moved(), SMALL as u64);
    assert_eq!(cluster.store.faults.lock().unwrap().gets, gets);
}

/// Framed connections are made behind the reader's back.
fn warm_up(cluster: &Cluster, vfs: &Vfs) {
    let begun = Instant::now();
    while page_gets(cluster) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no page was asked for");
        read_at_random(vfs, "large", FILE, 2 * FIRST as usize, 100);
    }
}

#[test]
fn random_reads_of_a_large_file_move_few_bytes() {
    let (cluster, vfs) = scene();
    warm_up(&cluster, &vfs);
    let (before, asked) = (vfs.cache_counters().miss_bytes, page_gets(&cluster));
    let count = 200;
    read_at_random(&vfs, "large", FILE, count, 4096);
    let moved = vfs.cache_counters().miss_bytes - before;
    // Each read touches two pages; a busy machine may have sent a few the long way.
    let most = FIRST * BLOCK + count as u64 * 2 * 4096 + 20 * BLOCK;
    assert!(moved < most, "{moved} bytes for {count} reads");
    let asked = page_gets(&cluster) - asked;
    assert!(asked > count as u64 / 2, "{asked} page reads");
}

#[test]
fn pages_are_for_small_reads_through_the_kernel_s_pages_of_files_beyond_the_cache() {
    let (cluster, vfs) = scene();
    warm_up(&cluster, &vfs);
    let asked = page_gets(&cluster);
    read_at_random(&vfs, "small", SMALL, 60, 4096);
    read_at_random(&vfs, "large", FILE, 60, 20_000);
    let file = open(&vfs, "large", libc::O_RDONLY);
    for at in (0..FILE as u64 / 4).step_by(4096) {
        read(&vfs, file, at, 4096);
    }
    let file = open(&vfs, "large", libc::O_RDONLY);
    for number in 1..60 {
        let at = place(number, FILE) as u64;
        vfs.read(&root(), file.0, file.1, at, 4096, false).unwrap();
    }
    assert_eq!(page_gets(&cluster), asked);
}

#[test]
fn a_member_that_knows_no_pages_is_asked_once_and_read_by_blocks() {
    let (cluster, vfs) = scene();
    cluster.store.faults.lock().unwrap().no_pages = true;
    warm_up(&cluster, &vfs);
    for _ in 0..3 {
        read_at_random(&vfs, "large", FILE, 100, 4096);
    }
    assert!(page_gets(&cluster) <= u64::from(cluster::MEMBERS));
}

// S26
#[test]
fn a_page_that_does_not_match_its_checksum_is_read_elsewhere() {
    let (cluster, vfs) = scene();
    warm_up(&cluster, &vfs);
    cluster.store.faults.lock().unwrap().rotten = vec![1, 2];
    let asked = page_gets(&cluster);
    read_at_random(&vfs, "large", FILE, 100, 4096);
    assert!(page_gets(&cluster) > asked);
}
