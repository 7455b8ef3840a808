//! A volume in memory with sessions that open files, and short forms of the operations. All tests use it.

use dfs_core::check::Checker;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{ChunkId, Ino, SessionId, SetId};
use dfs_core::keys;
use dfs_core::op::*;
use dfs_core::rows::InodeRow;
use dfs_core::types::*;
use dfs_core::view::{Context, MemoryView, Opens};
use dfs_core::{namespace, volume};
use std::collections::BTreeSet;

pub const ALICE: SessionId = SessionId(1);
pub const BOB: SessionId = SessionId(2);
pub const SET: SetId = SetId(1);
pub const ROOT: Ino = Ino::ROOT;

#[derive(Debug, Default)]
pub struct OpenFiles(pub BTreeSet<(Ino, SessionId)>);

impl Opens for OpenFiles {
    fn holders_open(&self, ino: Ino) -> Vec<SessionId> {
        self.0
            .iter()
            .filter(|(open, _)| *open == ino)
            .map(|(_, session)| *session)
            .collect()
    }
}

pub struct World {
    pub view: MemoryView,
    pub open: OpenFiles,
    pub session: SessionId,
    pub who: Credentials,
    pub clock: i64,
    pub next_ino: u64,
    pub usage: VolumeUsage,
    /// As the coordinators of before executed, when not.
    pub counts: bool,
    /// Reads and writes of the last operation.
    pub reads: BTreeSet<Ino>,
    pub writes: BTreeSet<Ino>,
}

impl World {
    pub fn new() -> World {
        let mut view = MemoryView::default();
        view.apply(&volume::initial_rows(Timestamp { secs: 1, nanos: 0 }));
        // The world gives the numbers itself, as the coordinator does.
        view.rows.remove(&keys::counter(b"next_ino"));
        World {
            view,
            open: OpenFiles::default(),
            session: ALICE,
            who: Credentials { uid: 1000, gid: 1000 },
            clock: 1,
            next_ino: Ino::FIRST.0,
            usage: VolumeUsage {
                total_bytes: 1 << 40,
                available_bytes: 1 << 40,
                ..VolumeUsage::default()
            },
            counts: true,
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
        }
    }

    /// A volume of a program that kept no sums, which still executes.
    pub fn without_sums() -> World {
        let mut world = World::new();
        world.view.rows.remove(&keys::setting(namespace::COUNTS_BEGUN));
        let key = keys::inode(ROOT);
        let mut root = InodeRow::decode(&key, &world.view.rows[&key]).expect("whole");
        root.place = 0;
        world.view.rows.insert(key, root.encode());
        world.counts = false;
        world
    }

    pub fn now(&self) -> Timestamp {
        Timestamp {
            secs: self.clock,
            nanos: 7,
        }
    }

    /// Executes at the next second and checks what holds for every execution.
    pub fn run(&mut self, op: &Op) -> FsResult<Reply> {
        self.clock += 1;
        let context = Context {
            now: self.now(),
            session: self.session,
            fresh_ino: Ino(self.next_ino),
            set: Some(SET),
            usage: self.usage,
            opens: &self.open,
            counts: self.counts,
        };
        let done = namespace::execute(&self.view, &context, op).expect("rows are whole");
        if done.result.is_err() || !op.is_change() {
            assert!(done.effects.is_empty(), "{op:?} left effects: {:?}", done.result);
        }
        if !op.is_internal() {
            let made = |ino: &Ino| match op {
                Op::Ship(shipment) => shipment.steps.iter().any(|step| step.ino == *ino),
                _ => ino.0 == self.next_ino,
            };
            for key in done.effects.rows.keys() {
                if let Some(ino) = keys::owner_inode(key).filter(|ino| !made(ino)) {
                    assert!(
                        done.writes.contains(&ino),
                        "{op:?} wrote inode {ino} and does not say so"
                    );
                }
            }
        }
        if done.effects.rows.contains_key(&keys::inode(Ino(self.next_ino))) {
            self.next_ino += 1;
        }
        self.view.apply(&done.effects);
        (self.reads, self.writes) = (done.reads, done.writes);
        done.result
    }

    pub fn run_as(&mut self, session: SessionId, op: &Op) -> FsResult<Reply> {
        let before = std::mem::replace(&mut self.session, session);
        let result = self.run(op);
        self.session = before;
        result
    }

    /// Refusal of an operation that must be refused.
    pub fn refused(&mut self, op: &Op) -> FsError {
        self.run(op).expect_err("this must be refused")
    }

    pub fn check(&self) {
        let mut checker = Checker::new();
        for (key, value) in &self.view.rows {
            checker.feed(key, value);
        }
        let (inodes, bytes) = checker.totals();
        assert_eq!(
            (inodes as i64, bytes as i64),
            (self.view.inodes, self.view.bytes),
            "counters"
        );
        assert_eq!(checker.finish(), Vec::new());
    }

    pub fn make_op(&self, parent: Ino, name: &str, kind: FileKind) -> Make {
        Make {
            parent,
            name: name.into(),
            kind,
            mode: 0o777,
            umask: 0o022,
            rdev: 0x0801,
            target: if kind == FileKind::Symlink {
                b"target".to_vec()
            } else {
                Vec::new()
            },
            exclusive: true,
            who: self.who,
        }
    }

    pub fn make(&mut self, parent: Ino, name: &str, kind: FileKind) -> Ino {
        self.made(self.make_op(parent, name, kind)).ino
    }

    pub fn made(&mut self, make: Make) -> Attr {
        match self.run(&Op::Make(make)) {
            Ok(Reply::Entry { attr, created: true }) => attr,
            other => panic!("{other:?}"),
        }
    }

    pub fn file(&mut self, parent: Ino, name: &str) -> Ino {
        self.make(parent, name, FileKind::File)
    }

    pub fn dir(&mut self, parent: Ino, name: &str) -> Ino {
        self.make(parent, name, FileKind::Directory)
    }

    /// Also of what only its holders are told.
    pub fn attr(&mut self, ino: Ino) -> Attr {
        match self.run_as(SessionId::COORDINATOR, &Op::GetAttr { ino }) {
            Ok(Reply::Attr(attr)) => attr,
            other => panic!("{other:?}"),
        }
    }

    pub fn set_attr(&mut self, ino: Ino, changes: AttrChanges) -> FsResult<Attr> {
        self.run(&Op::SetAttr { ino, changes }).map(|reply| match reply {
            Reply::Attr(attr) => attr,
            other => panic!("{other:?}"),
        })
    }

    pub fn unlink(&mut self, parent: Ino, name: &str) -> FsResult<Reply> {
        self.run(&Op::Unlink(Unlink {
            parent,
            name: name.into(),
            expect: None,
        }))
    }

    pub fn rename(&mut self, from: (Ino, &str), to: (Ino, &str), mode: RenameMode) -> FsResult<Reply> {
        self.run(&Op::Rename(Rename {
            parent: from.0,
            name: from.1.into(),
            new_parent: to.0,
            new_name: to.1.into(),
            mode,
            expect: None,
        }))
    }

    /// A chunk id leased to the session.
    pub fn chunk_id(&mut self) -> ChunkId {
        match self.run(&Op::AllocChunks {
            count: 1,
            avoid: Vec::new(),
        }) {
            Ok(Reply::ChunkRange { set, first, count: 1 }) => ChunkId { set, seq: first },
            other => panic!("{other:?}"),
        }
    }

    /// Writes `[offset, offset+len)` from a chunk of its own.
    pub fn write(&mut self, ino: Ino, offset: u64, len: u32) -> ChunkId {
        let id = self.chunk_id();
        let commit = commit_op(id, len, ino, &[(offset, u64::from(len), 0)], self.now());
        assert_eq!(self.run(&commit), Ok(Reply::Done));
        id
    }

    pub fn extents(&mut self, ino: Ino) -> Vec<(u64, u64, u64, u32)> {
        match self.run(&Op::GetExtents {
            ino,
            offset: 0,
            len: u64::MAX,
        }) {
            Ok(Reply::Extents { extents, .. }) => extents
                .iter()
                .map(|extent| (extent.offset, extent.len, extent.chunk.seq, extent.chunk_offset))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Keys of a family, for what must be there or gone.
    pub fn count(&self, (start, end): keys::KeyRange) -> usize {
        self.view.rows.range(start..end).count()
    }
}

/// A commit of one chunk into one file; extents are (offset, len, offset in chunk).
pub fn commit_op(id: ChunkId, len: u32, ino: Ino, extents: &[(u64, u64, u32)], mtime: Timestamp) -> Op {
    let extents = extents
        .iter()
        .map(|(offset, len, at)| Extent {
            offset: *offset,
            len: *len,
            chunk: id,
            chunk_offset: *at,
        })
        .collect();
    Op::Commit(Commit {
        chunks: vec![NewChunk {
            id,
            len,
            sha256: [0; 32],
            missing: Vec::new(),
            on_disk: Vec::new(),
        }],
        files: vec![FileCommit {
            ino,
            extents,
            mtime,
            atime: None,
            kill_suidgid: false,
        }],
    })
}
