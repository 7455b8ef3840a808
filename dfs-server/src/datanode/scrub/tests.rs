//! The scrub on a store in memory.

use super::*;
use crate::datanode::store::memory::MemoryStore;
use crate::datanode::store::suite::{content, id, put};

const LIMIT: Duration = Duration::from_secs(20);

fn until(what: &str, mut check: impl FnMut() -> bool) {
    let began = Instant::now();
    while !check() {
        assert!(began.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

// S26
#[test]
fn a_flipped_bit_that_nobody_reads_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new(64 << 20));
    for seq in 0..40 {
        put(
            store.as_ref(),
            id(1 + seq as u32 % 3, seq),
            &content(100_000, seq),
        )
        .unwrap();
    }
    store.flip(id(2, 7 * 3 + 1), 5);
    let period = Duration::from_millis(500);
    let scrub = Scrub::start(store.clone(), dir.path(), period, &Metrics::default()).unwrap();
    until("the bad copy is named", || store.bad(10) == [id(2, 22)]);
    drop(scrub);
    assert!(load(dir.path()).due.is_finite());
    let off = Scrub::start(store, dir.path(), Duration::ZERO, &Metrics::default()).unwrap();
    assert!(off.is_none());
}

#[test]
fn the_position_survives_and_the_rate_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new(64 << 20));
    for seq in 0..100 {
        put(store.as_ref(), id(1, seq), &content(10_000, seq)).unwrap();
    }
    let began = Instant::now();
    let period = Duration::from_secs(40);
    let scrub = Scrub::start(store.clone(), dir.path(), period, &Metrics::default()).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    drop(scrub);
    let position = load(dir.path());
    let read = position.after.map_or(0, |id| id.seq + 1);
    // Slots are a little longer than their content.
    let most = 100.0 * 1.5 * began.elapsed().as_secs_f64() / (40.0 * PART);
    assert!(
        read >= 1 && (read as f64) <= most,
        "{read} chunks of at most {most}"
    );
    let next = Scrub::start(store, dir.path(), period, &Metrics::default()).unwrap();
    drop(next);
    let later = load(dir.path());
    assert!(later.after >= position.after, "{later:?} {position:?}");
}

#[test]
fn what_cannot_be_read_is_a_new_pass() {
    let whole = Position {
        after: Some(id(7, 8)),
        due: 5.0,
    };
    assert_eq!(parse("format 1\ndue 5\nafter 7 8\n"), Some(whole));
    for bad in [
        "",
        "format 2\ndue 5\nafter none\n",
        "format 1\ndue NaN\nafter none\n",
        "format 1\ndue 1\nafter 7\n",
    ] {
        assert_eq!(parse(bad), None, "{bad:?}");
    }
}
