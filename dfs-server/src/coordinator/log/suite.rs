//! What every `MetadataLog` must do, as functions over a way to make and to reopen one.

use super::{LogError, MetadataLog};
use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use dfs_core::types::Timestamp;
use std::ops::ControlFlow;

/// A record that names its index in its rows.
pub fn record(index: u64, term: u64) -> Record {
    let rows = (0..=index % 5)
        .map(|row| (vec![b'k', row as u8], Some(index.to_be_bytes().to_vec())))
        .collect();
    Record {
        index: Index(index),
        term: Term(term),
        time: Timestamp {
            secs: index as i64,
            nanos: 7,
        },
        rows,
    }
}

pub fn contents(log: &dyn MetadataLog, from: u64) -> Vec<Record> {
    let mut found = Vec::new();
    log.read_from(Index(from), &mut |record| {
        found.push(record);
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// All of it on one kind of log.
pub fn run(mut make: impl FnMut() -> Box<dyn MetadataLog>) {
    keeps_what_was_appended(&mut *make());
    refuses_holes_and_older_terms(&mut *make());
    stops_reading_when_told(&mut *make());
    trims_but_never_the_last(&mut *make());
}

fn keeps_what_was_appended(log: &mut dyn MetadataLog) {
    assert_eq!(
        (log.first(), log.last(), log.term()),
        (Index(1), Index(0), Term(0))
    );
    assert!(contents(log, 1).is_empty());
    let records: Vec<Record> = (1..=40).map(|index| record(index, 1 + index / 10)).collect();
    log.append(&records[..1].iter().collect::<Vec<_>>()).unwrap();
    log.append(&records[1..30].iter().collect::<Vec<_>>()).unwrap();
    log.append(&[]).unwrap();
    log.append(&records[30..].iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(
        (log.first(), log.last(), log.term()),
        (Index(1), Index(40), Term(5))
    );
    assert_eq!(contents(log, 1), records);
    assert_eq!(contents(log, 17), records[16..]);
    assert!(contents(log, 41).is_empty());
}

fn refuses_holes_and_older_terms(log: &mut dyn MetadataLog) {
    assert!(matches!(log.append(&[&record(2, 1)]), Err(LogError::Gap { .. })));
    log.append(&[&record(1, 3)]).unwrap();
    assert!(matches!(log.append(&[&record(3, 3)]), Err(LogError::Gap { .. })));
    assert!(matches!(log.append(&[&record(1, 3)]), Err(LogError::Gap { .. })));
    assert!(matches!(
        log.append(&[&record(2, 2)]),
        Err(LogError::Fenced { .. })
    ));
    log.append(&[&record(2, 4)]).unwrap();
    assert_eq!(contents(log, 1).len(), 2);
}

fn stops_reading_when_told(log: &mut dyn MetadataLog) {
    for index in 1..=5 {
        log.append(&[&record(index, 1)]).unwrap();
    }
    let mut seen = 0;
    log.read_from(Index(2), &mut |_| {
        seen += 1;
        if seen == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!(seen, 2);
}

fn trims_but_never_the_last(log: &mut dyn MetadataLog) {
    for index in 1..=5 {
        log.append(&[&record(index, 1)]).unwrap();
    }
    log.trim(Index(3)).unwrap();
    assert!(log.first() <= Index(4));
    assert_eq!(contents(log, 4), vec![record(4, 1), record(5, 1)]);
    log.trim(Index(5)).unwrap();
    assert_eq!(log.last(), Index(5));
    assert_eq!(log.term(), Term(1));
    log.append(&[&record(6, 1)]).unwrap();
    assert_eq!(contents(log, 6), vec![record(6, 1)]);
    if log.first() > Index(1) {
        assert!(matches!(
            log.read_from(Index(1), &mut |_| ControlFlow::Break(())),
            Err(LogError::Trimmed { .. })
        ));
    }
}
