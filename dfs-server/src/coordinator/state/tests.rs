//! The store and its overlay against a plain map.

use super::{Overlay, Store};
use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use dfs_core::types::Timestamp;
use dfs_core::view::View;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

fn record(index: u64, rows: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Record {
    Record {
        index: Index(index),
        term: Term(1),
        time: Timestamp::default(),
        rows,
    }
}

fn all(view: &dyn View, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    view.scan(&[0], &[255], &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever part of the records the store already has, the overlay shows all of them.
    #[test]
    fn the_overlay_shows_the_newest_rows(
        changes in proptest::collection::vec(
            proptest::collection::vec((1u8..20, proptest::option::of(any::<u8>())), 0..6), 1..12),
        applied in 0usize..12,
        limit in 1usize..30,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut overlay = Overlay::new(Box::new(store.clone()), Index(1));
        let mut model = BTreeMap::new();
        for (position, change) in changes.iter().enumerate() {
            let rows: Vec<_> = change.iter().map(|(k, v)| (vec![*k], v.map(|v| vec![v]))).collect();
            for (key, value) in &rows {
                overlay.put(key.clone(), value.clone());
                match value {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(key),
                };
            }
            // The last one is still being gathered.
            if position + 1 < changes.len() {
                let record = overlay.close(Term(1), Timestamp::default());
                if position < applied {
                    store.apply([record.as_ref()]).unwrap();
                    overlay.applied(record.index);
                }
            }
        }
        let expected: Vec<_> = model.clone().into_iter().take(limit).collect();
        prop_assert_eq!(all(&overlay, limit), expected);
        for key in 1u8..20 {
            prop_assert_eq!(overlay.get(&[key]).unwrap(), model.get(&vec![key]).cloned());
        }
    }
}

#[test]
fn rows_and_index_survive_together() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.applied().unwrap(), Index(0));
        store
            .apply([
                &record(1, vec![(vec![1], Some(vec![7]))]),
                &record(2, vec![(vec![2], Some(vec![8]))]),
            ])
            .unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.applied().unwrap(), Index(2));
    let moment = store.moment().unwrap();
    store.apply([&record(3, vec![(vec![1], None)])]).unwrap();
    assert_eq!(moment.index, Index(2));
    assert_eq!(all(&moment, 9), [(vec![1], vec![7]), (vec![2], vec![8])]);
    assert_eq!(all(&store, 9), [(vec![2], vec![8])]);
}

#[test]
fn what_was_read_from_the_future_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut overlay = Overlay::new(Box::new(Store::open(dir.path()).unwrap()), Index(5));
    overlay.put(vec![1], Some(vec![1]));
    overlay.close(Term(1), Timestamp::default());
    overlay.put(vec![2], None);
    overlay.begin_reading();
    overlay.get(&[3]).unwrap();
    assert_eq!(overlay.seen(), Index(0));
    overlay.get(&[1]).unwrap();
    assert_eq!(overlay.seen(), Index(5));
    overlay.get(&[2]).unwrap();
    assert_eq!(overlay.seen(), Index(6));
}

/// A row that changes all the time leaves its old versions in the write buffer, and every scan walks over them.
#[test]
fn old_versions_are_written_out_when_scans_walk_over_them() {
    const MOST: u64 = 300_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let value = vec![7; 64];
    let mut index = 0;
    while store.tables() == 0 {
        assert!(index < MOST, "all versions are still in the buffer");
        for _ in 0..1000 {
            index += 1;
            let rows = vec![(vec![9], Some(value.clone()))];
            store.apply(&[record(index, rows)]).unwrap();
        }
        assert_eq!(all(&store, 2), [(vec![9], value.clone())]);
    }
    assert_eq!(store.applied().unwrap(), Index(index));
    assert_eq!(all(&store, 2), [(vec![9], value)]);
}
