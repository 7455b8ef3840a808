//! The core and the naive reference side by side: each step is done on both, at the same time, and the results
//! must be the same. Here are the steps on names; `steps` has the others. The property test calls it.

use crate::model::Model;
use crate::world::*;
use dfs_core::error::FsError;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::op::*;
use dfs_core::types::*;
use std::collections::BTreeMap;

/// A step; inodes are places in a list (mostly of those that fit the operation, else of all that were ever
/// made), names are letters (mostly some that exist, where the operation wants one), sessions are two.
#[derive(Clone, Debug)]
pub enum Step {
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

/// Places and names from here on are taken as they are, so that refusals are met too.
const ANY_PLACE: usize = 10;
const ANY_NAME: u8 = 4;

fn name_of(number: u8) -> Vec<u8> {
    match number {
        5 => vec![b'n'; NAME_MAX + 1],
        number => vec![b'a' + number],
    }
}

pub fn session(second: bool) -> SessionId {
    if second { BOB } else { ALICE }
}

pub struct Pair {
    pub world: World,
    pub model: Model,
    /// Every inode that was ever made.
    inos: Vec<u64>,
    pub rows: BTreeMap<u64, Vec<u8>>,
}

impl Pair {
    pub fn new() -> Pair {
        Pair {
            world: World::new(),
            model: Model::new(1),
            inos: vec![1],
            rows: BTreeMap::new(),
        }
    }

    pub fn ino(&self, place: usize) -> u64 {
        self.inos[place % self.inos.len()]
    }

    pub fn of_kind(&self, place: usize, kind: FileKind) -> u64 {
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

    pub fn dir(&self, place: usize) -> u64 {
        self.of_kind(place, FileKind::Directory)
    }

    pub fn file(&self, place: usize) -> u64 {
        self.of_kind(place, FileKind::File)
    }

    /// An entry that exists, mostly.
    pub fn entry(&self, place: usize, name: u8) -> (u64, Vec<u8>) {
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

    pub fn run(&mut self, op: Op) -> Result<Reply, FsError> {
        let result = self.world.run(&op);
        self.model.now = self.world.clock;
        result
    }

    /// Executes; then the reference does the same at the same time and must agree on the result.
    pub fn agree(
        &mut self,
        op: Op,
        reference: impl FnOnce(&mut Model) -> Result<(), FsError>,
    ) -> Option<Reply> {
        let shown = format!("{op:?}");
        let result = self.run(op);
        let expected = reference(&mut self.model);
        assert_eq!(result.clone().map(|_| ()), expected, "{shown}");
        result.ok()
    }

    pub fn made(
        &mut self,
        op: Op,
        parent: u64,
        name: Option<Vec<u8>>,
        kind: FileKind,
        mode: u32,
    ) -> Option<u64> {
        let ino = self.world.next_ino;
        self.agree(op, |model| model.make(ino, parent, name.as_deref(), kind, mode))?;
        self.inos.push(ino);
        Some(ino)
    }

    /// What the session says when it removes the inode: the truth about its own opens, sometimes nothing.
    pub fn expect(&self, parent: u64, name: &[u8]) -> Option<(Ino, bool)> {
        let ino = *self.model.nodes.get(&parent)?.children.get(name)?;
        let held = self.world.open.0.contains(&(Ino(ino), self.world.session));
        (self.world.clock % 2 == 1).then_some((Ino(ino), held))
    }

    pub fn step(&mut self, step: &Step) {
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
            ref other => self.attributes(other),
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
}
