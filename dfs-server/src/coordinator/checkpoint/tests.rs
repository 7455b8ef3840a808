//! A checkpoint returns every row, and any damage to it is found before a row is used.

use super::{KEEP, list, load_newest, path, verified, write};
use crate::coordinator::state::Store;
use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use dfs_core::types::Timestamp;
use dfs_core::view::View;
use std::ops::ControlFlow;

fn fill(store: &Store, index: u64) {
    let rows = (0..2000u32)
        .map(|row| {
            (
                [b"i".as_slice(), &row.to_be_bytes()].concat(),
                Some(vec![row as u8; 200 + index as usize]),
            )
        })
        .collect();
    let record = Record {
        index: Index(index),
        term: Term(1),
        time: Timestamp::default(),
        rows,
    };
    store.apply([&record]).unwrap();
}

fn dump(view: &dyn View) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    view.scan(&[0], &[255], &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

#[test]
fn a_checkpoint_returns_every_row_and_only_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    for index in 1..=4 {
        fill(&store, index);
        write(dir.path(), &store.moment().unwrap()).unwrap();
    }
    let kept: Vec<u64> = list(dir.path())
        .unwrap()
        .iter()
        .map(|(index, _)| index.0)
        .collect();
    assert_eq!(kept, [4, 3]);
    assert_eq!(kept.len(), KEEP);
    let other = Store::open(&dir.path().join("other")).unwrap();
    assert_eq!(load_newest(dir.path(), &other).unwrap(), Some(Index(4)));
    assert_eq!(other.applied().unwrap(), Index(4));
    assert_eq!(dump(&other), dump(&store));
}

// S19
#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    fill(&store, 1);
    write(dir.path(), &store.moment().unwrap()).unwrap();
    let before = dump(&store);
    fill(&store, 2);
    let newest = write(dir.path(), &store.moment().unwrap()).unwrap();
    assert_eq!(newest, path(dir.path(), Index(2)));
    let whole = std::fs::read(&newest).unwrap();
    let places = (0..whole.len()).step_by(whole.len() / 50);
    for (number, at) in places.enumerate() {
        let mut bytes = whole.clone();
        if number % 2 == 0 {
            bytes[at] ^= 1
        } else {
            bytes.truncate(at)
        }
        std::fs::write(&newest, &bytes).unwrap();
        assert_eq!(verified(dir.path(), &[]).unwrap(), [Index(1)], "damage at {at}");
    }
    let other = Store::open(&dir.path().join("other")).unwrap();
    assert_eq!(load_newest(dir.path(), &other).unwrap(), Some(Index(1)));
    assert_eq!(dump(&other), before);
}
