//! Tests of what only a disk can do: crashes at every point, flipped bits, shared syncs, holes, small disks.

mod layouts;

use super::super::suite::{content, get, id, put, put_as};
use super::super::{ChunkStore, StoreError, Verdict};
use super::sync::SyncGate;
use super::{SegmentStore, Settings};
use dfs_core::chunk::header::{self, Layout};
use dfs_core::chunk::segment::FIRST_SLOT;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn slot_len(len: u32) -> u64 {
    header::slot_len(Layout::NEW, len)
}

const SMALL: Settings = Settings {
    capacity: None,
    reserve: 0,
    sharers: 1,
    segment_size: 1 << 20,
};

fn open(dir: &Path) -> SegmentStore {
    SegmentStore::open(dir, SMALL).unwrap()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(segments(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

#[test]
fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for seq in 0..60 {
        put(
            &store,
            id(1 + (seq % 2) as u32, seq),
            &content(50_000 + seq as usize, seq),
        )
        .unwrap();
    }
    store.delete(&[id(1, 0), id(2, 1), id(1, 2)]);
    let usage = store.usage();
    drop(store);
    for _ in 0..2 {
        let store = open(dir.path());
        let again = store.usage();
        assert_eq!(
            (again.used, again.chunks, store.problem()),
            (usage.used, 57, None)
        );
        assert_eq!(
            store.len(id(1, 0)),
            Err(StoreError::NotFound(id(1, 0))),
            "deleted stays deleted"
        );
        for seq in 3..60 {
            assert_eq!(
                get(&store, id(1 + (seq % 2) as u32, seq)),
                content(50_000 + seq as usize, seq)
            );
        }
    }
}

// S13
/// A crash keeps any prefix of what was not synced: the file is cut at every interesting byte, and zeroed
/// behind it as preallocation leaves it.
#[test]
fn a_crash_at_every_point_of_the_tail() {
    let made = tempfile::tempdir().unwrap();
    let store = open(made.path());
    let sizes = [3000usize, 70_000, 5];
    for (seq, len) in sizes.into_iter().enumerate() {
        put(&store, id(1, seq as u64), &content(len, seq as u64)).unwrap();
    }
    let image = std::fs::read(&segments(made.path())[0]).unwrap();
    let starts: Vec<u64> = sizes
        .iter()
        .scan(FIRST_SLOT, |at, len| {
            let start = *at;
            *at += slot_len(*len as u32);
            Some(start)
        })
        .collect();
    let last_content = starts[2] + 512 + 5;
    let name = segments(made.path())[0]
        .strip_prefix(made.path())
        .unwrap()
        .to_path_buf();
    let cuts = (0..=last_content + 1).filter(|cut| cut % 509 == 0 || *cut + 600 > last_content);
    for cut in cuts.chain(starts.iter().copied()).chain([4096, last_content]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut torn = image.clone();
        torn[cut as usize..].fill(0);
        std::fs::write(&path, &torn).unwrap();
        let store = open(dir.path());
        for (seq, len) in sizes.into_iter().enumerate() {
            let bytes = content(len, seq as u64);
            // Zeroing may also hit bytes that were zero; then nothing is torn.
            let end = (starts[seq] + 512 + len as u64) as usize;
            let whole = cut >= 512 && torn[starts[seq] as usize..end] == image[starts[seq] as usize..end];
            match store.read(id(1, seq as u64), 0, u32::MAX) {
                Ok(blocks) => assert_eq!(blocks.payload, bytes, "cut {cut}"),
                Err(StoreError::NotFound(_)) => assert!(!whole, "chunk {seq} was whole, cut {cut}"),
                Err(e) => panic!("cut {cut}: {e}"),
            }
        }
        put(&store, id(1, 77), b"goes on").unwrap();
        drop(store);
        assert_eq!(get(&open(dir.path()), id(1, 77)), b"goes on");
    }
}

/// A sealed segment: rotate by filling the first.
fn sealed(dir: &Path) -> PathBuf {
    let store = open(dir);
    for seq in 0..20 {
        put(&store, id(1, seq), &content(100_000, seq)).unwrap();
    }
    segments(dir)[0].clone()
}

// S26
#[test]
fn a_flipped_bit_of_content_is_found_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let first = sealed(dir.path());
    flip(&first, FIRST_SLOT + slot_len(100_000) + 512 + 70_000);
    let store = open(dir.path());
    assert!(matches!(store.verify(id(1, 1)), Verdict::Corrupt(_)));
    assert!(
        matches!(store.read(id(1, 1), 0, 1), Err(StoreError::Corrupt { .. })),
        "out of service"
    );
    assert_eq!(get(&store, id(1, 0)), content(100_000, 0));
    put(&store, id(1, 1), &content(100_000, 1)).unwrap();
    assert_eq!(get(&store, id(1, 1)), content(100_000, 1));
    let chunks = store.usage().chunks;
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, id(1, 1)), content(100_000, 1));
    assert_eq!((store.usage().chunks, store.problem()), (chunks, None));
}

#[test]
fn a_damaged_header_is_reported_and_the_rest_served() {
    for at in [
        FIRST_SLOT + slot_len(100_000) + 20,
        FIRST_SLOT + slot_len(100_000) + 97,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let first = sealed(dir.path());
        flip(&first, at);
        let store = open(dir.path());
        assert_eq!(store.usage().chunks, 19);
        assert!(store.problem().unwrap().contains("no chunk any more"));
        assert_eq!(get(&store, id(1, 2)), content(100_000, 2));
        put(&store, id(1, 1), &content(100_000, 1)).unwrap();
        assert_eq!(get(&store, id(1, 1)), content(100_000, 1));
    }
}

#[test]
fn a_header_damaged_while_open_is_an_error_not_a_lie() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, id(1, 1), &content(1000, 1)).unwrap();
    flip(&segments(dir.path())[0], FIRST_SLOT + 60);
    assert!(matches!(
        store.read(id(1, 1), 0, 1),
        Err(StoreError::Corrupt { .. })
    ));
    assert_eq!(store.list(None, 10, false)[0].sha256, None);
}

#[test]
fn a_damaged_first_page_loses_no_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let first = sealed(dir.path());
    flip(&first, 3);
    let store = open(dir.path());
    assert_eq!(store.usage().chunks, 20);
    assert!(store.problem().unwrap().contains("first page"));
    assert_eq!(get(&store, id(1, 0)), content(100_000, 0));
}

#[test]
fn content_that_looks_like_a_header_is_content() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, id(1, 1), &content(3584, 1)).unwrap();
    let image = std::fs::read(&segments(dir.path())[0]).unwrap();
    // The file's own slots as content, at page-aligned places of the next chunk, which is then torn.
    let mut forged = vec![0; 4096 - 512];
    forged.extend_from_slice(&image[FIRST_SLOT as usize..FIRST_SLOT as usize + 4096]);
    put(&store, id(1, 2), &forged).unwrap();
    drop(store);
    flip(&segments(dir.path())[0], FIRST_SLOT + 4096 + 30);
    let store = open(dir.path());
    assert_eq!((store.usage().chunks, store.problem()), (1, None));
    assert_eq!(get(&store, id(1, 1)), content(3584, 1));
}

#[test]
fn one_sync_serves_all_that_wait() {
    let gate = Arc::new(SyncGate::default());
    let syncs = AtomicU64::new(0);
    let late = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let slow = || {
                syncs.fetch_add(1, Ordering::SeqCst);
                // Everybody else comes while the first sync runs.
                while gate.waiting() < 9 {
                    std::thread::yield_now();
                }
                Ok(())
            };
            gate.sync(slow).unwrap();
        });
        while gate.waiting() == 0 {
            std::thread::yield_now();
        }
        for _ in 0..8 {
            scope.spawn(|| {
                let quick = || {
                    late.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                };
                gate.sync(quick).unwrap();
            });
        }
    });
    assert_eq!((syncs.into_inner(), late.into_inner()), (1, 1));
}

#[test]
fn after_a_failed_sync_nothing_is_promised() {
    let gate = SyncGate::default();
    assert!(gate.sync(|| Err(std::io::Error::other("gone"))).is_err());
    assert!(gate.sync(|| Ok(())).is_err());
}

// S13, S27
#[test]
fn a_disk_that_failed_to_sync_once_takes_chunks_and_deletes_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for seq in 0..3 {
        put(&store, id(1, seq), &content(50_000, seq)).unwrap();
    }
    let broken = store.0.segments.read().values().next().unwrap().clone();
    broken.broken.store(true, Ordering::SeqCst);
    let before = store.usage();
    let refused = put(&store, id(1, 3), &content(50_000, 3)).unwrap_err();
    assert!(matches!(refused, StoreError::Io(_)), "{refused}");
    assert!(
        store
            .problem()
            .is_some_and(|problem| problem.contains("sync failed"))
    );
    assert_eq!(store.usage().used, before.used);
    put(&store, id(1, 4), &content(50_000, 4)).expect("a new segment is taken");
    assert_eq!(get(&store, id(1, 0)), content(50_000, 0));
    assert_eq!(store.delete(&[id(1, 0)]).len(), 1, "the mark is not durable");
    broken.broken.store(false, Ordering::SeqCst);
    assert_eq!(store.delete(&[id(1, 0), id(1, 1)]), vec![]);
    drop(store);
    let store = open(dir.path());
    let held: Vec<_> = store.list(None, 10, true).iter().map(|held| held.chunk).collect();
    assert_eq!(held, [id(1, 2), id(1, 4)]);
    assert_eq!(store.delete(&held), vec![]);
    assert_eq!((store.usage().used, segments(dir.path()).len()), (0, 0));
}

#[test]
fn concurrent_writers_of_many_sets() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for writer in 0..8u64 {
            let store = &store;
            scope.spawn(move || {
                for seq in 0..25 {
                    let chunk = id(1 + (writer % 2) as u32, writer * 100 + seq);
                    put(store, chunk, &content(30_000, chunk.seq)).unwrap();
                }
            });
        }
    });
    assert!(store.syncs() < 240, "{} syncs for 200 chunks", store.syncs());
    drop(store);
    let store = open(dir.path());
    assert_eq!((store.usage().chunks, store.problem()), (200, None));
    for writer in 0..8u64 {
        assert_eq!(
            get(&store, id(1 + (writer % 2) as u32, writer * 100)),
            content(30_000, writer * 100)
        );
    }
}

// S28
#[test]
fn slots_of_one_page_give_their_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for seq in 0..60 {
        put(&store, id(1, seq), &content(100, seq)).unwrap();
    }
    drop(store);
    let store = open(dir.path());
    let pages = || segments(dir.path())[0].metadata().unwrap().blocks() / 8;
    assert!(pages() >= 61, "one page each: {}", pages());
    let deleted = |seqs: std::ops::Range<u64>, step| {
        let ids: Vec<_> = seqs.step_by(step).map(|seq| id(1, seq)).collect();
        assert_eq!(store.delete(&ids), vec![]);
    };
    // Every other one first: then there are no neighbours.
    deleted(1..59, 2);
    deleted(2..59, 2);
    assert!(
        pages() <= 8,
        "two chunks, the first page and one mark: {}",
        pages()
    );
    drop(store);
    let store = open(dir.path());
    assert_eq!((store.problem(), store.usage().chunks), (None, 2));
    for seq in [0, 59] {
        assert_eq!(get(&store, id(1, seq)), content(100, seq));
    }
    assert_eq!(store.delete(&[id(1, 0), id(1, 59)]), vec![]);
    assert_eq!(segments(dir.path()).len(), 0);
}

// S28
#[test]
fn deleted_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for seq in 0..40 {
        put(&store, id(1, seq), &content(100_000, seq)).unwrap();
    }
    let blocks = || {
        segments(dir.path())
            .iter()
            .map(|path| path.metadata().unwrap().blocks() * 512)
            .sum::<u64>()
    };
    let before = blocks();
    let every_other: Vec<_> = (0..40).step_by(2).map(|seq| id(1, seq)).collect();
    store.delete(&every_other);
    assert!(blocks() < before - 15 * 100_000, "holes are punched");
    let files = segments(dir.path()).len();
    store.delete(&(0..40).map(|seq| id(1, seq)).collect::<Vec<_>>());
    assert!(segments(dir.path()).len() < files, "empty segments are removed");
    assert_eq!(store.usage().used, 0);
    put(&store, id(1, 500), b"again").unwrap();
    drop(store);
    assert_eq!(open(dir.path()).usage().chunks, 1);
}

/// The crash came between the new copy's sync and the old one's mark; then one of them rots.
#[test]
fn two_copies_after_a_crash_leave_one_that_verifies() {
    for rotten in [None, Some(0), Some(1)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        put(&store, id(1, 1), &content(9000, 1)).unwrap();
        let path = segments(dir.path())[0].clone();
        let slot = std::fs::read(&path).unwrap()[FIRST_SLOT as usize..][..slot_len(9000) as usize].to_vec();
        put_as(&store, id(1, 1), &content(9000, 1), true).unwrap();
        // Fills the segment, so that it is sealed and not checked chunk by chunk at opening.
        for seq in 2..14 {
            put(&store, id(1, seq), &content(100_000, seq)).unwrap();
        }
        drop(store);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&slot, FIRST_SLOT).unwrap();
        if let Some(rotten) = rotten {
            flip(&path, FIRST_SLOT + rotten * slot_len(9000) + 5000);
        }
        let store = open(dir.path());
        assert_eq!(store.usage().chunks, 13);
        assert_eq!(store.usage().used, slot_len(9000) + 12 * slot_len(100_000));
        assert_eq!(get(&store, id(1, 1)), content(9000, 1));
    }
}

#[test]
fn a_reserve_is_kept_and_strange_files_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let greedy = Settings {
        reserve: u64::MAX / 2,
        ..SMALL
    };
    let store = SegmentStore::open(dir.path(), greedy).unwrap();
    assert!(matches!(
        put(&store, id(1, 1), b"x"),
        Err(StoreError::Full { .. })
    ));
    assert_eq!(store.usage().free, 0);
    drop(store);
    std::fs::create_dir_all(dir.path().join("000/1")).unwrap();
    std::fs::write(dir.path().join("000/1/notes.txt"), "x").unwrap();
    assert!(open(dir.path()).problem().unwrap().contains("notes.txt"));
}

#[test]
fn unused_tails_of_segments_go_back_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for set in 1..=3 {
        put(&store, id(set, 1), &content(1000, set.into())).unwrap();
    }
    let unfinished = store.begin(id(3, 2), 1000, false).unwrap();
    let sizes = || {
        segments(dir.path())
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum::<u64>()
    };
    assert_eq!(sizes(), 3 << 20);
    store.0.give_back_tails();
    assert!(
        sizes() < (1 << 20) + 20_000,
        "but for the one that is being written"
    );
    drop(unfinished);
    assert!(sizes() < 40_000);
    assert_eq!(store.0.space.counts().ahead, 0);
    put(&store, id(1, 2), &content(1000, 7)).unwrap();
    assert_eq!(
        (get(&store, id(1, 2)), get(&store, id(3, 1))),
        (content(1000, 7), content(1000, 3))
    );
}

#[test]
fn descriptors_are_bounded() {
    let files = super::open_files::OpenFiles::default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    std::fs::write(&path, "x").unwrap();
    for key in 0..2000 {
        files.get(key, &path).unwrap();
        assert!(files.count() <= 512);
    }
}
