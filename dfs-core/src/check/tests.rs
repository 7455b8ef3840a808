//! The checker finds each kind of damage, and names the place by its path.

use super::{Checker, ProblemKind};
use crate::ids::{ChunkId, Ino, NodeId, SessionId, SetId};
use crate::keys;
use crate::rows::{
    ChunkRow, CountRow, CounterRow, DentryRow, ExtentRow, GarbageRow, HeldRow, InodeRow, MissingRow,
    OrphanRow, OtherNameRow, Row, WalkRow,
};
use crate::types::{FileKind, Timestamp};
use crate::view::MemoryView;
use crate::volume;

const DIR: Ino = Ino(20);
const FILE: Ino = Ino(21);
const CHUNK: ChunkId = ChunkId {
    set: SetId(1),
    seq: 1,
};
const NOW: Timestamp = Timestamp { secs: 1, nanos: 0 };

fn sums(bytes: i64, files: i64, dirs: i64) -> CountRow {
    CountRow { bytes, files, dirs }
}

/// `/dir/file` with an xattr-less inode and one extent of 100 bytes.
struct Rows(MemoryView);

impl Rows {
    fn new() -> Rows {
        let mut view = MemoryView::default();
        view.apply(&volume::initial_rows(NOW));
        let mut rows = Rows(view);
        let root = rows.get::<InodeRow>(keys::inode(Ino::ROOT));
        rows.put(
            keys::inode(Ino::ROOT),
            &InodeRow {
                nlink: 3,
                size: 1,
                ..root.clone()
            },
        );
        rows.put(
            keys::inode(DIR),
            &InodeRow {
                size: 1,
                home: Ino::ROOT,
                place: 0,
                ..root.clone()
            },
        );
        let file = InodeRow {
            kind: FileKind::File,
            nlink: 1,
            size: 100,
            blocks: 1,
            parent: Ino(0),
            home: DIR,
            place: 0,
            ..root
        };
        rows.put(keys::inode(FILE), &file);
        rows.put(
            keys::dentry(Ino::ROOT, b"dir"),
            &DentryRow {
                ino: DIR,
                kind: FileKind::Directory,
            },
        );
        rows.put(
            keys::dentry(DIR, b"file"),
            &DentryRow {
                ino: FILE,
                kind: FileKind::File,
            },
        );
        let extent = ExtentRow {
            len: 100,
            chunk: CHUNK,
            chunk_offset: 28,
        };
        rows.put(keys::extent(FILE, 0, 100), &extent);
        let chunk = ChunkRow {
            len: 128,
            live_bytes: 100,
            references: 1,
            sha256: [0; 32],
            missing: 0,
        };
        rows.put(keys::chunk(CHUNK), &chunk);
        // The directory's sums know of the file, those of the root do not yet.
        rows.put(keys::tree(DIR), &sums(100, 1, 0));
        rows.put(keys::arrived(Ino::ROOT), &sums(100, 1, 1));
        rows.put(keys::counter(b"next_ino"), &CounterRow { value: 22 });
        rows.put(keys::counter(b"inodes"), &CounterRow { value: 3 });
        rows.put(keys::counter(b"bytes"), &CounterRow { value: 128 });
        rows
    }

    fn get<R: Row>(&self, key: Vec<u8>) -> R {
        R::decode(&key, &self.0.rows[&key]).unwrap()
    }

    fn put<R: Row>(&mut self, key: Vec<u8>, row: &R) {
        self.0.rows.insert(key, row.encode());
    }

    fn change(&mut self, ino: Ino, change: impl FnOnce(&mut InodeRow)) {
        let mut row = self.get::<InodeRow>(keys::inode(ino));
        change(&mut row);
        self.put(keys::inode(ino), &row);
    }

    fn change_chunk(&mut self, change: impl FnOnce(&mut ChunkRow)) {
        let mut row = self.get::<ChunkRow>(keys::chunk(CHUNK));
        change(&mut row);
        self.put(keys::chunk(CHUNK), &row);
    }

    fn problems(&self) -> Vec<(ProblemKind, String)> {
        let mut checker = Checker::new();
        for (key, value) in &self.0.rows {
            checker.feed(key, value);
        }
        checker
            .finish()
            .into_iter()
            .map(|problem| (problem.kind, problem.place))
            .collect()
    }

    fn kinds(&self) -> Vec<ProblemKind> {
        self.problems().into_iter().map(|(kind, _)| kind).collect()
    }
}

/// The kinds that are found after a change of sound rows.
fn after(change: impl FnOnce(&mut Rows)) -> Vec<ProblemKind> {
    let mut rows = Rows::new();
    assert_eq!(rows.problems(), []);
    change(&mut rows);
    rows.kinds()
}

#[test]
fn places_are_paths() {
    let mut rows = Rows::new();
    rows.change(FILE, |row| row.nlink = 2);
    assert_eq!(
        rows.problems(),
        [(ProblemKind::LinkCount, "/dir/file (inode 21)".to_owned())]
    );
    let mut checker = Checker::new();
    for (key, value) in &Rows::new().0.rows {
        checker.feed(key, value);
    }
    assert_eq!(checker.path(Ino::ROOT), Some("/".to_owned()));
    assert_eq!(
        (checker.path(FILE), checker.path(Ino(99))),
        (Some("/dir/file".to_owned()), None)
    );
    assert_eq!(checker.totals(), (3, 128));
}

#[test]
fn names_and_inodes() {
    use ProblemKind::*;
    let found = after(|rows| drop(rows.0.rows.remove(&keys::inode(FILE))));
    assert_eq!(found, [DanglingEntry, StrayExtents, Counters]);
    let found = after(|rows| drop(rows.0.rows.remove(&keys::dentry(DIR, b"file"))));
    assert_eq!(found, [DirectorySize, Unreachable, LinkCount]);
    let wrong = DentryRow {
        ino: FILE,
        kind: FileKind::Fifo,
    };
    assert_eq!(
        after(|rows| rows.put(keys::dentry(DIR, b"file"), &wrong)),
        [WrongKind]
    );
    assert_eq!(
        after(|rows| rows.change(DIR, |row| row.size = 2)),
        [DirectorySize]
    );
    assert_eq!(after(|rows| rows.change(DIR, |row| row.parent = DIR)), [Parent]);
    assert_eq!(
        after(|rows| rows.change(Ino::ROOT, |row| row.nlink = 2)),
        [LinkCount]
    );
    // Two directories in each other: no way up.
    let found = after(|rows| {
        rows.0.rows.remove(&keys::dentry(Ino::ROOT, b"dir"));
        rows.put(
            keys::dentry(DIR, b"dir"),
            &DentryRow {
                ino: DIR,
                kind: FileKind::Directory,
            },
        );
        rows.change(Ino::ROOT, |row| (row.nlink, row.size) = (2, 0));
        rows.change(DIR, |row| (row.parent, row.nlink, row.size) = (DIR, 3, 2));
    });
    assert_eq!(found, [Unreachable]);
    assert_eq!(after(|rows| rows.change(FILE, |row| row.xattrs = 1)), [Xattrs]);
    let stray = crate::rows::XattrRow { value: vec![] };
    assert_eq!(
        after(|rows| rows.put(keys::xattr(Ino(2), b"user.a"), &stray)),
        [Xattrs]
    );
}

#[test]
fn orphans() {
    use ProblemKind::*;
    let session = SessionId(5);
    let holders = OrphanRow {
        holders: vec![session],
        linkable: false,
        origin: None,
    };
    let orphan = |rows: &mut Rows| {
        rows.0.rows.remove(&keys::dentry(DIR, b"file"));
        rows.change(DIR, |row| row.size = 0);
        rows.change(FILE, |row| row.nlink = 0);
        rows.0.rows.remove(&keys::tree(DIR));
        rows.put(keys::arrived(Ino::ROOT), &sums(0, 0, 1));
        rows.put(keys::orphan(FILE), &holders);
        rows.put(keys::held(session, FILE), &HeldRow);
    };
    assert_eq!(after(orphan), []);
    let found = after(|rows| {
        orphan(rows);
        rows.0.rows.remove(&keys::held(session, FILE));
    });
    assert_eq!(found, [Orphan]);
    let found = after(|rows| {
        orphan(rows);
        rows.0.rows.remove(&keys::held(session, FILE));
        rows.put(keys::orphan(FILE), &OrphanRow::default());
    });
    assert_eq!(found, [Orphan]);
    assert_eq!(
        after(|rows| rows.put(keys::orphan(FILE), &holders)),
        [Orphan, Orphan],
        "named, and no index"
    );
    let found = after(|rows| {
        rows.put(keys::orphan(Ino(77)), &holders);
        rows.put(keys::held(session, Ino(77)), &HeldRow);
    });
    assert_eq!(found, [Orphan]);
}

#[test]
fn content() {
    use ProblemKind::*;
    assert_eq!(after(|rows| rows.change(FILE, |row| row.blocks = 2)), [Blocks]);
    assert_eq!(
        after(|rows| rows.change(FILE, |row| row.content = 1)),
        [StrayExtents, Blocks]
    );
    assert_eq!(
        after(|rows| rows.change_chunk(|row| row.references = 2)),
        [ChunkCounts]
    );
    assert_eq!(
        after(|rows| rows.change_chunk(|row| row.live_bytes = 2)),
        [ChunkCounts]
    );
    assert_eq!(
        after(|rows| rows.change_chunk(|row| row.len = 127)),
        [DanglingExtent, Counters]
    );
    assert_eq!(
        after(|rows| rows.change_chunk(|row| row.missing = 1)),
        [ChunkState]
    );
    assert_eq!(
        after(|rows| drop(rows.0.rows.remove(&keys::chunk(CHUNK)))),
        [DanglingExtent, Counters]
    );
    assert_eq!(
        after(|rows| rows.put(keys::garbage(CHUNK), &GarbageRow { since: NOW })),
        [ChunkState]
    );
    let stray = ChunkId { seq: 9, ..CHUNK };
    let missing = keys::missing(stray, NodeId(1));
    assert_eq!(
        after(|rows| rows.put(missing, &MissingRow { since: NOW })),
        [ChunkState]
    );
    let overlapping = ExtentRow {
        len: 50,
        chunk: ChunkId::ZEROS,
        chunk_offset: 0,
    };
    let found = after(|rows| {
        rows.put(keys::extent(FILE, 0, 120), &overlapping);
        rows.change(FILE, |row| row.blocks = 2);
    });
    assert_eq!(found, [Extents]);
    let found = after(|rows| {
        rows.0.rows.remove(&keys::extent(FILE, 0, 100));
    });
    assert_eq!(found, [Blocks, ChunkCounts]);
    let empty = ExtentRow {
        len: 0,
        ..overlapping
    };
    assert_eq!(
        after(|rows| rows.put(keys::extent(FILE, 0, 200), &empty)),
        [Extents]
    );
}

#[test]
fn damage_and_counters() {
    use ProblemKind::*;
    assert_eq!(
        after(|rows| drop(rows.0.rows.insert(b"?".to_vec(), vec![]))),
        [Damaged]
    );
    assert_eq!(
        after(|rows| drop(rows.0.rows.insert(keys::node(NodeId(1)), vec![9]))),
        [Damaged]
    );
    let mut moved = keys::dentry(DIR, b"other");
    moved.truncate(17);
    moved.extend_from_slice(b"else");
    let row = DentryRow {
        ino: FILE,
        kind: FileKind::File,
    };
    assert_eq!(
        after(|rows| rows.put(moved, &row)),
        [Damaged],
        "a name under another name's hash"
    );
    for name in [&b"inodes"[..], b"bytes", b"next_ino"] {
        assert_eq!(
            after(|rows| rows.put(keys::counter(name), &CounterRow { value: 4 })),
            [Counters]
        );
    }
}

#[test]
fn sums_of_directories() {
    use ProblemKind::*;
    let found = after(|rows| rows.put(keys::tree(DIR), &sums(99, 1, 0)));
    assert_eq!(
        found,
        [Sums],
        "a byte too little, and what the root has got is right"
    );
    // What is on its way to a directory is on its way to those above it, too.
    let found = after(|rows| rows.put(keys::arrived(DIR), &sums(1, 0, 0)));
    assert_eq!(found, [Sums, Sums]);
    let found = after(|rows| rows.put(keys::tree(Ino(77)), &sums(1, 0, 0)));
    assert_eq!(found, [Sums], "of a directory that is gone");
    let found = after(|rows| rows.change(FILE, |row| row.size = 101));
    assert_eq!(found, [Sums, Sums]);
    let found = after(|rows| rows.change(FILE, |row| row.home = Ino(0)));
    assert!(
        found.len() > 1 && found.iter().all(|kind| *kind == Sums),
        "{found:?}"
    );
    let other = keys::other_name(FILE, Ino::ROOT, keys::name_hash(b"second"));
    let found = after(|rows| rows.put(other.clone(), &OtherNameRow));
    assert_eq!(found, [Sums], "a name that it has not");
    // A second name is known to the sums and counts nothing.
    let second = |rows: &mut Rows| {
        let entry = DentryRow {
            ino: FILE,
            kind: FileKind::File,
        };
        rows.put(keys::dentry(Ino::ROOT, b"second"), &entry);
        rows.change(FILE, |row| row.nlink = 2);
        rows.change(Ino::ROOT, |row| row.size = 2);
    };
    assert_eq!(after(second), [Sums]);
    let found = after(|rows| {
        second(rows);
        rows.put(other, &OtherNameRow);
    });
    assert_eq!(found, []);
    let found = after(|rows| {
        rows.put(keys::tree(DIR), &sums(99, 1, 0));
        rows.put(keys::uncounted(DIR), &WalkRow::default());
    });
    assert_eq!(found, [], "while it is counted nobody can tell");
}
