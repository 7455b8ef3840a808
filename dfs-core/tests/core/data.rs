//! Content: commits, allocation, sharing, chunk counts, purging.

use crate::world::*;
use dfs_core::error::FsError::*;
use dfs_core::error::FsResult;
use dfs_core::ids::{ChunkId, Ino, NodeId, SessionId, SetId};
use dfs_core::keys::{self, prefix};
use dfs_core::op::*;
use dfs_core::rows::ChunkRow;
use dfs_core::types::*;

const CHUNK: u32 = 8 << 20;

fn zeros(offset: u64, len: u64) -> Extent {
    Extent {
        offset,
        len,
        chunk: ChunkId::ZEROS,
        chunk_offset: 0,
    }
}

fn commit(chunks: Vec<NewChunk>, ino: Ino, extents: Vec<Extent>) -> Op {
    let file = FileCommit {
        ino,
        extents,
        mtime: Timestamp::default(),
        atime: None,
        kill_suidgid: false,
    };
    Op::Commit(Commit {
        chunks,
        files: vec![file],
    })
}

fn chunk(id: ChunkId, len: u32) -> NewChunk {
    NewChunk {
        id,
        len,
        sha256: [3; 32],
        missing: Vec::new(),
    }
}

impl World {
    fn allocate(&mut self, ino: Ino, mode: AllocateMode, offset: u64, len: u64) -> FsResult<Attr> {
        self.run(&Op::Allocate {
            ino,
            mode,
            offset,
            len,
        })
        .map(|reply| match reply {
            Reply::Attr(attr) => attr,
            other => panic!("{other:?}"),
        })
    }

    fn copy(&mut self, src: (Ino, u64), dst: (Ino, u64), len: u64) -> FsResult<(u64, Attr)> {
        let op = Op::CopyRange {
            src: src.0,
            src_offset: src.1,
            dst: dst.0,
            dst_offset: dst.1,
            len,
        };
        self.run(&op).map(|reply| match reply {
            Reply::Copied { len, attr } => (len, attr),
            other => panic!("{other:?}"),
        })
    }

    fn chunk_row(&self, id: ChunkId) -> Option<ChunkRow> {
        let key = keys::chunk(id);
        self.view
            .rows
            .get(&key)
            .map(|row| ChunkRow::decode(&key, row).expect("whole"))
    }
}

#[test]
fn chunk_numbers() {
    let mut w = World::new();
    let op = |count, avoid: &[SetId]| Op::AllocChunks {
        count,
        avoid: avoid.to_vec(),
    };
    assert_eq!(w.refused(&op(0, &[])), Invalid);
    assert_eq!(w.refused(&op(1, &[SET])), NoSpace);
    assert_eq!(
        w.run(&op(10, &[SetId(9)])),
        Ok(Reply::ChunkRange {
            set: SET,
            first: 1,
            count: 10
        })
    );
    let most = Ok(Reply::ChunkRange {
        set: SET,
        first: 11,
        count: CHUNK_RANGE_MAX,
    });
    assert_eq!(w.run(&op(u32::MAX, &[])), most);
    w.usage.available_bytes = 0;
    assert_eq!(w.refused(&op(1, &[])), NoSpace);
}

#[test]
fn commit_refuses() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let d = w.dir(ROOT, "d");
    let id = w.chunk_id();
    let at = |offset, len, chunk_offset| Extent {
        offset,
        len,
        chunk: id,
        chunk_offset,
    };
    let foreign = ChunkId {
        seq: id.seq + 1,
        ..id
    };
    assert_eq!(
        w.refused(&commit(vec![chunk(foreign, 10)], f, vec![])),
        NotPermitted
    );
    let bob = w.run_as(BOB, &commit(vec![chunk(id, 10)], f, vec![]));
    assert_eq!(bob, Err(NotPermitted));
    for (id, len) in [(ChunkId::ZEROS, 10), (id, 0), (id, CHUNK + 1)] {
        assert_eq!(w.refused(&commit(vec![chunk(id, len)], f, vec![])), Invalid);
    }
    assert_eq!(
        w.refused(&commit(vec![chunk(id, 10), chunk(id, 10)], f, vec![])),
        Invalid
    );
    let bad = [
        vec![at(0, 0, 0)],
        vec![at(0, 11, 0)],
        vec![at(0, 5, 6)],
        vec![at(5, 5, 0), at(0, 5, 0)],
        vec![at(0, 5, 0), at(4, 5, 0)],
        vec![Extent {
            chunk: foreign,
            ..at(0, 5, 0)
        }],
        vec![Extent {
            chunk_offset: 1,
            ..zeros(0, 5)
        }],
    ];
    for extents in bad {
        assert_eq!(
            w.refused(&commit(vec![chunk(id, 10)], f, extents.clone())),
            Invalid,
            "{extents:?}"
        );
    }
    let far = vec![at(SIZE_MAX - 4, 5, 0)];
    assert_eq!(w.refused(&commit(vec![chunk(id, 10)], f, far)), FileTooLarge);
    assert_eq!(
        w.refused(&commit(vec![chunk(id, 10)], d, vec![at(0, 5, 0)])),
        Invalid
    );
    let many = vec![chunk(id, 1); COMMIT_CHUNKS_MAX + 1];
    assert_eq!(w.refused(&commit(many, f, vec![])), Invalid);
    let file = FileCommit {
        ino: f,
        extents: vec![],
        mtime: w.now(),
        atime: None,
        kill_suidgid: false,
    };
    let twice = Commit {
        chunks: vec![],
        files: vec![file.clone(), file.clone()],
    };
    assert_eq!(w.refused(&Op::Commit(twice)), Invalid);
    let many = Commit {
        chunks: vec![],
        files: vec![file; COMMIT_FILES_MAX + 1],
    };
    assert_eq!(w.refused(&Op::Commit(many)), Invalid);
    let end = vec![at(SIZE_MAX - 5, 5, 0)];
    w.run(&commit(vec![chunk(id, 10)], f, end))
        .expect("the last bytes that can be");
    assert_eq!(w.refused(&commit(vec![chunk(id, 10)], f, vec![])), Invalid);
    w.check();
}

#[test]
fn commit_lays_over_what_was_there() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let mode = AttrChanges {
        mode: Some(0o6775),
        ..AttrChanges::default()
    };
    w.set_attr(f, mode).expect("a file");
    let one = w.write(f, 0, 1000);
    let two = w.write(f, 300, 100);
    assert_eq!(
        w.extents(f),
        vec![
            (0, 300, one.seq, 0),
            (300, 100, two.seq, 0),
            (400, 600, one.seq, 400)
        ]
    );
    let attr = w.attr(f);
    assert_eq!((attr.size, attr.blocks, attr.mode), (1000, 1 + 1 + 2, 0o6775));
    let row = w.chunk_row(one).expect("in use");
    assert_eq!((row.references, row.live_bytes, row.len), (2, 900, 1000));
    assert_eq!(w.view.bytes, 1100);
    w.check();
    // All of it: the first two are garbage.
    let id = w.chunk_id();
    let extents = vec![Extent {
        offset: 0,
        len: 2000,
        chunk: id,
        chunk_offset: 48,
    }];
    let file = FileCommit {
        ino: f,
        extents,
        mtime: Timestamp { secs: 5000, nanos: 1 },
        atime: Some(Timestamp { secs: 4000, nanos: 2 }),
        kill_suidgid: true,
    };
    w.run(&Op::Commit(Commit {
        chunks: vec![chunk(id, 2048)],
        files: vec![file],
    }))
    .expect("good");
    let attr = w.attr(f);
    assert_eq!((attr.size, attr.blocks, attr.mode), (2000, 4, 0o775));
    assert_eq!(
        (attr.mtime.secs, attr.ctime.secs, attr.atime.secs),
        (5000, 5000, 4000)
    );
    assert_eq!(
        (
            w.count(prefix::chunks()),
            w.count(prefix::garbage()),
            w.view.bytes
        ),
        (1, 2, 2048)
    );
    w.check();
    let chunks = vec![one, two];
    w.run_as(SessionId::COORDINATOR, &Op::ForgetGarbage { chunks })
        .expect("its own");
    assert_eq!(w.count(prefix::garbage()), 0);
}

#[test]
fn an_older_time_does_not_turn_the_change_time_back() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let before = w.attr(f);
    let file = FileCommit {
        ino: f,
        extents: vec![],
        mtime: Timestamp { secs: -9, nanos: 0 },
        atime: None,
        kill_suidgid: false,
    };
    w.run(&Op::Commit(Commit {
        chunks: vec![],
        files: vec![file],
    }))
    .expect("good");
    let after = w.attr(f);
    assert_eq!((after.mtime.secs, after.ctime, after.size), (-9, before.ctime, 0));
}

#[test]
fn a_commit_into_a_file_that_is_gone_leaves_garbage() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let g = w.file(ROOT, "g");
    w.unlink(ROOT, "f").expect("there");
    let id = w.chunk_id();
    let missing = NewChunk {
        missing: vec![NodeId(2)],
        ..chunk(id, 10)
    };
    let at = |chunk| {
        vec![Extent {
            offset: 0,
            len: 10,
            chunk,
            chunk_offset: 0,
        }]
    };
    w.run(&commit(vec![missing], f, at(id))).expect("skipped");
    assert_eq!(
        (
            w.count(prefix::chunks()),
            w.count(prefix::garbage()),
            w.count(prefix::missing())
        ),
        (0, 1, 0)
    );
    assert_eq!(
        w.refused(&commit(vec![], g, at(id))),
        Invalid,
        "garbage is not used again"
    );
    assert_eq!(w.refused(&commit(vec![chunk(id, 10)], g, at(id))), Invalid);
    w.check();
}

#[test]
fn missing_copies_are_remembered_until_found() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let id = w.chunk_id();
    let missing = NewChunk {
        missing: vec![NodeId(2), NodeId(2)],
        ..chunk(id, 10)
    };
    let extents = vec![Extent {
        offset: 0,
        len: 10,
        chunk: id,
        chunk_offset: 0,
    }];
    w.run(&commit(vec![missing], f, extents)).expect("good");
    assert_eq!(w.count(prefix::missing_of(id)), 1);
    let set = |w: &mut World, node, missing| {
        let op = Op::SetMissing {
            chunk: id,
            node: NodeId(node),
            missing,
        };
        w.run_as(SessionId::COORDINATOR, &op).expect("its own");
        w.check();
        w.count(prefix::missing_of(id))
    };
    assert_eq!(set(&mut w, 3, true), 2);
    assert_eq!(set(&mut w, 3, true), 2);
    assert_eq!(set(&mut w, 2, false), 1);
    assert_eq!(set(&mut w, 2, false), 1);
    w.unlink(ROOT, "f").expect("there");
    assert_eq!(set(&mut w, 2, true), 0, "nothing to repair any more");
}

#[test]
fn allocate() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let d = w.dir(ROOT, "d");
    let p = w.make(ROOT, "p", FileKind::Fifo);
    use AllocateMode::*;
    let plain = Reserve { keep_size: false };
    assert_eq!(w.allocate(d, plain, 0, 1), Err(IsDirectory));
    assert_eq!(w.allocate(p, plain, 0, 1), Err(Invalid));
    assert_eq!(w.allocate(f, plain, 0, 0), Err(Invalid));
    assert_eq!(w.allocate(f, plain, SIZE_MAX, 1), Err(FileTooLarge));
    assert_eq!(w.allocate(f, plain, u64::MAX, 2), Err(FileTooLarge));
    let id = w.write(f, 1000, 1000).seq;
    let attr = w.allocate(f, plain, 0, 4096).expect("a file");
    assert_eq!((attr.size, attr.blocks), (4096, 2 + 2 + 5));
    assert_eq!(
        w.extents(f),
        vec![(0, 1000, 0, 0), (1000, 1000, id, 0), (2000, 2096, 0, 0)]
    );
    let kept = w
        .allocate(f, Reserve { keep_size: true }, 8192, 1 << 40)
        .expect("beyond the end");
    assert_eq!((kept.size, kept.ctime, kept.mtime), (4096, w.now(), attr.mtime));
    let punched = w.allocate(f, PunchHole, 500, 1000).expect("a file");
    assert_eq!((punched.size, punched.mtime), (4096, w.now()));
    assert_eq!(
        w.extents(f)[..3],
        [(0, 500, 0, 0), (1500, 500, id, 500), (2000, 2096, 0, 0)]
    );
    let zeroed = w
        .allocate(f, ZeroRange { keep_size: true }, 1400, 200)
        .expect("a file");
    assert_eq!(zeroed.size, 4096);
    assert_eq!(w.extents(f)[1..3], [(1400, 200, 0, 0), (1600, 400, id, 600)]);
    assert_eq!(
        w.allocate(f, ZeroRange { keep_size: false }, 0, 9000)
            .map(|attr| attr.size),
        Ok(9000)
    );
    assert_eq!(w.count(prefix::garbage()), 1);
    let size = AttrChanges {
        size: Some(9000),
        ..AttrChanges::default()
    };
    w.set_attr(f, size).expect("the same size");
    assert_eq!(
        w.extents(f),
        vec![(0, 9000, 0, 0)],
        "what was reserved beyond the end is freed"
    );
    w.check();
}

#[test]
fn copy_range_shares() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let g = w.file(ROOT, "g");
    let d = w.dir(ROOT, "d");
    let id = w.write(f, 100, 1000);
    assert_eq!(w.copy((d, 0), (g, 0), 1).map(|_| ()), Err(IsDirectory));
    assert_eq!(w.copy((f, 0), (d, 0), 1).map(|_| ()), Err(IsDirectory));
    assert_eq!(w.copy((f, u64::MAX), (g, 0), 1).map(|_| ()), Err(Overflow));
    assert_eq!(w.copy((f, 0), (g, SIZE_MAX), 5).map(|_| ()), Err(FileTooLarge));
    assert_eq!(w.copy((f, 0), (f, 500), 501).map(|_| ()), Err(Invalid));
    assert_eq!(w.copy((f, 1100), (g, 0), 9).map(|(len, _)| len), Ok(0));
    let (len, attr) = w.copy((f, 50), (g, 10), 5000).expect("two files");
    assert_eq!((len, attr.size, attr.mtime), (1050, 1060, w.now()));
    assert_eq!(w.extents(g), vec![(60, 1000, id.seq, 0)]);
    let row = w.chunk_row(id).expect("in use");
    assert_eq!((row.references, row.live_bytes), (2, 2000));
    w.check();
    // Onto itself next door, and the same bytes onto themselves through the other file.
    assert_eq!(
        w.copy((f, 0), (f, 1100), 1100)
            .map(|(len, attr)| (len, attr.size)),
        Ok((1100, 2200))
    );
    w.copy((g, 60), (f, 100), 1000).expect("the same chunk");
    assert_eq!(w.chunk_row(id).map(|row| row.references), Some(3));
    w.unlink(ROOT, "f").expect("there");
    assert_eq!(w.chunk_row(id).map(|row| row.references), Some(1));
    w.check();
    w.unlink(ROOT, "g").expect("there");
    assert_eq!((w.count(prefix::garbage()), w.view.bytes), (1, 0));
    w.check();
}

/// Makes a file of `count` extents of one chunk, with gaps.
fn fragmented(w: &mut World, name: &str, count: u64) -> (Ino, ChunkId) {
    let f = w.file(ROOT, name);
    let id = w.chunk_id();
    let extents: Vec<(u64, u64, u32)> = (0..count).map(|number| (number * 10, 5, 0)).collect();
    let op = commit_op(id, 10, f, &extents, w.now());
    w.run(&op).expect("good");
    (f, id)
}

fn purge(w: &mut World, limit: u32) -> u32 {
    let mut steps = 1;
    while w.run_as(SessionId::COORDINATOR, &Op::Purge { limit }) == Ok(Reply::Progress { more: true }) {
        w.check();
        steps += 1;
    }
    steps
}

#[test]
fn much_content_is_freed_in_steps() {
    let mut w = World::new();
    let (f, id) = fragmented(&mut w, "f", 1000);
    let (g, _) = fragmented(&mut w, "g", 1000);
    let size = |size| AttrChanges {
        size: Some(size),
        ..AttrChanges::default()
    };
    let attr = w.set_attr(f, size(13)).expect("a file");
    assert_eq!(
        (attr.blocks, w.extents(f)),
        (2, vec![(0, 5, id.seq, 0), (10, 3, id.seq, 0)])
    );
    assert_eq!(w.count(prefix::purges()), 1);
    w.unlink(ROOT, "g").expect("there");
    assert_eq!(w.refused(&Op::GetAttr { ino: g }), Stale);
    assert_eq!(w.count(prefix::purges()), 2);
    w.check();
    assert_eq!(purge(&mut w, 100), 22);
    assert_eq!((w.count(prefix::purges()), w.count(prefix::garbage())), (0, 1));
    assert_eq!(w.chunk_row(id).map(|row| row.references), Some(2));
    w.check();
    w.set_attr(f, size(0)).expect("a file");
    assert_eq!(w.count(prefix::garbage()), 2);
    // A long head and a long tail are cut in place.
    let (h, id) = fragmented(&mut w, "h", 300);
    w.set_attr(h, size(1000)).expect("a file");
    assert_eq!(
        (w.extents(h).len(), w.chunk_row(id).map(|row| row.references)),
        (100, Some(100))
    );
    w.check();
}

#[test]
fn extents_come_in_pages() {
    let mut w = World::new();
    let count = EXTENT_PAGE_MAX as u64 + 10;
    let (f, _) = fragmented(&mut w, "f", count);
    let d = w.dir(ROOT, "d");
    let page = |w: &mut World, ino, offset, len| w.run(&Op::GetExtents { ino, offset, len });
    assert_eq!(page(&mut w, d, 0, 1), Err(IsDirectory));
    let Ok(Reply::Extents {
        extents,
        next: Some(next),
    }) = page(&mut w, f, 0, u64::MAX)
    else {
        panic!("a full page");
    };
    assert_eq!(
        (extents.len(), next),
        (EXTENT_PAGE_MAX, (EXTENT_PAGE_MAX as u64 - 1) * 10 + 5)
    );
    let Ok(Reply::Extents { extents, next: None }) = page(&mut w, f, next, u64::MAX) else {
        panic!("the rest");
    };
    assert_eq!(extents.len(), 10);
    let Ok(Reply::Extents { extents, next: None }) = page(&mut w, f, 12, 10) else {
        panic!("a few")
    };
    let offsets: Vec<u64> = extents.iter().map(|extent| extent.offset).collect();
    assert_eq!(offsets, vec![10, 20], "whole, also the one that began before");
    let short = w.run(&Op::CopyRange {
        src: f,
        src_offset: 0,
        dst: f,
        dst_offset: 1 << 40,
        len: 1 << 30,
    });
    assert!(matches!(short, Ok(Reply::Copied { len, .. }) if len == count * 10 - 5));
    w.check();
}
