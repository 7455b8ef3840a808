//! A directory of a million entries: making, listing in pages while others come and go, removing.

use crate::world::{ROOT, World};
use dfs_core::op::{Op, PAGE_ENTRIES_MAX, Reply};
use dfs_core::types::FileKind;

const ENTRIES: u32 = 1_000_000;
/// Every so many names, one that a listing meanwhile removes.
const REMOVED_EVERY: u32 = 1000;

// S4
#[test]
fn a_million_entries_are_listed_in_bounded_pages_while_others_come_and_go() {
    let mut w = World::new();
    let dir = w.dir(ROOT, "d");
    for number in 0..ENTRIES {
        w.make(dir, &number.to_string(), FileKind::Fifo);
    }
    let mut seen = vec![0u8; ENTRIES as usize];
    let (mut after, mut pages) = (0, 0u32);
    loop {
        let page = w.run(&Op::ReadDir {
            ino: dir,
            after,
            limit: PAGE_ENTRIES_MAX,
            attrs: false,
            alone: false,
        });
        let Ok(Reply::Page { entries, end }) = page else {
            panic!("{page:?}")
        };
        assert!(entries.len() <= PAGE_ENTRIES_MAX as usize);
        for entry in &entries {
            assert!(entry.cookie > after, "the listing never goes back");
            after = entry.cookie;
            let name = String::from_utf8(entry.name.clone()).expect("as made");
            if let Ok(number) = name.parse::<usize>() {
                seen[number] += 1;
            }
        }
        w.make(dir, &format!("new-{pages}"), FileKind::Fifo);
        // May have been listed already, or not.
        w.unlink(dir, &(pages * REMOVED_EVERY).to_string())
            .expect("made above");
        pages += 1;
        if end {
            break;
        }
    }
    for (number, times) in seen.iter().enumerate() {
        let removed =
            (number as u32).is_multiple_of(REMOVED_EVERY) && (number as u32) < pages * REMOVED_EVERY;
        assert!(
            *times == 1 || removed && *times == 0,
            "{number} was listed {times} times"
        );
    }
    assert_eq!(
        w.attr(dir).size,
        u64::from(ENTRIES),
        "one came for each that went"
    );
}
