//! Content: allocation, sharing, purging, listing of extents.

use crate::world::*;
use dfs_core::error::FsError::*;
use dfs_core::error::FsResult;
use dfs_core::ids::{ChunkId, Ino, SessionId};
use dfs_core::keys::{self, prefix};
use dfs_core::op::*;
use dfs_core::rows::ChunkRow;
use dfs_core::types::*;

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

    pub fn chunk_row(&self, id: ChunkId) -> Option<ChunkRow> {
        let key = keys::chunk(id);
        self.view
            .rows
            .get(&key)
            .map(|row| ChunkRow::decode(&key, row).expect("whole"))
    }
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
