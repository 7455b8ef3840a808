//! Slots of both layouts: what programs before the page table left is served beside what is written now, and a page
//! table that does not match is never believed.

use super::super::super::suite::{content, get, id, put};
use super::super::super::{ChunkStore, StoreError, Verdict};
use super::{flip, open, segments};
use dfs_core::chunk::header::{Header, Layout, SLOT_ALIGN, encode, header_len, slot_len, table_at};
use dfs_core::chunk::pages::{PAGE_SIZE, PAGES_OF_BLOCK};
use dfs_core::chunk::segment::{FIRST_SLOT, SEAL_AT, decode, encode_identity, encode_seal};
use dfs_core::chunk::{BLOCK_SIZE, block_crcs, crc32c, sha256};
use dfs_core::ids::SetId;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SIZES: [usize; 4] = [3000, 300_000, 100_000, 70_000];

/// A segment as programs before the page table wrote it, of set 1, with a chunk for each of `SIZES`.
fn old_segment(dir: &Path, sealed: bool) {
    let uuid = uuid::Uuid::new_v4();
    let path = dir.join(format!("000/1/00000000-{uuid}.seg"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create_new(&path).unwrap();
    file.write_all_at(&encode_identity(Layout::Blocks, SetId(1), uuid.as_bytes()), 0)
        .unwrap();
    let mut at = FIRST_SLOT;
    for (seq, len) in SIZES.into_iter().enumerate() {
        let bytes = content(len, seq as u64);
        let header = Header {
            layout: Layout::Blocks,
            chunk: id(1, seq as u64),
            len: len as u32,
            sha256: sha256(&bytes),
            crcs: block_crcs(&bytes),
        };
        let mut slot = encode(&header, &[], uuid.as_bytes(), at);
        slot.extend_from_slice(&bytes);
        file.write_all_at(&slot, at).unwrap();
        at += slot_len(Layout::Blocks, len as u32);
    }
    file.set_len(at).unwrap();
    if sealed {
        file.write_all_at(&encode_seal(at, uuid.as_bytes()), SEAL_AT)
            .unwrap();
    }
}

fn layout_of(path: &Path) -> Layout {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let uuid = uuid::Uuid::parse_str(&name[9..]).unwrap();
    decode(&std::fs::read(path).unwrap(), uuid.as_bytes())
        .unwrap()
        .layout
}

fn check_all(store: &dyn ChunkStore, seqs: &[u64]) {
    for &seq in seqs {
        let bytes = content(SIZES[seq as usize % 10], seq);
        assert_eq!(get(store, id(1, seq)), bytes);
        let last = (bytes.len() as u32 - 1) / PAGE_SIZE;
        for first in [0, last / 2, last] {
            let pages = store.read_pages(id(1, seq), first, 3).unwrap();
            let from = (first * PAGE_SIZE) as usize;
            let to = bytes.len().min(from + 3 * PAGE_SIZE as usize);
            assert_eq!(pages.payload, bytes[from..to], "chunk {seq}");
            let crcs: Vec<u32> = bytes[from..to].chunks(PAGE_SIZE as usize).map(crc32c).collect();
            assert_eq!(pages.crcs, crcs);
        }
        assert!(
            matches!(store.verify(id(1, seq)), Verdict::Good { .. }),
            "chunk {seq}"
        );
    }
}

#[test]
fn a_store_of_the_first_layout_is_served_and_added_to() {
    for sealed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        old_segment(dir.path(), sealed);
        let store = open(dir.path());
        assert_eq!(
            store.usage().used,
            SIZES
                .iter()
                .map(|len| slot_len(Layout::Blocks, *len as u32))
                .sum::<u64>()
        );
        check_all(&store, &[0, 1, 2, 3]);
        for seq in 10..14 {
            put(&store, id(1, seq), &content(SIZES[seq as usize % 10], seq)).unwrap();
        }
        assert_eq!(store.delete(&[id(1, 2), id(1, 12)]), vec![]);
        let left = [0, 1, 3, 10, 11, 13];
        check_all(&store, &left);
        let usage = store.usage();
        drop(store);
        let layouts: Vec<Layout> = segments(dir.path()).iter().map(|path| layout_of(path)).collect();
        assert_eq!(layouts[0], Layout::Blocks);
        assert!(layouts[1..].iter().all(|layout| *layout == Layout::Pages) && layouts.len() > 1);
        for _ in 0..2 {
            let store = open(dir.path());
            assert_eq!((store.usage().used, store.problem()), (usage.used, None));
            check_all(&store, &left);
            assert_eq!(store.len(id(1, 2)), Err(StoreError::NotFound(id(1, 2))));
        }
    }
}

#[test]
fn a_damaged_block_of_the_first_layout_gives_no_pages() {
    let dir = tempfile::tempdir().unwrap();
    old_segment(dir.path(), true);
    let long = FIRST_SLOT + slot_len(Layout::Blocks, 3000);
    let header = u64::from(header_len(Layout::Blocks, 300_000));
    flip(&segments(dir.path())[0], long + header + 70_000);
    let store = open(dir.path());
    let touched = store.read_pages(id(1, 1), PAGES_OF_BLOCK, 1);
    assert!(matches!(touched, Err(StoreError::Corrupt { .. })));
    assert!(store.read_pages(id(1, 1), 2 * PAGES_OF_BLOCK, 1).is_ok());
}

// S26
#[test]
fn a_damaged_page_table_is_found_and_replaced() {
    for len in [100_000, 300_000] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let bytes = content(len, 1);
        put(&store, id(1, 1), &bytes).unwrap();
        // The fourth page of the second block.
        let entry = 4 * u64::from(PAGES_OF_BLOCK + 3);
        flip(
            &segments(dir.path())[0],
            FIRST_SLOT + u64::from(table_at(len as u32)) + entry,
        );
        assert!(store.read_pages(id(1, 1), 0, PAGES_OF_BLOCK).is_ok());
        for (first, count) in [
            (PAGES_OF_BLOCK + 3, 1),
            (PAGES_OF_BLOCK, 1),
            (PAGES_OF_BLOCK - 1, 2),
        ] {
            let touched = store.read_pages(id(1, 1), first, count);
            assert!(matches!(touched, Err(StoreError::Corrupt { .. })), "{touched:?}");
        }
        // The blocks are what they were.
        assert_eq!(get(&store, id(1, 1)), bytes);
        assert!(matches!(store.verify(id(1, 1)), Verdict::Corrupt(_)));
        let refused = store.read_pages(id(1, 1), 0, 1);
        assert!(
            matches!(refused, Err(StoreError::Corrupt { .. })),
            "out of service"
        );
        put(&store, id(1, 1), &bytes).unwrap();
        assert!(matches!(store.verify(id(1, 1)), Verdict::Good { .. }));
        assert!(store.read_pages(id(1, 1), PAGES_OF_BLOCK + 3, 1).is_ok());
    }
}

#[test]
fn a_header_damaged_while_open_gives_no_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, id(1, 1), &content(1000, 1)).unwrap();
    flip(&segments(dir.path())[0], FIRST_SLOT + 60);
    let read = store.read_pages(id(1, 1), 0, 1);
    assert!(matches!(read, Err(StoreError::Corrupt { .. })));
}

// S13
/// The header's own page reached the disk before a crash, and other pages of the table did not.
#[test]
fn a_torn_page_table_drops_the_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let len = 5 << 20;
    for seq in 0..2 {
        put(&store, id(1, seq), &content(len, seq)).unwrap();
    }
    let all = segments(dir.path());
    drop(store);
    let table_end = u64::from(table_at(len as u32)) + len as u64 / 1024;
    assert!(table_end > SLOT_ALIGN, "the table goes beyond the first page");
    let second = all.last().unwrap();
    let file = File::options().write(true).open(second).unwrap();
    let zeros = vec![0; (table_end - SLOT_ALIGN) as usize];
    file.write_all_at(&zeros, FIRST_SLOT + SLOT_ALIGN).unwrap();
    let store = open(dir.path());
    assert_eq!((store.usage().chunks, store.problem()), (1, None));
    assert_eq!(get(&store, id(1, 0)), content(len, 0));
    assert_eq!(
        store.read_pages(id(1, 1), 0, 1),
        Err(StoreError::NotFound(id(1, 1)))
    );
}

#[test]
fn content_of_long_slots_is_aligned_on_the_disk() {
    for len in [1000, 130_560, 130_561, 200_000, 3 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let bytes = content(len, 1);
        put(&store, id(1, 1), &bytes).unwrap();
        let image = std::fs::read(&segments(dir.path())[0]).unwrap();
        let at = (FIRST_SLOT + u64::from(header_len(Layout::NEW, len as u32))) as usize;
        assert!(image[at..at + len] == bytes, "{len} bytes");
        let aligned = at.is_multiple_of(SLOT_ALIGN as usize);
        assert_eq!(aligned, len + 512 > 2 * BLOCK_SIZE as usize, "{len} bytes");
    }
}
