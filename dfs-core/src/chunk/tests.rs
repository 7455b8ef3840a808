//! Tests of the chunk geometry and golden bytes of what is on disk: a format that changes fails here first.

use super::header::{self, Header, Layout, SLOT_ALIGN, SMALL_SLOT, Slot, header_len, slot_len};
use super::pages::{PAGE_SIZE, page_count, page_crcs};
use super::*;
use crate::ids::{ChunkId, SetId};
use proptest::prelude::*;

const SEGMENT: [u8; 16] = *b"0123456789abcdef";

const LAYOUTS: [Layout; 2] = [Layout::Blocks, Layout::Pages];

fn sample_content(len: u32) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn sample(layout: Layout, len: u32) -> Header {
    let content = sample_content(len);
    Header {
        layout,
        chunk: ChunkId {
            set: SetId(7),
            seq: 0x0102_0304_0506,
        },
        len,
        sha256: sha256(&content),
        crcs: block_crcs(&content),
    }
}

#[test]
fn blocks_cover_the_content() {
    for len in [
        1,
        BLOCK_SIZE - 1,
        BLOCK_SIZE,
        BLOCK_SIZE + 1,
        3 * BLOCK_SIZE,
        CHUNK_MAX,
    ] {
        let total: u64 = (0..block_count(len))
            .map(|block| u64::from(block_len(len, block)))
            .sum();
        assert_eq!(total, u64::from(len));
        assert_eq!(block_len(len, block_count(len)), 0);
    }
    assert_eq!(BLOCKS_MAX, 128);
}

#[test]
fn known_checksums() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let mut digest = Digest::default();
    digest.update(b"a");
    digest.update(b"bc");
    let hex: String = digest.finish().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

/// The fixed part of a header, but for its version and length, and the block CRCs.
fn golden(version: &str, len: &str, crc: &[u8]) -> String {
    let parts = [
        "444653",
        "43484e4b01",
        version,
        "0000",
        len,
        "07000000",
        "a0860100",
        "0605040302010000",
        "30313233343536373839616263646566",
        "0020000000000000",
        "abababababababababababababababababababababababababababababababab",
        "02000000",
        &hex(crc),
        "11111111",
        "22222222",
    ];
    parts.concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn headers_have_golden_bytes() {
    for (layout, version, whole) in [
        (Layout::Blocks, "0100", GOLDEN_BLOCKS),
        (Layout::Pages, "0200", GOLDEN_PAGES),
    ] {
        let header = Header {
            sha256: [0xab; 32],
            crcs: vec![0x1111_1111, 0x2222_2222],
            ..sample(layout, 100_000)
        };
        let pages: Vec<u32> = (0..25).map(|page| 0x3333_3300 + page).collect();
        let bytes = header::encode(&header, &pages, &SEGMENT, 8192);
        assert_eq!(bytes.len(), 512);
        assert_eq!(hex(&bytes[..104]), golden(version, "00020000", &bytes[92..96]));
        assert_eq!(crc32c(&bytes), whole, "the header's checksum or padding changed");
        let table = &bytes[header::table_at(100_000) as usize..][..100];
        match layout {
            Layout::Blocks => assert_eq!(table, [0; 100]),
            Layout::Pages => {
                assert_eq!(hex(&table[..8]), "0033333301333333");
                assert_eq!(header::decode_table(table), pages);
            }
        }
        assert_eq!(header::decode(&bytes, &SEGMENT, 8192), Some(Slot::Live(header)));
    }
}

/// CRC-32C of the whole golden headers, their own checksums included.
const GOLDEN_BLOCKS: u32 = 733_090_328;
const GOLDEN_PAGES: u32 = 1_522_200_143;

#[test]
fn first_pages_have_golden_bytes() {
    for (layout, version, whole) in [
        (Layout::Blocks, "01000000", GOLDEN_IDENTITY_BLOCKS),
        (Layout::Pages, "02000000", GOLDEN_IDENTITY_PAGES),
    ] {
        let mut page = segment::encode_identity(layout, SetId(9), &SEGMENT);
        let head = ["4446535345474d01", version, "00000000", "0900000000000000"];
        assert_eq!(hex(&page[..40]), head.concat() + &hex(&SEGMENT));
        assert_eq!(crc32c(&page), whole);
        page.extend(segment::encode_seal(1 << 20, &SEGMENT));
        let head = ["4446535345414c01", "01000000", "00000000", "0000100000000000"];
        assert_eq!(hex(&page[512..552]), head.concat() + &hex(&SEGMENT));
        let expected = segment::FirstPage {
            set: SetId(9),
            layout,
            sealed_at: Some(1 << 20),
        };
        assert_eq!(segment::decode(&page, &SEGMENT), Some(expected));
    }
}

const GOLDEN_IDENTITY_BLOCKS: u32 = 3_028_119_087;
const GOLDEN_IDENTITY_PAGES: u32 = 3_916_718_307;

#[test]
fn sizes_of_slots() {
    let old = Layout::Blocks;
    assert_eq!((header_len(old, 1), header_len(old, CHUNK_MAX)), (512, 1024));
    assert_eq!(slot_len(old, CHUNK_MAX), u64::from(CHUNK_MAX) + 4096);
    for layout in LAYOUTS {
        let pages = [1, 3584, 3585].map(|len| slot_len(layout, len) / SLOT_ALIGN);
        assert_eq!(pages, [1, 1, 2]);
    }
    let new = Layout::Pages;
    assert_eq!((header_len(new, 1), header_len(new, CHUNK_MAX)), (512, 12_288));
    assert_eq!(slot_len(new, CHUNK_MAX), u64::from(CHUNK_MAX) + 12_288);
}

#[test]
fn content_of_long_slots_begins_at_a_page_of_the_disk() {
    let edge = SMALL_SLOT as u32 - 512;
    assert_eq!(header_len(Layout::Pages, edge), 512);
    assert_eq!(header_len(Layout::Pages, edge + 1), 4096);
    let near = edge - 2 * PAGE_SIZE..edge + 2 * PAGE_SIZE;
    let all = (1..=CHUNK_MAX).step_by(509).chain(near).chain([CHUNK_MAX]);
    for len in all {
        let (header, slot) = (header_len(Layout::Pages, len), slot_len(Layout::Pages, len));
        let table_end = header::table_at(len) + 4 * page_count(len);
        assert!(table_end <= header && header + len <= slot as u32, "{len} bytes");
        let long = slot > SMALL_SLOT;
        assert_eq!(u64::from(header) % SLOT_ALIGN == 0, long, "{len} bytes");
        assert!(long || header == 512, "one sector is written whole: {len} bytes");
    }
}

/// A program that knows one layout only must not take the other for its own.
#[test]
fn a_header_of_another_layout_has_another_length_or_checksum() {
    for (from, version) in [(Layout::Blocks, 2), (Layout::Pages, 1), (Layout::Pages, 3)] {
        let mut bytes = header::encode(&sample(from, 70_000), &[7; 18], &SEGMENT, 4096);
        bytes[8] = version;
        assert_eq!(header::decode(&bytes, &SEGMENT, 4096), None);
    }
}

#[test]
fn a_header_is_valid_at_one_place_only() {
    let bytes = header::encode(&sample(Layout::Blocks, 70_000), &[], &SEGMENT, 4096);
    assert!(header::decode(&bytes, &SEGMENT, 4096).is_some());
    assert_eq!(header::decode(&bytes, &SEGMENT, 8192), None);
    assert_eq!(header::decode(&bytes, b"another segment.", 4096), None);
}

#[test]
fn every_flipped_bit_is_seen() {
    let live = header::encode(&sample(Layout::Blocks, 70_000), &[], &SEGMENT, 4096);
    let dead = header::encode_dead(12_288, &SEGMENT, 4096);
    let mut identity = segment::encode_identity(Layout::Blocks, SetId(9), &SEGMENT);
    identity.extend(segment::encode_seal(1 << 20, &SEGMENT));
    for bit in 0..live.len() * 8 {
        assert_eq!(
            header::decode(&flipped(&live, bit), &SEGMENT, 4096),
            None,
            "bit {bit}"
        );
        assert_eq!(
            header::decode(&flipped(&dead, bit), &SEGMENT, 4096),
            None,
            "bit {bit}"
        );
        assert_eq!(
            segment::decode(&flipped(&identity, bit), &SEGMENT),
            None,
            "bit {bit}"
        );
    }
    identity[600] ^= 1;
    assert_eq!(
        segment::decode(&identity, &SEGMENT).and_then(|page| page.sealed_at),
        None
    );
    assert_eq!(
        header::decode(&dead, &SEGMENT, 4096),
        Some(Slot::Dead { len: 12_288 })
    );
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    copy[bit / 8] ^= 1 << (bit % 8);
    copy
}

/// In the second layout the header's checksum ends where the page table begins, and the block CRCs go on from there.
#[test]
fn every_flipped_bit_of_a_header_and_its_page_table_is_seen() {
    let len = 200_000;
    let header = sample(Layout::Pages, len);
    let mut pages = Vec::new();
    page_crcs(&sample_content(len), &mut pages);
    let bytes = header::encode(&header, &pages, &SEGMENT, 4096);
    let (table, end) = (
        header::table_at(len) as usize,
        header::table_at(len) as usize + 4 * pages.len(),
    );
    for bit in 0..end * 8 {
        let damaged = flipped(&bytes, bit);
        let decoded = header::decode(&damaged, &SEGMENT, 4096);
        if bit < table * 8 {
            assert_eq!(decoded, None, "bit {bit}");
            continue;
        }
        assert_eq!(decoded, Some(Slot::Live(header.clone())), "bit {bit}");
        let said = header::decode_table(&damaged[table..end]);
        let blocks: Vec<u32> = pages::combine_blocks(&said, len as usize).collect();
        let bad = blocks
            .iter()
            .zip(&header.crcs)
            .position(|(is, should)| is != should);
        assert_eq!(bad, Some((bit / 8 - table) / 64), "bit {bit}");
    }
    assert!(bytes[end..].iter().all(|byte| *byte == 0));
}

#[test]
fn assembly_refuses_what_is_wrong() {
    let content = vec![5u8; BLOCK_SIZE as usize + 10];
    let crcs = block_crcs(&content);
    let begin = || Assembly::begin(content.len() as u32).unwrap();
    assert!(matches!(Assembly::begin(0), Err(Refusal::Length(0))));
    assert!(matches!(Assembly::begin(CHUNK_MAX + 1), Err(Refusal::Length(_))));
    assert_eq!(
        begin().accept(1, &content, &crcs),
        Err(Refusal::Order { expected: 0, got: 1 })
    );
    assert!(matches!(
        begin().accept(0, &content[..100], &crcs),
        Err(Refusal::Shape { .. })
    ));
    assert!(matches!(begin().accept(0, &[], &[]), Err(Refusal::Shape { .. })));
    assert!(matches!(
        begin().accept(0, &content, &crcs[..1]),
        Err(Refusal::Checksums { .. })
    ));
    assert_eq!(
        begin().accept(0, &content, &[crcs[0], crcs[1] ^ 1]),
        Err(Refusal::BadBlock(1))
    );
    let mut again = begin();
    assert!(again.accept(0, &content, &[crcs[0], crcs[1] ^ 1]).is_err());
    again.accept(0, &content, &crcs).unwrap();
    let ended = again.finish(&[0; 32]).unwrap();
    assert_eq!(ended.pages.len(), 17, "pages of what was refused are not kept");
    let mut half = begin();
    half.accept(0, &content[..BLOCK_SIZE as usize], &crcs[..1])
        .unwrap();
    assert!(matches!(
        half.finish(&table_sha256(content.len() as u32, &crcs)),
        Err(Refusal::Short { .. })
    ));
    let mut whole = begin();
    whole.accept(0, &content, &crcs).unwrap();
    assert!(!whole.finish(&[0; 32]).unwrap().named_by_table);
}

#[test]
fn a_chunk_s_name_has_golden_bytes() {
    let hex: String = table_sha256(100_000, &[0x1111_1111, 0x2222_2222])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hex,
        "c4b0316ed490df7defc5477c0e95f16e6b166730992b11701abae8d92b3c019c"
    );
    assert_ne!(table_sha256(1, &[7]), table_sha256(2, &[7]));
}

proptest! {
    #[test]
    fn headers_come_back(len in 1u32..=CHUNK_MAX, place in 1u64..1 << 30, seq: u64, new: bool) {
        let layout = if new { Layout::Pages } else { Layout::Blocks };
        let header = Header {
            layout,
            chunk: ChunkId { set: SetId(3), seq },
            len,
            sha256: [9; 32],
            crcs: (0..block_count(len)).map(|block| block.wrapping_mul(0x9e37_79b9)).collect(),
        };
        let pages: Vec<u32> = (0..page_count(len)).collect();
        let bytes = header::encode(&header, &pages, &SEGMENT, place);
        prop_assert_eq!(bytes.len(), header_len(layout, len) as usize);
        let bytes = &bytes[..bytes.len().min(header::HEADER_MAX)];
        prop_assert_eq!(header::decode(bytes, &SEGMENT, place), Some(Slot::Live(header)));
    }

    #[test]
    fn any_grouping_assembles(len in 1u32..300_000, step in 1usize..4) {
        let content: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
        let crcs = block_crcs(&content);
        let mut assembly = Assembly::begin(len).unwrap();
        let mut block = 0;
        for group in content.chunks(step * BLOCK_SIZE as usize) {
            let blocks = block_count(group.len() as u32) as usize;
            assembly.accept(block as u32, group, &crcs[block..block + blocks]).unwrap();
            block += blocks;
        }
        let name = table_sha256(len, &crcs);
        let mut pages = Vec::new();
        page_crcs(&content, &mut pages);
        prop_assert_eq!(assembly.finish(&name), Ok(Ended { crcs, pages, named_by_table: true }));
    }
}
