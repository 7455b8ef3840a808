//! Random sequences of operations: `execute` and the naive reference must agree on every result and on the
//! whole tree after every step, and the checker must find nothing. Failing sequences shrink.

use crate::model::{Byte, Model};
use crate::world::*;
use dfs_core::error::FsError;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::keys::{self, prefix};
use dfs_core::op::*;
use dfs_core::rows::{InodeRow, RangeRow};
use dfs_core::types::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A step; inodes are places in a list (mostly of those that fit the operation, else of all that were ever
/// made), names are letters (mostly some that exist, where the operation wants one), sessions are two.
#[derive(Clone, Debug)]
enum Step {
    Make(usize, u8, u8, u32),
    Temp(usize, bool),
    Link(usize, usize, u8),
    Unlink(usize, u8),
    Rmdir(usize, u8),
    Rename(usize, u8, usize, u8, u8),
    Chmod(usize, u32),
    Chown(usize, u32),
    Truncate(usize, u64),
    Write(usize, u64, u64, bool),
    Allocate(usize, u8, bool, u64, u64),
    Copy(usize, u64, usize, u64, u64),
    SetXattr(usize, u8, bool),
    RemoveXattr(usize, u8),
    Open(usize, bool),
    Close(usize, bool),
    EndSession(bool),
    Purge(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let ino = || 0..12usize;
    let name = || 0..6u8;
    let mode = || {
        prop_oneof![
            Just(0o644u32),
            Just(0o2775),
            Just(0o6755),
            Just(0o4711),
            Just(0o1777)
        ]
    };
    prop_oneof![
        6 => (ino(), name(), 0..6u8, mode()).prop_map(|(a, b, c, d)| Step::Make(a, b, c, d)),
        1 => (ino(), any::<bool>()).prop_map(|(a, b)| Step::Temp(a, b)),
        2 => (ino(), ino(), name()).prop_map(|(a, b, c)| Step::Link(a, b, c)),
        2 => (ino(), name()).prop_map(|(a, b)| Step::Unlink(a, b)),
        2 => (ino(), name()).prop_map(|(a, b)| Step::Rmdir(a, b)),
        5 => (ino(), name(), ino(), name(), 0..3u8).prop_map(|(a, b, c, d, e)| Step::Rename(a, b, c, d, e)),
        1 => (ino(), mode()).prop_map(|(a, b)| Step::Chmod(a, b)),
        1 => (ino(), 0..3u32).prop_map(|(a, b)| Step::Chown(a, b)),
        2 => (ino(), 0..40u64).prop_map(|(a, b)| Step::Truncate(a, b)),
        4 => (ino(), 0..32u64, 1..16u64, any::<bool>()).prop_map(|(a, b, c, d)| Step::Write(a, b, c, d)),
        2 => (ino(), 0..3u8, any::<bool>(), 0..32u64, 0..16u64)
            .prop_map(|(a, b, c, d, e)| Step::Allocate(a, b, c, d, e)),
        3 => (ino(), 0..32u64, ino(), 0..32u64, 0..24u64).prop_map(|(a, b, c, d, e)| Step::Copy(a, b, c, d, e)),
        1 => (ino(), 0..3u8, any::<bool>()).prop_map(|(a, b, c)| Step::SetXattr(a, b, c)),
        1 => (ino(), 0..3u8).prop_map(|(a, b)| Step::RemoveXattr(a, b)),
        2 => (ino(), any::<bool>()).prop_map(|(a, b)| Step::Open(a, b)),
        2 => (ino(), any::<bool>()).prop_map(|(a, b)| Step::Close(a, b)),
        1 => any::<bool>().prop_map(Step::EndSession),
        1 => (1..4u32).prop_map(Step::Purge),
    ]
}

/// Places and names from here on are taken as they are, so that refusals are met too.
const ANY_PLACE: usize = 10;
const ANY_NAME: u8 = 4;

fn name_of(number: u8) -> Vec<u8> {
    match number {
        5 => vec![b'n'; NAME_MAX + 1],
        number => vec![b'a' + number],
    }
}

fn session(second: bool) -> SessionId {
    if second { BOB } else { ALICE }
}

struct Pair {
    world: World,
    model: Model,
    /// Every inode that was ever made.
    inos: Vec<u64>,
    rows: BTreeMap<u64, Vec<u8>>,
}

impl Pair {
    fn new() -> Pair {
        Pair {
            world: World::new(),
            model: Model::new(1),
            inos: vec![1],
            rows: BTreeMap::new(),
        }
    }

    fn ino(&self, place: usize) -> u64 {
        self.inos[place % self.inos.len()]
    }

    fn of_kind(&self, place: usize, kind: FileKind) -> u64 {
        let fit = self
            .model
            .nodes
            .iter()
            .filter(|(_, node)| node.kind == kind)
            .map(|(ino, _)| *ino);
        let fit: Vec<u64> = fit.collect();
        if place >= ANY_PLACE || fit.is_empty() {
            return self.ino(place);
        }
        fit[place % fit.len()]
    }

    fn dir(&self, place: usize) -> u64 {
        self.of_kind(place, FileKind::Directory)
    }

    fn file(&self, place: usize) -> u64 {
        self.of_kind(place, FileKind::File)
    }

    /// An entry that exists, mostly.
    fn entry(&self, place: usize, name: u8) -> (u64, Vec<u8>) {
        let nodes = self.model.nodes.iter();
        let entries: Vec<(u64, &Vec<u8>)> = nodes
            .flat_map(|(ino, node)| node.children.keys().map(|name| (*ino, name)))
            .collect();
        if name >= ANY_NAME || entries.is_empty() {
            return (self.dir(place), name_of(name));
        }
        let (parent, name) = entries[(place * usize::from(ANY_NAME) + usize::from(name)) % entries.len()];
        (parent, name.clone())
    }

    fn run(&mut self, op: Op) -> Result<Reply, FsError> {
        let result = self.world.run(&op);
        self.model.now = self.world.clock;
        result
    }

    /// Executes; then the reference does the same at the same time and must agree on the result.
    fn agree(&mut self, op: Op, reference: impl FnOnce(&mut Model) -> Result<(), FsError>) -> Option<Reply> {
        let shown = format!("{op:?}");
        let result = self.run(op);
        let expected = reference(&mut self.model);
        assert_eq!(result.clone().map(|_| ()), expected, "{shown}");
        result.ok()
    }

    fn made(&mut self, op: Op, parent: u64, name: Option<Vec<u8>>, kind: FileKind, mode: u32) -> Option<u64> {
        let ino = self.world.next_ino;
        self.agree(op, |model| model.make(ino, parent, name.as_deref(), kind, mode))?;
        self.inos.push(ino);
        Some(ino)
    }

    /// What the session says when it removes the inode: the truth about its own opens, sometimes nothing.
    fn expect(&self, parent: u64, name: &[u8]) -> Option<(Ino, bool)> {
        let ino = *self.model.nodes.get(&parent)?.children.get(name)?;
        let held = self.world.open.0.contains(&(Ino(ino), self.world.session));
        (self.world.clock % 2 == 1).then_some((Ino(ino), held))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Make(parent, name, kind, mode) => self.make(parent, name, kind, mode),
            Step::Temp(parent, second) => {
                let parent = self.dir(parent);
                self.world.session = session(second);
                let who = self.world.who;
                let op = Op::MakeTemp {
                    parent: Ino(parent),
                    mode: 0o644,
                    umask: 0o022,
                    who,
                };
                if let Some(ino) = self.made(op, parent, None, FileKind::File, 0o644) {
                    self.open(ino, second);
                }
                self.world.session = ALICE;
            }
            Step::Link(ino, parent, name) => {
                let (ino, parent, name) = (self.file(ino), self.dir(parent), name_of(name));
                let op = Op::Link {
                    ino: Ino(ino),
                    parent: Ino(parent),
                    name: name.clone(),
                };
                self.agree(op, |model| model.link(ino, parent, &name));
            }
            Step::Unlink(parent, name) => {
                let (parent, name) = self.entry(parent, name);
                let expect = self.expect(parent, &name);
                let op = Op::Unlink(Unlink {
                    parent: Ino(parent),
                    name: name.clone(),
                    expect,
                });
                self.agree(op, |model| model.unlink(parent, &name).map(|_| ()));
            }
            Step::Rmdir(parent, name) => {
                let (parent, name) = self.entry(parent, name);
                let child = self
                    .model
                    .nodes
                    .get(&parent)
                    .and_then(|node| node.children.get(&name));
                let held = child.is_some_and(|ino| self.world.open.0.contains(&(Ino(*ino), ALICE)));
                let op = Op::Rmdir {
                    parent: Ino(parent),
                    name: name.clone(),
                    held,
                };
                self.agree(op, |model| model.rmdir(parent, &name).map(|_| ()));
            }
            Step::Rename(from, name, to, new_name, mode) => self.rename(from, name, to, new_name, mode),
            Step::Chmod(ino, mode) => {
                let ino = self.ino(ino);
                let changes = AttrChanges {
                    mode: Some(mode),
                    ..AttrChanges::default()
                };
                self.agree(
                    Op::SetAttr {
                        ino: Ino(ino),
                        changes,
                    },
                    |model| model.chmod(ino, mode),
                );
            }
            Step::Chown(ino, id) => {
                let ino = self.ino(ino);
                let changes = AttrChanges {
                    uid: Some(id),
                    gid: Some(id + 1),
                    ..AttrChanges::default()
                };
                self.agree(
                    Op::SetAttr {
                        ino: Ino(ino),
                        changes,
                    },
                    |model| model.chown(ino, id, id + 1),
                );
            }
            Step::Truncate(ino, size) => {
                let ino = self.file(ino);
                let changes = AttrChanges {
                    size: Some(size),
                    ..AttrChanges::default()
                };
                self.agree(
                    Op::SetAttr {
                        ino: Ino(ino),
                        changes,
                    },
                    |model| model.truncate(ino, size),
                );
            }
            Step::Open(ino, second) => self.open(self.file(ino), second),
            Step::Close(ino, second) => self.close(self.file(ino), second),
            Step::EndSession(second) => {
                let ended = session(second);
                self.world.open.0.retain(|(_, session)| *session != ended);
                self.world.session = SessionId::COORDINATOR;
                self.agree(Op::EndSession { session: ended.0 }, |model| {
                    model.end_session(ended.0);
                    Ok(())
                });
                self.world.session = ALICE;
            }
            Step::Purge(limit) => {
                self.world.session = SessionId::COORDINATOR;
                self.agree(Op::Purge { limit }, |_| Ok(()));
                self.world.session = ALICE;
            }
            ref content => self.content(content),
        }
    }

    fn make(&mut self, parent: usize, name: u8, kind: u8, mode: u32) {
        let (parent, name) = (self.dir(parent), name_of(name));
        let kind = match kind {
            0 => FileKind::Symlink,
            1 => FileKind::Fifo,
            2 | 3 => FileKind::Directory,
            _ => FileKind::File,
        };
        let op = Make {
            name: name.clone(),
            mode,
            ..self.world.make_op(Ino(parent), "", kind)
        };
        self.made(Op::Make(op), parent, Some(name), kind, mode);
    }

    fn rename(&mut self, from: usize, name: u8, to: usize, new_name: u8, mode: u8) {
        let (parent, name) = self.entry(from, name);
        let (new_parent, new_name) = match to % 2 {
            0 => self.entry(to, new_name),
            _ => (self.dir(to), name_of(new_name)),
        };
        let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][usize::from(mode)];
        let op = Op::Rename(Rename {
            parent: Ino(parent),
            name: name.clone(),
            new_parent: Ino(new_parent),
            new_name: new_name.clone(),
            mode,
            expect: self.expect(new_parent, &new_name),
        });
        let (replace, exchange) = (mode == RenameMode::Replace, mode == RenameMode::Exchange);
        self.agree(op, |model| {
            model.rename((parent, &name), (new_parent, &new_name), replace, exchange)
        });
    }

    /// Opening is the lease table's matter: only what exists and has a name can be opened.
    fn open(&mut self, ino: u64, second: bool) {
        if self.model.nodes.contains_key(&ino) && (self.model.nlink(ino) > 0 || self.model.nodes[&ino].temp) {
            let session = session(second);
            let new_temp = self.model.nodes[&ino].temp && self.model.nodes[&ino].open.is_empty();
            if self.model.nlink(ino) > 0 || new_temp {
                self.world.open.0.insert((Ino(ino), session));
                self.model
                    .nodes
                    .get_mut(&ino)
                    .expect("just seen")
                    .open
                    .insert(session.0);
            }
        }
    }

    fn close(&mut self, ino: u64, second: bool) {
        let session = session(second);
        if self.world.open.0.remove(&(Ino(ino), session)) {
            self.world.session = session;
            self.agree(Op::Release { inos: vec![Ino(ino)] }, |model| {
                model.close(session.0, ino);
                Ok(())
            });
            self.world.session = ALICE;
        }
    }

    fn content(&mut self, step: &Step) {
        match *step {
            Step::Write(ino, offset, len, twice) => {
                let ino = self.file(ino);
                let id = self.world.chunk_id();
                let mut extents = vec![(offset, len, 0)];
                if twice {
                    extents.push((offset + len + 3, len, 0));
                }
                let mtime = Timestamp {
                    secs: self.world.clock + 1,
                    nanos: 7,
                };
                let op = commit_op(id, len as u32, Ino(ino), &extents, mtime);
                self.agree(op, |model| {
                    extents
                        .iter()
                        .try_for_each(|(offset, len, _)| model.write(ino, *offset, *len, id.seq))
                });
            }
            Step::Allocate(ino, mode, keep_size, offset, len) => {
                let ino = self.file(ino);
                let kind = match mode {
                    0 => AllocateMode::Reserve { keep_size },
                    1 => AllocateMode::PunchHole,
                    _ => AllocateMode::ZeroRange { keep_size },
                };
                let op = Op::Allocate {
                    ino: Ino(ino),
                    mode: kind,
                    offset,
                    len,
                };
                self.agree(op, |model| model.allocate(ino, mode, keep_size, offset, len));
            }
            Step::Copy(src, src_offset, dst, dst_offset, len) => {
                let (src, dst) = (self.file(src), self.file(dst));
                let op = Op::CopyRange {
                    src: Ino(src),
                    src_offset,
                    dst: Ino(dst),
                    dst_offset,
                    len,
                };
                let mut expected = 0;
                let reply = self.agree(op, |model| {
                    expected = model.copy((src, src_offset), (dst, dst_offset), len)?;
                    Ok(())
                });
                if let Some(reply) = reply {
                    assert!(matches!(reply, Reply::Copied { len, .. } if len == expected));
                }
            }
            Step::SetXattr(ino, name, create) => {
                let (ino, name) = (self.ino(ino), format!("user.{name}").into_bytes());
                let value = self.world.clock.to_string().into_bytes();
                let mode = if create { XattrMode::Create } else { XattrMode::Any };
                let op = Op::SetXattr {
                    ino: Ino(ino),
                    name: name.clone(),
                    value: value.clone(),
                    mode,
                    kill_sgid: false,
                };
                self.agree(op, |model| model.set_xattr(ino, &name, &value, create));
            }
            Step::RemoveXattr(ino, name) => {
                let (ino, name) = (self.ino(ino), format!("user.{name}").into_bytes());
                let op = Op::RemoveXattr {
                    ino: Ino(ino),
                    name: name.clone(),
                };
                self.agree(op, |model| model.remove_xattr(ino, &name));
            }
            ref other => unreachable!("{other:?} is no step of content"),
        }
    }

    /// The whole tree, the versions, and the checker.
    fn compare(&mut self) {
        self.world.check();
        let (start, end) = prefix::inodes();
        let mut found: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (key, value) in self.world.view.rows.range(start..end) {
            if let Some(keys::Key::Inode(Ino(ino))) = keys::parse(key) {
                found.insert(ino, value.clone());
            }
        }
        let inos: Vec<u64> = found.keys().copied().collect();
        assert_eq!(inos, self.model.nodes.keys().copied().collect::<Vec<u64>>());
        for (ino, bytes) in &found {
            let row = InodeRow::decode(&[], bytes).expect("whole");
            if let Some(before) = self.rows.get(ino).filter(|before| *before != bytes) {
                let before = InodeRow::decode(&[], before).expect("whole");
                assert!(
                    row.version > before.version,
                    "a change without a new version: {before:?} {row:?}"
                );
            }
            self.compare_inode(*ino, &row);
        }
        self.rows = found;
    }

    fn compare_inode(&mut self, ino: u64, row: &InodeRow) {
        let node = &self.model.nodes[&ino];
        let expected = (
            node.kind,
            node.mode,
            node.uid,
            node.gid,
            self.model.nlink(ino),
            self.model.size(ino),
        );
        assert_eq!(
            (row.kind, row.mode, row.uid, row.gid, row.nlink, row.size),
            expected,
            "inode {ino}"
        );
        assert_eq!(
            (row.mtime.secs, row.ctime.secs),
            (node.mtime, node.ctime),
            "times of inode {ino}"
        );
        assert_eq!(row.xattrs as usize, node.xattrs.len());
        let node = node.clone();
        for (name, value) in &node.xattrs {
            let got = self.world.run(&Op::GetXattr {
                ino: Ino(ino),
                name: name.clone(),
            });
            assert_eq!(got, Ok(Reply::Value(value.clone())));
        }
        if node.kind == FileKind::Directory {
            let page = self.world.run(&Op::ReadDir {
                ino: Ino(ino),
                after: 0,
                limit: 100,
                attrs: false,
            });
            let Ok(Reply::Page { entries, end: true }) = page else {
                panic!("{page:?}")
            };
            let listed: BTreeMap<Vec<u8>, u64> = entries
                .into_iter()
                .map(|entry| (entry.name, entry.ino.0))
                .collect();
            assert_eq!(listed, node.children, "entries of {ino}");
        }
        if node.kind == FileKind::File {
            let mut bytes: BTreeMap<u64, Byte> = BTreeMap::new();
            for (offset, len, chunk, at) in self.world.extents(Ino(ino)) {
                for byte in 0..len {
                    let found = (chunk != 0).then_some((chunk, u64::from(at) + byte));
                    bytes.insert(offset + byte, found);
                }
            }
            assert_eq!(bytes, node.bytes, "content of {ino}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn execute_agrees_with_the_naive_reference(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
            pair.compare();
        }
        // When everybody is gone, only what has a name is left.
        pair.step(&Step::EndSession(false));
        pair.step(&Step::EndSession(true));
        pair.compare();
        let world = &pair.world;
        prop_assert_eq!((world.count(prefix::orphans()), world.count(prefix::ranges())), (0, 0));
    }

    #[test]
    fn ranges_of_chunk_numbers_never_overlap(counts in prop::collection::vec(1..6000u32, 1..20)) {
        let mut world = World::new();
        for (number, count) in counts.into_iter().enumerate() {
            world.session = session(number.is_multiple_of(2));
            world.run(&Op::AllocChunks { count, avoid: vec![] }).expect("room");
        }
        let mut taken = Vec::new();
        let (start, end) = prefix::ranges();
        for (key, value) in world.view.rows.range(start..end) {
            let Some(keys::Key::Range { first, .. }) = keys::parse(key) else { panic!("a range") };
            let count = RangeRow::decode(key, value).expect("whole").count;
            prop_assert!(count <= CHUNK_RANGE_MAX);
            taken.push((first, first + u64::from(count)));
        }
        taken.sort();
        prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }
}
