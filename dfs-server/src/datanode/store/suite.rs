//! What every chunk store must do, run on each of them, with and without the fault layer around it.

use super::faulty::Faulty;
use super::memory::MemoryStore;
use super::segment::{SegmentStore, Settings};
use super::*;
use dfs_core::chunk::header::{Layout, slot_len};
use dfs_core::chunk::pages::{PAGE_SIZE, page_count};
use dfs_core::chunk::{BLOCK_SIZE, CHUNK_MAX, block_crcs, crc32c, sha256, table_sha256};
use dfs_core::ids::SetId;
use std::sync::Arc;

pub const CAPACITY: u64 = 64 * 1024 * 1024;

pub fn id(set: u32, seq: u64) -> ChunkId {
    ChunkId { set: SetId(set), seq }
}

/// Content that differs between seeds.
pub fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Writes a chunk in groups of two blocks.
pub fn put(store: &dyn ChunkStore, chunk: ChunkId, content: &[u8]) -> Result<(), StoreError> {
    put_as(store, chunk, content, false)
}

pub fn put_as(
    store: &dyn ChunkStore,
    chunk: ChunkId,
    content: &[u8],
    replace: bool,
) -> Result<(), StoreError> {
    let mut writer = store.begin(chunk, content.len() as u32, replace)?;
    for (at, group) in content.chunks(2 * BLOCK_SIZE as usize).enumerate() {
        writer.write(2 * at as u32, group, &block_crcs(group))?;
    }
    writer.finish(&sha256(content))
}

/// The whole content, checked.
pub fn get(store: &dyn ChunkStore, chunk: ChunkId) -> Vec<u8> {
    let blocks = store.read(chunk, 0, u32::MAX).unwrap();
    assert_eq!(block_crcs(&blocks.payload), blocks.crcs);
    blocks.payload.to_vec()
}

/// Writes a chunk under the name that today's writers give it.
pub fn put_named_by_table(store: &dyn ChunkStore, chunk: ChunkId, content: &[u8]) -> Result<(), StoreError> {
    let mut writer = store.begin(chunk, content.len() as u32, false)?;
    writer.write(0, content, &block_crcs(content))?;
    writer.finish(&named_by_table(content))
}

fn named_by_table(content: &[u8]) -> [u8; 32] {
    table_sha256(content.len() as u32, &block_crcs(content))
}

fn on_all(test: impl Fn(&dyn ChunkStore)) {
    test(&MemoryStore::new(CAPACITY));
    let settings = Settings {
        capacity: Some(CAPACITY),
        ..Settings::default()
    };
    let dir = tempfile::tempdir().unwrap();
    test(&SegmentStore::open(dir.path(), settings).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let inner = Arc::new(SegmentStore::open(dir.path(), settings).unwrap());
    test(&Faulty {
        inner,
        faults: Arc::default(),
    });
}

#[test]
fn what_is_put_is_read() {
    on_all(|store| {
        let sizes = [
            1,
            511,
            4096,
            BLOCK_SIZE as usize,
            3 * BLOCK_SIZE as usize + 7,
            CHUNK_MAX as usize,
        ];
        for (seq, len) in sizes.into_iter().enumerate() {
            let bytes = content(len, seq as u64);
            put(store, id(1, seq as u64), &bytes).unwrap();
            assert_eq!(get(store, id(1, seq as u64)), bytes);
            assert_eq!(store.len(id(1, seq as u64)), Ok(len as u32));
        }
        assert_eq!(store.len(id(1, 99)), Err(StoreError::NotFound(id(1, 99))));
        assert_eq!(store.usage().chunks, 6);
    });
}

#[test]
fn ranges_of_blocks() {
    on_all(|store| {
        let bytes = content(5 * BLOCK_SIZE as usize + 100, 4);
        put(store, id(2, 1), &bytes).unwrap();
        let middle = store.read(id(2, 1), 1, 2).unwrap();
        assert_eq!(
            middle.payload,
            bytes[BLOCK_SIZE as usize..3 * BLOCK_SIZE as usize]
        );
        assert_eq!((middle.first, middle.crcs.len()), (1, 2));
        let tail = store.read(id(2, 1), 5, 10).unwrap();
        assert_eq!((tail.payload.len(), tail.crcs.len()), (100, 1));
        assert!(store.read(id(2, 1), 6, 1).unwrap().payload.is_empty());
    });
}

#[test]
fn ranges_of_pages() {
    on_all(|store| {
        for len in [1, 4096, 100_000, 200_000, 5 * BLOCK_SIZE as usize + 4097] {
            let (chunk, bytes) = (id(3, len as u64), content(len, 4));
            put(store, chunk, &bytes).unwrap();
            let count = page_count(len as u32);
            let ranges = [
                (0, 1),
                (0, 1000),
                (15, 2),
                (16, 1),
                (3, 30),
                (count - 1, 5),
                (count, 1),
            ];
            for (first, wanted) in ranges {
                let pages = store.read_pages(chunk, first, wanted).unwrap();
                let end = (first + wanted).min(count);
                let at = |page: u32| bytes.len().min((page * PAGE_SIZE) as usize);
                let expected = &bytes[at(first)..at(end).max(at(first))];
                assert_eq!(
                    pages.payload, expected,
                    "{wanted} pages of {len} bytes from {first}"
                );
                assert_eq!(pages.first, first.min(count));
                let crcs: Vec<u32> = expected.chunks(PAGE_SIZE as usize).map(crc32c).collect();
                assert_eq!(pages.crcs, crcs);
            }
        }
        assert_eq!(
            store.read_pages(id(3, 2), 0, 1),
            Err(StoreError::NotFound(id(3, 2)))
        );
    });
}

#[test]
fn a_chunk_id_means_one_content() {
    on_all(|store| {
        let bytes = content(100_000, 1);
        put(store, id(1, 1), &bytes).unwrap();
        let used = store.usage();
        put(store, id(1, 1), &bytes).unwrap();
        assert_eq!(store.usage(), used, "the same again takes no space");
        assert_eq!(
            put(store, id(1, 1), &content(100_000, 2)),
            Err(StoreError::Exists(id(1, 1)))
        );
        assert_eq!(
            put(store, id(1, 1), &content(5, 2)),
            Err(StoreError::Exists(id(1, 1)))
        );
        assert_eq!(get(store, id(1, 1)), bytes);
    });
}

#[test]
fn nothing_remains_of_an_unfinished_chunk() {
    on_all(|store| {
        let before = store.usage();
        let bytes = content(CHUNK_MAX as usize, 1);
        let mut writer = store.begin(id(1, 1), CHUNK_MAX, false).unwrap();
        let blocks = &bytes[..BLOCK_SIZE as usize];
        writer.write(0, blocks, &block_crcs(blocks)).unwrap();
        assert!(
            store.usage().free < before.free,
            "space is reserved from the beginning"
        );
        drop(writer);
        let after = store.usage();
        assert_eq!((after.used, after.chunks), (0, 0));
        assert!(before.free - after.free < 1 << 20);
        assert_eq!(store.read(id(1, 1), 0, 1), Err(StoreError::NotFound(id(1, 1))));
        put(store, id(1, 1), &bytes).unwrap();
    });
}

#[test]
fn wrong_checksums_are_refused() {
    on_all(|store| {
        let bytes = content(BLOCK_SIZE as usize, 1);
        let mut writer = store.begin(id(1, 1), BLOCK_SIZE, false).unwrap();
        assert_eq!(
            writer.write(0, &bytes, &[7]),
            Err(StoreError::Refused(Refusal::BadBlock(0)))
        );
        let mut writer = store.begin(id(1, 1), BLOCK_SIZE, false).unwrap();
        writer.write(0, &bytes, &block_crcs(&bytes)).unwrap();
        assert_eq!(
            writer.finish(&[0; 32]),
            Err(StoreError::Refused(Refusal::BadDigest))
        );
        assert!(store.begin(id(1, 1), CHUNK_MAX + 1, false).is_err());
        assert_eq!(store.usage().chunks, 0);
    });
}

/// A chunk is named by its table of CRCs, or, by programs of before, by its content; each name is checked.
#[test]
fn both_kinds_of_names_are_taken_and_verified() {
    on_all(|store| {
        let bytes = content(200_000, 3);
        put_named_by_table(store, id(1, 1), &bytes).unwrap();
        put(store, id(1, 2), &bytes).unwrap();
        let good = |sha256| Verdict::Good { len: 200_000, sha256 };
        assert_eq!(store.verify(id(1, 1)), good(named_by_table(&bytes)));
        assert_eq!(store.verify(id(1, 2)), good(sha256(&bytes)));
        // The same once more is a success, under the same name only.
        put_named_by_table(store, id(1, 1), &bytes).unwrap();
        put(store, id(1, 2), &bytes).unwrap();
        let other = content(200_000, 4);
        assert_eq!(
            put_named_by_table(store, id(1, 1), &other),
            Err(StoreError::Exists(id(1, 1)))
        );
        let mut writer = store.begin(id(1, 3), 200_000, false).unwrap();
        writer.write(0, &bytes, &block_crcs(&bytes)).unwrap();
        let wrong = writer.finish(&named_by_table(&other));
        assert_eq!(wrong, Err(StoreError::Refused(Refusal::BadDigest)));
    });
}

#[test]
fn deletes_of_many() {
    on_all(|store| {
        for seq in 0..40 {
            put(store, id(1 + (seq % 3) as u32, seq), &content(10_000, seq)).unwrap();
        }
        let mut gone: Vec<ChunkId> = (0..30).map(|seq| id(1 + (seq % 3) as u32, seq)).collect();
        gone.push(id(9, 9));
        let before = store.syncs();
        assert_eq!(store.delete(&gone), vec![]);
        assert!(store.syncs() - before <= 3, "one sync for each segment");
        assert_eq!(store.usage().chunks, 10);
        assert_eq!(store.delete(&gone), vec![]);
        assert!(
            gone.iter()
                .all(|chunk| store.len(*chunk) == Err(StoreError::NotFound(*chunk)))
        );
        assert_eq!(get(store, id(1, 30)), content(10_000, 30));
    });
}

#[test]
fn lists_in_order_page_by_page() {
    on_all(|store| {
        for seq in [5, 1, 9, 3] {
            put(store, id(2, seq), &content(10, seq)).unwrap();
            put(store, id(1, seq), &content(10, seq)).unwrap();
        }
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let page = store.list(after, 3, false);
            let Some(last) = page.last() else { break };
            after = Some(last.chunk);
            all.extend(page);
        }
        let ids: Vec<_> = all
            .iter()
            .map(|held| (held.chunk.set.0, held.chunk.seq))
            .collect();
        assert_eq!(
            ids,
            [(1, 1), (1, 3), (1, 5), (1, 9), (2, 1), (2, 3), (2, 5), (2, 9)]
        );
        assert_eq!(all[0].sha256, Some(sha256(&content(10, 1))));
    });
}

#[test]
fn a_full_store_says_so_and_recovers() {
    on_all(|store| {
        let bytes = content(CHUNK_MAX as usize, 1);
        let stored = (0..).take_while(|seq| match put(store, id(1, *seq), &bytes) {
            Ok(()) => true,
            Err(StoreError::Full { .. }) => false,
            Err(e) => panic!("{e}"),
        });
        let stored = stored.count() as u64;
        assert!((6..=8).contains(&stored), "{stored} of 8 MiB in 64 MiB");
        assert_eq!(get(store, id(1, 0)), bytes);
        assert_eq!(store.delete(&[id(1, 0), id(1, 1)]), vec![]);
        put(store, id(1, 100), &bytes).unwrap();
        assert_eq!(get(store, id(1, 100)), bytes);
    });
}

#[test]
fn verify_and_replace() {
    on_all(|store| {
        let bytes = content(200_000, 3);
        put(store, id(1, 1), &bytes).unwrap();
        let good = Verdict::Good {
            len: 200_000,
            sha256: sha256(&bytes),
        };
        assert_eq!(store.verify(id(1, 1)), good);
        assert_eq!(store.verify(id(1, 2)), Verdict::Missing);
        put_as(store, id(1, 1), &bytes, true).unwrap();
        assert_eq!(store.verify(id(1, 1)), good);
        assert_eq!(store.usage().chunks, 1);
        assert_eq!(store.usage().used, slot_len(Layout::NEW, 200_000));
    });
}

#[test]
fn a_flipped_bit_in_memory_is_found_and_replaced() {
    let store = MemoryStore::new(CAPACITY);
    let bytes = content(200_000, 3);
    put(&store, id(1, 1), &bytes).unwrap();
    store.flip(id(1, 1), 150_000);
    assert!(matches!(store.verify(id(1, 1)), Verdict::Corrupt(_)));
    assert!(matches!(
        store.read(id(1, 1), 0, 1),
        Err(StoreError::Corrupt { .. })
    ));
    put(&store, id(1, 1), &bytes).unwrap();
    assert_eq!(get(&store, id(1, 1)), bytes);
}

#[test]
fn the_fault_layer_fails_as_told() {
    let faults = Arc::<super::faulty::Faults>::default();
    let store = Faulty {
        inner: Arc::new(MemoryStore::new(CAPACITY)),
        faults: faults.clone(),
    };
    let on = |switch: &std::sync::atomic::AtomicBool| switch.store(true, std::sync::atomic::Ordering::SeqCst);
    put(&store, id(1, 1), b"x").unwrap();
    on(&faults.reads);
    assert!(matches!(store.read(id(1, 1), 0, 1), Err(StoreError::Io(_))));
    assert!(matches!(store.read_pages(id(1, 1), 0, 1), Err(StoreError::Io(_))));
    on(&faults.deletes);
    assert_eq!(store.delete(&[id(1, 1)]).len(), 1);
    on(&faults.finishes);
    assert!(matches!(put(&store, id(1, 2), b"x"), Err(StoreError::Io(_))));
    on(&faults.full);
    assert!(matches!(
        put(&store, id(1, 3), b"x"),
        Err(StoreError::Full { .. })
    ));
}
