//! The disk cache on a file and on a faulty double of one: restarts, damage, bounds, disks that are full, broken or
//! hang, and mounts that share a directory.

use super::entry::{EXTENT_BYTES, EXTENT_SLOTS, content_at};
use super::*;
use dfs_core::ids::{ChunkId, SetId};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

const CLUSTER: [u8; 16] = [7; 16];

fn key(seq: u64) -> BlockKey {
    (ChunkId { set: SetId(1), seq }, 3)
}

fn content(seq: u64) -> Bytes {
    let len = 1000 + seq as usize % 60_000;
    (0..len).map(|at| (at as u64 * 31 + seq * 7) as u8).collect()
}

fn start(dir: &Path, extents: u64) -> DiskCache {
    let config = DiskCacheConfig {
        dir: dir.to_path_buf(),
        size: extents * EXTENT_BYTES + 5,
    };
    DiskCache::start(&config, &CLUSTER, "volume")
}

fn file(dir: &Path, number: u32) -> PathBuf {
    let name = "07".repeat(16);
    dir.join(format!("{name}-volume/blocks-{number}"))
}

fn until(what: &str, happened: impl Fn() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Keeps the blocks, a few at a time so that the queue never overflows.
fn fill(cache: &DiskCache, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        cache.keep(key(seq), content(seq));
        let waits = || !cache.contains(&key(seq)) && !cache.shared.off.load(Ordering::Relaxed);
        until("a block is written", || !waits());
    }
}

fn hits(cache: &DiskCache, seqs: std::ops::Range<u64>) -> usize {
    seqs.filter(|seq| {
        let found = cache.read(&key(*seq));
        assert!(found.is_none() || found == Some(content(*seq)), "block {seq}");
        found.is_some()
    })
    .count()
}

#[test]
fn blocks_outlive_a_restart_and_stay_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let cache = start(dir.path(), 2);
    fill(&cache, 0..700);
    assert_eq!(cache.blocks(), 2 * EXTENT_SLOTS as usize);
    assert_eq!(hits(&cache, 0..700), 510);
    assert_eq!(hits(&cache, 690..700), 10);
    cache.close();
    assert_eq!(hits(&cache, 0..700), 0);
    let len = || std::fs::metadata(file(dir.path(), 0)).unwrap().len();
    assert_eq!(len(), 2 * EXTENT_BYTES);

    let cache = start(dir.path(), 2);
    assert_eq!(hits(&cache, 190..700), 510);
    fill(&cache, 700..800);
    assert_eq!((hits(&cache, 700..800), cache.blocks()), (100, 510));
    cache.close();
    let smaller = start(dir.path(), 1);
    assert_eq!((len(), smaller.blocks()), (EXTENT_BYTES, 255));
    assert_eq!(hits(&smaller, 0..800), 255);
}

#[test]
fn what_waits_is_written_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let cache = start(dir.path(), 1);
    (0..100).for_each(|seq| cache.keep(key(seq), content(seq)));
    cache.close();
    cache.keep(key(100), content(100));
    assert_eq!(hits(&start(dir.path(), 1), 0..101), 100);
}

#[test]
fn no_flipped_bit_reaches_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let cache = start(dir.path(), 1);
    fill(&cache, 0..255);
    let mut options = std::fs::File::options();
    let disk = options.read(true).write(true).open(file(dir.path(), 0)).unwrap();
    let flip = |at: u64| {
        let mut byte = [0];
        disk.read_exact_at(&mut byte, at).unwrap();
        disk.write_all_at(&[byte[0] ^ 16], at).unwrap();
    };
    (0..255).step_by(5).for_each(|slot| flip(content_at(slot) + 900));
    assert_eq!(hits(&cache, 0..255), 204);
    assert_eq!(cache.happened().bad_blocks.load(Ordering::Relaxed), 51);
    // A slot that was given up takes another block.
    fill(&cache, 300..351);
    assert_eq!(hits(&cache, 300..351), 51);
    assert_eq!(hits(&cache, 0..255), 204);
    cache.close();
    // Entries in the table are not believed either, nor is a file that was cut, nor another cluster's.
    (1..256)
        .step_by(3)
        .for_each(|entry| flip(entry * 64 + entry % 40));
    let cache = start(dir.path(), 1);
    assert_eq!(hits(&cache, 0..255) + hits(&cache, 300..351), 170);
    disk.set_len(content_at(100)).unwrap();
    let left = hits(&cache, 0..255) + hits(&cache, 300..351);
    assert!((1..170).contains(&left));
    cache.close();
    assert_eq!(start(dir.path(), 1).blocks(), 0);
}

#[test]
fn mounts_of_one_directory_have_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (start(dir.path(), 1), start(dir.path(), 1));
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&one, 0..400));
        scope.spawn(|| fill(&two, 200..600));
    });
    assert_eq!((hits(&one, 0..600), hits(&two, 0..600)), (255, 255));
    assert!(file(dir.path(), 0).exists() && file(dir.path(), 1).exists());
    one.close();
    let three = start(dir.path(), 1);
    assert_eq!((hits(&three, 0..600), hits(&two, 0..600)), (255, 255));
    let mode = std::fs::metadata(file(dir.path(), 0))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_directory_that_cannot_be_used_only_means_no_cache() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("file");
    std::fs::write(&taken, "").unwrap();
    let open = dir.path().join("open");
    let inner = file(&open, 0).parent().unwrap().to_path_buf();
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o777)).unwrap();
    for (dir, extents) in [(taken.as_path(), 1), (open.as_path(), 1), (dir.path(), 0)] {
        let cache = start(dir, extents);
        fill(&cache, 0..10);
        assert_eq!(hits(&cache, 0..10), 0);
        assert!(cache.shared.off.load(Ordering::Relaxed));
    }
}

/// What goes wrong with the disk.
#[derive(Default)]
struct Faults {
    extents: u64,
    writes: AtomicU64,
    writes_max: Option<u64>,
    bad_reads: bool,
}

/// A disk in memory.
struct Double {
    bytes: Mutex<Vec<u8>>,
    faults: Faults,
}

impl Media for Double {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if self.faults.bad_reads {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let at = offset as usize;
        bytes.copy_from_slice(&self.bytes.lock()[at..at + bytes.len()]);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let before = self.faults.writes.fetch_add(1, Ordering::Relaxed);
        if self.faults.writes_max.is_some_and(|most| before >= most) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let at = offset as usize;
        self.bytes.lock()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().truncate(len as usize);
        Ok(())
    }

    fn grow(&self, offset: u64) -> io::Result<()> {
        if offset >= self.faults.extents * EXTENT_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.lock().resize((offset + EXTENT_BYTES) as usize, 0);
        Ok(())
    }

    fn release(&self) {}
}

fn faulty(faults: Faults) -> DiskCache {
    let double = Double {
        bytes: Mutex::default(),
        faults,
    };
    let open = move || Ok(Box::new(double) as Box<dyn Media>);
    DiskCache::with(open, "double".into(), 4 * EXTENT_BYTES, &CLUSTER)
}

#[test]
fn a_disk_that_fills_up_bounds_the_cache() {
    let cache = faulty(Faults {
        extents: 1,
        ..Faults::default()
    });
    fill(&cache, 0..300);
    assert_eq!((cache.blocks(), hits(&cache, 0..300)), (255, 255));
    assert_eq!(cache.happened().evicted_blocks.load(Ordering::Relaxed), 45);
}

#[test]
fn a_disk_that_is_full_or_fails_ends_the_cache_and_nothing_else() {
    let full = Faults::default();
    let writes = Faults {
        extents: 1,
        writes_max: Some(7),
        ..Faults::default()
    };
    let reads = Faults {
        extents: 1,
        bad_reads: true,
        ..Faults::default()
    };
    for faults in [full, writes, reads] {
        let cache = faulty(faults);
        fill(&cache, 0..5);
        assert!(hits(&cache, 0..5) <= 3);
        assert!(cache.shared.off.load(Ordering::Relaxed));
        let begun = Instant::now();
        (0..10_000).for_each(|seq| cache.keep(key(seq), Bytes::from_static(b"x")));
        cache.close();
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn a_disk_that_does_not_keep_up_loses_blocks_and_holds_nobody_up() {
    let cache = faulty(Faults {
        extents: 4,
        ..Faults::default()
    });
    // Whoever holds the index is a disk that hangs, to the writer.
    let held = cache.shared.index.lock();
    let queue = cache.queue.lock().clone().unwrap();
    let sent = (0..2000).filter(|seq| queue.try_send((key(*seq), content(*seq))).is_ok());
    assert!(sent.count() <= QUEUE_MAX + 1);
    drop(held);
    let _permits: Vec<_> = std::iter::from_fn(|| cache.admit()).collect();
    assert_eq!(_permits.len(), READS_MAX);
    drop(_permits);
    cache.rest();
    assert!(cache.admit().is_none());
}
