//! Tests of the chunk geometry and golden bytes of what is on disk: a format that changes fails here first.

use super::header::{self, Header, Slot, header_len, slot_len};
use super::*;
use crate::ids::{ChunkId, SetId};
use proptest::prelude::*;

const SEGMENT: [u8; 16] = *b"0123456789abcdef";

fn sample(len: u32) -> Header {
    let content: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    Header {
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

#[test]
fn header_has_golden_bytes() {
    let mut header = sample(100_000);
    header.sha256 = [0xab; 32];
    header.crcs = vec![0x1111_1111, 0x2222_2222];
    let bytes = header::encode(&header, &SEGMENT, 8192);
    assert_eq!(bytes.len(), 512);
    let hex: String = bytes[..104].iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = concat!(
        "444653",
        "43484e4b01",
        "0100",
        "0000",
        "00020000",
        "07000000",
        "a0860100",
        "0605040302010000",
        "30313233343536373839616263646566",
        "0020000000000000",
        "abababababababababababababababababababababababababababababababab",
        "02000000",
        "GOLDENCRC",
        "11111111",
        "22222222",
    );
    let crc: String = bytes[92..96].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden.replace("GOLDENCRC", &crc));
    assert_eq!(
        crc32c(&bytes),
        GOLDEN_WHOLE,
        "the header's checksum or padding changed"
    );
    assert_eq!(header::decode(&bytes, &SEGMENT, 8192), Some(Slot::Live(header)));
}

/// CRC-32C of the whole golden header, its own checksum included.
const GOLDEN_WHOLE: u32 = 733_090_328;

#[test]
fn sizes_of_slots() {
    assert_eq!((header_len(1), header_len(CHUNK_MAX)), (512, 1024));
    assert_eq!((slot_len(1), slot_len(3584), slot_len(3585)), (4096, 4096, 8192));
    assert_eq!(slot_len(CHUNK_MAX), u64::from(CHUNK_MAX) + 4096);
}

#[test]
fn a_header_is_valid_at_one_place_only() {
    let bytes = header::encode(&sample(70_000), &SEGMENT, 4096);
    assert!(header::decode(&bytes, &SEGMENT, 4096).is_some());
    assert_eq!(header::decode(&bytes, &SEGMENT, 8192), None);
    assert_eq!(header::decode(&bytes, b"another segment.", 4096), None);
}

#[test]
fn every_flipped_bit_is_seen() {
    let live = header::encode(&sample(70_000), &SEGMENT, 4096);
    let dead = header::encode_dead(12_288, &SEGMENT, 4096);
    let mut identity = segment::encode_identity(SetId(9), &SEGMENT);
    identity.extend(segment::encode_seal(1 << 20, &SEGMENT));
    for bit in 0..live.len() * 8 {
        let flip = |bytes: &[u8]| {
            let mut copy = bytes.to_vec();
            copy[bit / 8] ^= 1 << (bit % 8);
            copy
        };
        assert_eq!(header::decode(&flip(&live), &SEGMENT, 4096), None, "bit {bit}");
        assert_eq!(header::decode(&flip(&dead), &SEGMENT, 4096), None, "bit {bit}");
        assert_eq!(segment::decode(&flip(&identity), &SEGMENT), None, "bit {bit}");
    }
    let page = segment::decode(&identity, &SEGMENT);
    let expected = segment::FirstPage {
        set: SetId(9),
        sealed_at: Some(1 << 20),
    };
    assert_eq!(page, Some(expected));
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
    fn headers_come_back(len in 1u32..=CHUNK_MAX, place in 1u64..1 << 30, seq: u64) {
        let header = Header {
            chunk: ChunkId { set: SetId(3), seq },
            len,
            sha256: [9; 32],
            crcs: (0..block_count(len)).map(|block| block.wrapping_mul(0x9e37_79b9)).collect(),
        };
        let bytes = header::encode(&header, &SEGMENT, place);
        prop_assert_eq!(header::decode(&bytes, &SEGMENT, place), Some(Slot::Live(header)));
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
        prop_assert_eq!(assembly.finish(&name), Ok(Ended { crcs, named_by_table: true }));
    }
}
