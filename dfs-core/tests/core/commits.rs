//! Commits: chunk numbers, what is refused, what is laid over what, chunks that nobody uses, missing copies.

use crate::world::*;
use dfs_core::error::FsError::*;
use dfs_core::ids::{ChunkId, Ino, NodeId, SessionId, SetId};
use dfs_core::keys::{self, prefix};
use dfs_core::op::*;
use dfs_core::rows::SetRow;
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
        on_disk: Vec::new(),
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
    let id = w.chunk_id();
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
    w.check();
}

#[test]
fn commit_refuses_extents_outside_of_chunks_and_files() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let d = w.dir(ROOT, "d");
    let id = w.chunk_id();
    let foreign = ChunkId {
        seq: id.seq + 1,
        ..id
    };
    let at = |offset, len, chunk_offset| Extent {
        offset,
        len,
        chunk: id,
        chunk_offset,
    };
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

/// A writer held up for long names who had the chunk when it was written; what a node had before it left is deleted.
#[test]
fn a_member_that_left_and_came_back_after_the_write_lacks_the_chunk() {
    const BACK: NodeId = NodeId(3);
    let now = Timestamp::default();
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let mut set = SetRow::new(vec![NodeId(1), NodeId(2), BACK]);
    set.begin_move(BACK, NodeId(4), 0, 1).expect("fits");
    set.finish(NodeId(4), now).expect("joins");
    assert!(set.forget(BACK));
    set.begin_move(NodeId(4), BACK, 1 << 20, 2).expect("fits");
    for _ in 0..2 {
        let id = w.chunk_id();
        w.view.rows.insert(keys::set(id.set), set.encode());
        let extent = Extent {
            offset: 0,
            len: 10,
            chunk: id,
            chunk_offset: 0,
        };
        let written = NewChunk {
            on_disk: vec![NodeId(1), NodeId(2), BACK],
            ..chunk(id, 10)
        };
        w.run(&commit(vec![written], f, vec![extent])).expect("good");
        assert!(w.view.rows.contains_key(&keys::missing(id, BACK)));
        assert!(!w.view.rows.contains_key(&keys::missing(id, NodeId(1))));
        // While it joins, and as a full member.
        let _ = set.finish(BACK, now);
    }
    assert!(set.is_before(BACK, 5) && !set.is_before(BACK, 1 << 20));
    w.check();
}

#[test]
fn members_that_joined_after_the_write_lack_the_chunk() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let id = w.chunk_id();
    let mut set = SetRow::new(vec![NodeId(1), NodeId(2), NodeId(3)]);
    set.begin_move(NodeId(3), NodeId(4), 9, 1).expect("fits");
    w.view.rows.insert(keys::set(id.set), set.encode());
    let at = |chunk| {
        vec![Extent {
            offset: 0,
            len: 10,
            chunk,
            chunk_offset: 0,
        }]
    };
    // The writer knew the members of before and reached two of them.
    let written = |on_disk: &[u32]| NewChunk {
        missing: vec![NodeId(2)],
        on_disk: on_disk.iter().copied().map(NodeId).collect(),
        ..chunk(id, 10)
    };
    let gone = commit(vec![written(&[7, 8])], f, at(id));
    assert_eq!(w.refused(&gone), WouldBlock, "no member has it any more");
    w.run(&commit(vec![written(&[1, 3])], f, at(id))).expect("good");
    let lacking = [2, 4].map(|node| w.view.rows.contains_key(&keys::missing(id, NodeId(node))));
    assert_eq!((lacking, w.count(prefix::missing_of(id))), ([true, true], 2));
    let stranger = Op::SetMissing {
        chunk: id,
        node: NodeId(9),
        missing: true,
    };
    w.run_as(SessionId::COORDINATOR, &stranger).expect("its own");
    assert_eq!(w.count(prefix::missing_of(id)), 2, "it is no member");
    w.check();
}
