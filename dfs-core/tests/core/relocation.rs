//! Rewriting content into new chunks: what still is what was read changes its chunk, everything else stays.

use crate::world::*;
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, Ino, SessionId};
use dfs_core::keys::prefix;
use dfs_core::op::*;
use dfs_core::types::*;

fn new_chunk(world: &mut World, len: u32) -> NewChunk {
    world.session = SessionId::COORDINATOR;
    let id = world.chunk_id();
    world.session = ALICE;
    NewChunk {
        id,
        len,
        sha256: [1; 32],
        missing: Vec::new(),
        on_disk: Vec::new(),
    }
}

fn extents(world: &mut World, ino: Ino) -> Vec<Extent> {
    let all = Op::GetExtents {
        ino,
        offset: 0,
        len: u64::MAX,
    };
    match world.run(&all) {
        Ok(Reply::Extents { extents, .. }) => extents,
        other => panic!("{other:?}"),
    }
}

fn relocate(world: &mut World, chunk: NewChunk, moves: Vec<Move>) -> Result<Reply, FsError> {
    let op = Op::Relocate(Relocate {
        chunk: Some(chunk),
        moves,
    });
    let result = world.run_as(SessionId::COORDINATOR, &op);
    world.check();
    result
}

fn whole(ino: Ino, old: &[Extent], chunk_offset: u32) -> Move {
    Move {
        ino,
        content: 0,
        old: old.to_vec(),
        chunk_offset,
    }
}

fn chunks(world: &mut World, ino: Ino) -> Vec<ChunkId> {
    extents(world, ino).iter().map(|extent| extent.chunk).collect()
}

#[test]
fn live_parts_move_and_the_old_chunk_is_garbage() {
    let mut world = World::new();
    let (a, b) = (world.file(ROOT, "a"), world.file(ROOT, "b"));
    let old = world.chunk_id();
    let commit = Op::Commit(Commit {
        chunks: vec![NewChunk {
            id: old,
            len: 300,
            sha256: [0; 32],
            missing: Vec::new(),
            on_disk: Vec::new(),
        }],
        files: [(a, 0), (b, 200)]
            .map(|(ino, chunk_offset)| FileCommit {
                ino,
                extents: vec![Extent {
                    offset: 0,
                    len: 100,
                    chunk: old,
                    chunk_offset,
                }],
                mtime: Timestamp::default(),
                atime: None,
                kill_suidgid: false,
            })
            .to_vec(),
    });
    world.run(&commit).expect("whole");
    let (in_a, in_b) = (extents(&mut world, a), extents(&mut world, b));
    let before = world.attr(a);
    // b is written while its bytes are copied.
    let newer = world.write(b, 50, 10);
    let chunk = new_chunk(&mut world, 200);
    let id = chunk.id;
    let done = relocate(&mut world, chunk, vec![whole(a, &in_a, 0), whole(b, &in_b, 100)]);
    assert_eq!(done, Ok(Reply::Done));
    assert_eq!(chunks(&mut world, a), [id]);
    assert_eq!(chunks(&mut world, b), [old, newer, old], "what changed stays");
    let after = world.attr(a);
    assert_eq!(
        (after.mtime, after.ctime, after.size),
        (before.mtime, before.ctime, before.size)
    );
    let in_b = extents(&mut world, b);
    let chunk = new_chunk(&mut world, 90);
    let moves = vec![whole(b, &in_b[..1], 0), whole(b, &in_b[2..], 50)];
    assert_eq!(relocate(&mut world, chunk, moves), Ok(Reply::Done));
    assert_eq!(world.count(prefix::garbage()), 1, "the old chunk");
}

#[test]
fn many_extents_become_one() {
    let mut world = World::new();
    let file = world.file(ROOT, "f");
    for n in 0..10 {
        world.write(file, n * 7, 7);
    }
    let old = extents(&mut world, file);
    let chunk = new_chunk(&mut world, 70);
    let id = chunk.id;
    assert_eq!(
        relocate(&mut world, chunk, vec![whole(file, &old, 0)]),
        Ok(Reply::Done)
    );
    assert_eq!(world.extents(file), [(0, 70, id.seq, 0)]);
    assert_eq!(world.count(prefix::garbage()), 10);
}

#[test]
fn removed_and_truncated_files_are_left_alone_and_nonsense_is_refused() {
    let mut world = World::new();
    let (gone, cut) = (world.file(ROOT, "gone"), world.file(ROOT, "cut"));
    world.write(gone, 0, 10);
    world.write(cut, 0, 10);
    let (in_gone, in_cut) = (extents(&mut world, gone), extents(&mut world, cut));
    world.unlink(ROOT, "gone").expect("there");
    let changes = AttrChanges {
        size: Some(5),
        ..AttrChanges::default()
    };
    world.set_attr(cut, changes).expect("shorter");
    let chunk = new_chunk(&mut world, 20);
    let moves = vec![whole(gone, &in_gone, 0), whole(cut, &in_cut, 10)];
    assert_eq!(relocate(&mut world, chunk.clone(), moves), Ok(Reply::Done));
    assert_eq!(world.count(prefix::chunks()), 1);
    assert_eq!(
        relocate(&mut world, chunk, Vec::new()),
        Err(FsError::Invalid),
        "used before"
    );
    let now = extents(&mut world, cut);
    let chunk = new_chunk(&mut world, 4);
    let too_long = relocate(&mut world, chunk.clone(), vec![whole(cut, &now, 0)]);
    assert_eq!(too_long, Err(FsError::Invalid));
    let op = Op::Relocate(Relocate {
        chunk: Some(chunk),
        moves: Vec::new(),
    });
    assert_eq!(world.refused(&op), FsError::NotPermitted, "only the coordinator");
}
