//! All rows on a real directory, bounds by free space, the marks, the early end.

use super::measure::{Limits, Stop, repeat};
use super::place::Place;
use super::report::{as_json, filled, verdict};
use super::rows::{ROWS, Unit};
use super::{FREE_MIN, LARGE_MAX, SMALL_MAX, Settings, bounded, measured};
use std::time::Duration;

const FEW: Limits = Limits {
    large: 4 << 20,
    small: 250,
    each: Duration::from_millis(200),
};
const QUIETLY: Settings = Settings {
    json: true,
    quick: true,
};

#[test]
fn every_row_has_a_figure_and_nothing_is_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = Place::look(dir.path()).expect("a place");
    let room = place.make_room().expect("room");
    let outcomes = measured(&place, room.path(), FEW, &Stop::default(), QUIETLY);
    room.remove().expect("removed");
    assert_eq!(outcomes.len(), ROWS.len());
    for outcome in &outcomes {
        let measured = outcome.measured.as_ref();
        let measured = measured.unwrap_or_else(|error| panic!("{}: {error}", outcome.row.id));
        assert!(outcome.row.unit.figure(measured) > 0.0, "{}", outcome.row.id);
    }
    let json = as_json(&place, &outcomes, false);
    assert!(
        json["rows"]
            .as_array()
            .expect("rows")
            .iter()
            .all(|row| row["value"].is_number())
    );
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
}

#[test]
fn after_an_interrupt_nothing_more_is_begun() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = Place::look(dir.path()).expect("a place");
    let room = place.make_room().expect("room");
    let stop = Stop::default();
    stop.ask();
    assert!(measured(&place, room.path(), FEW, &stop, QUIETLY).is_empty());
    assert_eq!(std::fs::read_dir(room.path()).expect("listed").count(), 0);
    let steps = repeat(100, FEW, &stop, |_| Ok(1)).expect("no step");
    assert_eq!(steps.operations, 0);
}

#[test]
fn a_loop_ends_with_its_time_and_counts_what_it_did() {
    let slow = |_| {
        std::thread::sleep(Duration::from_millis(20));
        Ok(3)
    };
    let done = repeat(u64::MAX, FEW, &Stop::default(), slow).expect("done");
    assert!((1..=10).contains(&done.operations), "{}", done.operations);
    assert_eq!(done.bytes, done.operations * 3);
    assert!(done.quantile(0.5).expect("a median") >= Duration::from_millis(20));
}

#[test]
fn sizes_follow_what_is_free() {
    let place = |free_bytes, free_inodes| Place {
        dir: "/".into(),
        file_system: "x".to_owned(),
        source: "y".to_owned(),
        free_bytes,
        free_inodes,
    };
    let plenty = bounded(&place(1 << 40, None), false).expect("enough");
    assert_eq!((plenty.large, plenty.small), (LARGE_MAX, SMALL_MAX));
    let tight = bounded(&place(FREE_MIN, Some(1000)), false).expect("enough");
    assert_eq!((tight.large, tight.small), (FREE_MIN / 10, 12));
    let small = bounded(&place(FREE_MIN, None), false).expect("enough");
    assert!(small.small * 8 * 4096 <= FREE_MIN / 10);
    assert!(bounded(&place(FREE_MIN - 1, None), false).is_err());
}

#[test]
fn marks_rise_and_bars_follow_them() {
    let mut ids: Vec<&str> = ROWS.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), ROWS.len(), "ids are used twice");
    for row in ROWS {
        let [fair, good, excellent] = row.marks;
        assert!(fair < good && good < excellent, "{}", row.id);
        let words = [fair * 0.99, fair, good, excellent].map(|figure| verdict(row, figure));
        assert_eq!(words, ["poor", "fair", "good", "excellent"]);
        let bars = [0.001, fair, good, excellent, excellent * 100.0].map(|figure| filled(row, figure));
        assert_eq!(bars, [0, 3, 6, 9, 10], "{}", row.id);
        assert!(matches!(row.unit, Unit::Megabytes | Unit::Operations));
    }
}
