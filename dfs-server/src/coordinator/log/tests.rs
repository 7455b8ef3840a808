//! The suite on both logs, and what only files can suffer: torn tails, damage, segments.

use super::segment::{SEGMENT_LEN, Segment};
use super::suite::{self, contents, record};
use super::{FileLog, LogError, MemoryLog, MetadataLog};
use dfs_core::ids::Index;
use dfs_core::record::Record;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[test]
fn the_memory_log_passes_the_suite() {
    suite::run(|| Box::new(MemoryLog::new()));
}

#[test]
fn the_file_log_passes_the_suite() {
    let dirs = tempfile::tempdir().unwrap();
    let mut made = 0;
    suite::run(|| {
        made += 1;
        Box::new(FileLog::open(&dirs.path().join(made.to_string())).unwrap())
    });
}

/// A log of `count` records; the length of its first segment's frames after each.
fn filled(dir: &Path, count: u64) -> Vec<u64> {
    let mut log = FileLog::open(dir).unwrap();
    let mut ends = Vec::new();
    let mut total = 0;
    for index in 1..=count {
        log.append(&[&record(index, 1)]).unwrap();
        let mut bytes = Vec::new();
        record(index, 1).encode(&mut bytes);
        total += bytes.len() as u64;
        ends.push(total);
    }
    ends
}

#[test]
fn a_reopened_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 9);
    let mut log = FileLog::open(dir.path()).unwrap();
    assert_eq!(log.last(), Index(9));
    log.append(&[&record(10, 2)]).unwrap();
    drop(log);
    assert_eq!(contents(&FileLog::open(dir.path()).unwrap(), 1).len(), 10);
}

// S19
#[test]
fn a_tail_torn_at_every_byte_is_cut_at_the_last_whole_record() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path(), 4);
    let path = Segment::path(dir.path(), Index(1));
    let whole = std::fs::read(&path).unwrap();
    for cut in ends[2]..ends[3] {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let mut bytes = whole[..cut as usize].to_vec();
        bytes.resize(ends[3] as usize + 64, 0);
        file.write_all_at(&bytes, 0).unwrap();
        drop(file);
        let mut log = FileLog::open(dir.path()).unwrap();
        let kept = log.last().0;
        // A cut in trailing zero bytes of the frame changes nothing: the record is whole.
        let unchanged = bytes[..ends[3] as usize] == whole[..ends[3] as usize];
        assert_eq!(kept, if unchanged { 4 } else { 3 }, "cut at {cut}");
        if kept == 3 {
            log.append(&[&record(4, 1)]).unwrap();
        }
        assert_eq!(contents(&log, 1).len(), 4);
    }
    // The same with the file itself cut short.
    for cut in ends[2]..ends[3] {
        std::fs::write(&path, &whole[..cut as usize]).unwrap();
        assert_eq!(
            FileLog::open(dir.path()).unwrap().last().0,
            3,
            "file cut at {cut}"
        );
    }
}

// S19
#[test]
fn damage_in_the_middle_stops_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path(), 5);
    let path = Segment::path(dir.path(), Index(1));
    let whole = std::fs::read(&path).unwrap();
    for at in 0..ends[1] {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[whole[at as usize] ^ 0x40], at).unwrap();
        let broken = u64::from(at >= ends[0]);
        match FileLog::open(dir.path()).map(|log| log.last()) {
            Err(LogError::Corrupt {
                file, offset, index, ..
            }) => {
                assert_eq!(file, path);
                assert_eq!(index, broken + 1, "damage at {at}");
                assert_eq!(offset, if broken == 0 { 0 } else { ends[0] });
            }
            other => panic!("damage at {at}: {other:?}"),
        }
        file.write_all_at(&[whole[at as usize]], at).unwrap();
    }
    assert_eq!(FileLog::open(dir.path()).unwrap().last(), Index(5));
}

#[test]
fn segments_follow_one_another_and_a_missing_one_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = FileLog::open(dir.path()).unwrap();
    let large = |index: u64| Record {
        rows: vec![(vec![1], Some(vec![9; 20 << 20]))],
        ..record(index, 1)
    };
    const { assert!(3 * (20 << 20) < SEGMENT_LEN && 4 * (20 << 20) > SEGMENT_LEN) };
    for index in 1..=7 {
        log.append(&[&large(index)]).unwrap();
    }
    drop(log);
    let mut log = FileLog::open(dir.path()).unwrap();
    assert_eq!(
        contents(&log, 3)
            .iter()
            .map(|record| record.index.0)
            .collect::<Vec<_>>(),
        [3, 4, 5, 6, 7]
    );
    log.trim(Index(2)).unwrap();
    assert_eq!(log.first(), Index(1));
    log.trim(Index(3)).unwrap();
    assert_eq!(log.first(), Index(4));
    drop(log);
    std::fs::copy(
        Segment::path(dir.path(), Index(7)),
        Segment::path(dir.path(), Index(10)),
    )
    .unwrap();
    std::fs::remove_file(Segment::path(dir.path(), Index(7))).unwrap();
    assert!(matches!(FileLog::open(dir.path()), Err(LogError::Corrupt { .. })));
}
