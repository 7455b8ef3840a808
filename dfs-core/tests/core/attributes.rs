//! `setattr`, leases asked for, figures: modes, owners, times, versions.

use crate::world::*;
use dfs_core::error::FsError::*;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::op::*;
use dfs_core::types::*;

fn time(secs: i64) -> Timestamp {
    Timestamp {
        secs,
        nanos: 999_999_999,
    }
}

#[test]
fn chmod_and_chown() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let d = w.dir(ROOT, "d");
    let mode = |mode| AttrChanges {
        mode: Some(mode),
        ..AttrChanges::default()
    };
    let before = w.attr(f);
    let after = w.set_attr(f, mode(0o106_755)).expect("a file");
    assert_eq!(
        (after.mode, after.mtime, after.ctime),
        (0o6755, before.mtime, w.now())
    );
    assert!(after.version > before.version);
    let gid = AttrChanges {
        gid: Some(7),
        ..AttrChanges::default()
    };
    assert_eq!(
        w.set_attr(f, gid).map(|attr| (attr.mode, attr.uid, attr.gid)),
        Ok((0o755, 1000, 7))
    );
    // Without group execution set-group-id means mandatory locking and stays.
    w.set_attr(f, mode(0o6745)).expect("a file");
    let uid = AttrChanges {
        uid: Some(8),
        ..AttrChanges::default()
    };
    assert_eq!(
        w.set_attr(f, uid).map(|attr| (attr.mode, attr.uid)),
        Ok((0o2745, 8))
    );
    w.set_attr(d, mode(0o6755)).expect("a directory");
    assert_eq!(
        w.set_attr(d, uid).map(|attr| attr.mode),
        Ok(0o6755),
        "directories keep theirs"
    );
    w.set_attr(f, mode(0o6755)).expect("a file");
    let kill = AttrChanges {
        kill_suidgid: true,
        size: Some(3),
        ..AttrChanges::default()
    };
    assert_eq!(
        w.set_attr(f, kill).map(|attr| (attr.mode, attr.size)),
        Ok((0o755, 3))
    );
    // chown(-1, -1) changes ctime all the same.
    let nothing = w.set_attr(f, AttrChanges::default()).expect("nothing");
    assert_eq!(nothing.ctime, w.now());
    w.check();
}

#[test]
fn times() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let before = w.attr(f);
    let changes = AttrChanges {
        atime: Some(SetTime::At(time(-5))),
        mtime: Some(SetTime::Now),
        ..AttrChanges::default()
    };
    let after = w.set_attr(f, changes).expect("a file");
    assert_eq!(
        (after.atime, after.mtime, after.ctime, after.btime),
        (time(-5), w.now(), w.now(), before.btime)
    );
    // An access time that is told late does not move the change time back, nor to now.
    let late = |known| AttrChanges {
        atime: Some(SetTime::At(time(3))),
        ctime: Some(known),
        ..AttrChanges::default()
    };
    let kept = w.set_attr(f, late(time(1))).expect("a file");
    assert_eq!(
        (kept.atime, kept.ctime, kept.mtime),
        (time(3), after.ctime, after.mtime)
    );
    let ahead = time(77);
    let given = w.set_attr(f, late(ahead)).expect("a file");
    assert_eq!((given.ctime, given.mtime), (ahead, after.mtime));
}

#[test]
fn truncate() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let d = w.dir(ROOT, "d");
    let p = w.make(ROOT, "p", FileKind::Fifo);
    let size = |size| AttrChanges {
        size: Some(size),
        ..AttrChanges::default()
    };
    assert_eq!(w.set_attr(d, size(0)), Err(IsDirectory));
    assert_eq!(w.set_attr(p, size(0)), Err(Invalid));
    assert_eq!(w.set_attr(f, size(SIZE_MAX + 1)), Err(FileTooLarge));
    assert_eq!(w.set_attr(Ino(999), size(0)), Err(Stale));
    w.write(f, 0, 1000);
    let before = w.attr(f);
    assert_eq!((before.size, before.blocks), (1000, 2));
    let after = w.set_attr(f, size(100)).expect("shorter");
    assert_eq!(
        (after.size, after.blocks, after.content_epoch),
        (100, 1, before.content_epoch + 1)
    );
    assert_eq!((after.mtime, after.ctime), (w.now(), w.now()));
    assert_eq!(w.extents(f), vec![(0, 100, 1, 0)]);
    let same = w.set_attr(f, size(100)).expect("the same");
    assert_eq!((same.mtime, same.content_epoch), (w.now(), after.content_epoch));
    let longer = w.set_attr(f, size(SIZE_MAX)).expect("a hole");
    assert_eq!(
        (longer.size, longer.blocks, longer.content_epoch),
        (SIZE_MAX, 1, after.content_epoch)
    );
    w.set_attr(f, size(0)).expect("empty");
    assert_eq!(w.extents(f), vec![]);
    assert_eq!((w.attr(f).blocks, w.view.bytes), (0, 0));
    w.check();
}

#[test]
fn acquire_says_whose_leases_are_in_the_way() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    w.run(&Op::Acquire {
        ino: f,
        mode: LeaseMode::Shared,
    })
    .expect("there");
    assert!(w.reads.contains(&f) && w.writes.is_empty());
    w.run(&Op::Acquire {
        ino: f,
        mode: LeaseMode::Exclusive,
    })
    .expect("there");
    assert!(w.writes.contains(&f));
    assert_eq!(
        w.refused(&Op::Acquire {
            ino: Ino(999),
            mode: LeaseMode::Shared
        }),
        Stale
    );
}

#[test]
fn figures_come_from_outside() {
    let mut w = World::new();
    w.usage.used_bytes = 42;
    assert_eq!(w.run(&Op::StatFs), Ok(Reply::Usage(w.usage)));
}

#[test]
fn the_coordinators_own_operations_are_refused_from_clients() {
    let mut w = World::new();
    let chunk = dfs_core::ids::ChunkId { set: SET, seq: 1 };
    let own = [
        Op::Purge { limit: 1 },
        Op::EndSession { session: ALICE.0 },
        Op::ForgetGarbage { chunks: vec![chunk] },
        Op::SetMissing {
            chunk,
            node: dfs_core::ids::NodeId(1),
            missing: true,
        },
    ];
    for op in &own {
        assert_eq!(w.refused(op), NotPermitted);
        w.run_as(SessionId::COORDINATOR, op).expect("its own");
    }
}
