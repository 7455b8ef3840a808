//! Shipments: what a session did by itself leaves what the same operations leave one by one; nothing of it when a step
//! does not fit, and the steps without their content when only that is refused.

use crate::world::*;
use dfs_core::error::FsError;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::keys::{self, Key};
use dfs_core::op::*;
use dfs_core::rows::InodeRow;
use dfs_core::types::*;
use dfs_core::view::MemoryView;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

/// A change by small numbers, which pick among the inodes there are.
fn change() -> impl Strategy<Value = (u8, usize, usize, usize, usize)> {
    (0..13u8, 0..8usize, 0..4usize, 0..8usize, 0..4usize)
}

fn inos(world: &World) -> Vec<Ino> {
    let keys = world.view.rows.keys();
    keys.filter_map(|key| match keys::parse(key) {
        Some(Key::Inode(ino)) => Some(ino),
        _ => None,
    })
    .collect()
}

fn op(world: &World, (kind, dir, name, other, new_name): (u8, usize, usize, usize, usize)) -> Op {
    let inos = inos(world);
    let (dir, other) = (inos[dir % inos.len()], inos[other % inos.len()]);
    let (name, new_name) = (NAMES[name].to_vec(), NAMES[new_name].to_vec());
    let make = |kind| {
        Op::Make(Make {
            parent: dir,
            name: name.clone(),
            kind,
            mode: 0o755,
            umask: 0o22,
            rdev: 0,
            target: Vec::new(),
            exclusive: true,
            who: world.who,
        })
    };
    match kind {
        0..=2 => make(FileKind::File),
        3 | 4 => make(FileKind::Directory),
        5 => Op::Unlink(Unlink {
            parent: dir,
            name,
            expect: None,
        }),
        6 => Op::Rmdir {
            parent: dir,
            name,
            held: false,
        },
        7 | 8 => Op::Rename(Rename {
            parent: dir,
            name,
            new_parent: other,
            new_name,
            mode: match kind {
                7 => RenameMode::Replace,
                _ => RenameMode::Exchange,
            },
            expect: None,
        }),
        9 => Op::Link {
            ino: other,
            parent: dir,
            name,
        },
        10 => Op::SetAttr {
            ino: other,
            changes: AttrChanges {
                mode: Some(0o600),
                ..AttrChanges::default()
            },
        },
        _ => Op::SetAttr {
            ino: other,
            changes: AttrChanges {
                size: Some(1000 * (kind as u64 - 11)),
                ..AttrChanges::default()
            },
        },
    }
}

/// The rows, apart from how often inodes changed: a shipment is one change.
fn compared(view: &MemoryView) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let row = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let value = match keys::parse(key) {
            Some(Key::Inode(_)) => {
                let row = InodeRow::decode(key, value).expect("whole");
                InodeRow { version: 0, ..row }.encode()
            }
            _ => value.clone(),
        };
        (key.clone(), value)
    };
    view.rows.iter().map(row).collect()
}

/// A world whose first numbers were given out to sessions.
fn world() -> World {
    let mut world = World::new();
    world.next_ino = Ino::FIRST.0 + 1000;
    world
}

proptest! {
    #[test]
    fn a_shipment_leaves_what_its_steps_leave(
        before in prop::collection::vec(change(), 0..20),
        changes in prop::collection::vec(change(), 1..40),
    ) {
        let mut single = world();
        for change in before {
            let op = op(&single, change);
            drop(single.run(&op));
        }
        // The directories of before have sums that move with them.
        while single.count(keys::prefix::arrived()) > 0 {
            let moved = single.run_as(SessionId::COORDINATOR, &Op::Count { limit: 100 });
            prop_assert!(moved.is_ok(), "{:?}", moved);
        }
        let mut whole = world();
        whole.view = single.view.clone();
        (whole.next_ino, whole.clock) = (single.next_ino, single.clock);
        let old: BTreeSet<Ino> = inos(&single).into_iter().collect();
        let mut steps = Vec::new();
        let mut fresh = Ino::FIRST.0;
        for change in changes {
            let op = op(&single, change);
            let next = std::mem::replace(&mut single.next_ino, fresh);
            let result = single.run(&op);
            single.next_ino = next;
            if result.is_ok() {
                let made = matches!(op, Op::Make(_));
                let ino = Ino(if made { fresh } else { 0 });
                fresh += u64::from(made);
                steps.push(Step { at: single.now(), ino, op });
            }
        }
        let made: Vec<Ino> = steps.iter().map(|step| step.ino).filter(|ino| *ino != Ino(0)).collect();
        let shipment = Op::Ship(Ship { steps, commit: None });
        prop_assert_eq!(whole.run(&shipment), Ok(Reply::Shipped { refused: None }));
        prop_assert_eq!(compared(&whole.view), compared(&single.view));
        prop_assert_eq!((whole.view.inodes, whole.view.bytes), (single.view.inodes, single.view.bytes));
        let concerned = whole.reads.union(&whole.writes);
        prop_assert!(concerned.copied().all(|ino| old.contains(&ino)), "of the new ones nobody holds anything");
        prop_assert!(made.iter().all(|ino| !whole.writes.contains(ino)));
    }
}

fn make(world: &World, ino: Ino, name: &[u8]) -> Step {
    let op = Op::Make(Make {
        parent: ROOT,
        name: name.to_vec(),
        kind: FileKind::File,
        mode: 0o644,
        umask: 0,
        rdev: 0,
        target: Vec::new(),
        exclusive: true,
        who: world.who,
    });
    Step {
        at: Timestamp { secs: 77, nanos: 7 },
        ino,
        op,
    }
}

#[test]
fn all_or_nothing() {
    let mut world = world();
    let before = world.view.clone();
    let steps = vec![
        make(&world, Ino(20), b"a"),
        make(&world, Ino(21), b"b"),
        make(&world, Ino(22), b"a"),
    ];
    let ship = |steps| Op::Ship(Ship { steps, commit: None });
    assert_eq!(world.run(&ship(steps.clone())), Err(FsError::Exists));
    assert_eq!(world.view, before);
    assert_eq!(
        world.run(&ship(steps[..2].to_vec())),
        Ok(Reply::Shipped { refused: None })
    );
    let attr = world.attr(Ino(20));
    assert_eq!(
        (attr.btime.secs, attr.ctime.secs),
        (77, 77),
        "it shows when it was made"
    );
    // The same numbers make nothing more, nor do numbers that were not given out.
    assert_eq!(
        world.run(&ship(vec![make(&world, Ino(20), b"c")])),
        Err(FsError::Invalid)
    );
    let unknown = Ino(world.next_ino);
    assert_eq!(
        world.run(&ship(vec![make(&world, unknown, b"c")])),
        Err(FsError::Invalid)
    );
}

#[test]
fn content_that_is_refused_leaves_the_steps() {
    let mut world = world();
    let steps = vec![make(&world, Ino(20), b"a")];
    let file = FileCommit {
        ino: Ino(20),
        // Of a chunk that nobody knows.
        extents: vec![Extent {
            offset: 0,
            len: 1,
            chunk: dfs_core::ids::ChunkId { set: SET, seq: 9 },
            chunk_offset: 0,
        }],
        mtime: Timestamp::default(),
        atime: None,
        kill_suidgid: false,
    };
    let commit = Some(Commit {
        chunks: Vec::new(),
        files: vec![file],
    });
    let refused = Some(FsError::Invalid);
    assert_eq!(
        world.run(&Op::Ship(Ship { steps, commit })),
        Ok(Reply::Shipped { refused })
    );
    assert_eq!(world.attr(Ino(20)).size, 0);
}

#[test]
fn numbers_are_given_out_once() {
    let mut world = World::new();
    let mut range = |count| match world.run(&Op::AllocInos { count }) {
        Ok(Reply::InoRange { first, count }) => {
            world.next_ino = first.0 + u64::from(count);
            (first.0, count)
        }
        other => panic!("{other:?}"),
    };
    let (first, count) = range(100);
    assert_eq!((first, count), (Ino::FIRST.0, 100));
    assert_eq!(range(u32::MAX), (first + 100, INO_RANGE_MAX));
}
