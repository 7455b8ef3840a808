//! What a client's threads do, one task after the other: each looks at the caches, asks when they do not know,
//! and has its answer checked.

use super::fetch::Fetch;
use super::session::write_lock;
use super::{Body, Pending, Purpose};
use crate::coordinator::simulation::messages::Tag;
use crate::coordinator::simulation::tally::Check;
use crate::coordinator::simulation::truth::{BLOCK, Cell};
use crate::coordinator::simulation::world::{MS, SEC, Time, World};
use dfs_core::error::FsResult;
use dfs_core::ids::Ino;
use dfs_core::lock::{Lock, LockType};
use dfs_core::op::{AttrChanges, Make, Op, Rename, RenameMode, Reply, Unlink};
use dfs_core::types::{Credentials, Extent, FileKind, LeaseMode};
use dfs_proto::convert::LockAction;
use dfs_proto::v1;
use dfs_proto::v1::client_message::Message as Up;

/// Blocks of a file.
pub const FILE_BLOCKS: u64 = 4;
/// A thread that waits longer gives up, as a caller with a time-out does.
const PATIENCE: Time = 30 * SEC;
const LOCK_PATIENCE: Time = 3 * SEC;
const FETCHES_MAX: usize = 40;

#[derive(Clone, Debug)]
pub enum Task {
    Look(Vec<u8>),
    Create(Vec<u8>),
    Unlink(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Stat(Ino),
    Read(Ino, u64),
    Write(Ino, u64),
    Fsync(Ino, Option<Vec<(u64, Tag)>>),
    Truncate(Ino, u64),
    Lock(Ino),
    Unlock(Ino),
    Open(Ino),
    Close(Ino),
}

#[derive(Default)]
pub struct Thread {
    task: Option<Task>,
    begun: Time,
    rest_until: Time,
    op: Option<u64>,
    pub answer: Option<FsResult<Reply>>,
    pub fetch: Option<Fetch>,
    /// Extents from an answer that came without a lease, and how old content may be.
    direct: Option<(Option<Vec<Extent>>, usize)>,
    /// Read when everything is calm.
    pub finals: Vec<Task>,
}

impl Thread {
    pub fn waits_for(&self, number: u64) -> bool {
        self.op == Some(number)
    }

    /// Whether what it does is about this inode.
    pub fn works_on(&self, ino: Ino) -> bool {
        match self.task {
            Some(
                Task::Stat(file)
                | Task::Read(file, _)
                | Task::Write(file, _)
                | Task::Fsync(file, _)
                | Task::Truncate(file, _)
                | Task::Lock(file)
                | Task::Unlock(file)
                | Task::Open(file)
                | Task::Close(file),
            ) => file == ino,
            _ => false,
        }
    }

    pub fn doing(&self) -> Option<String> {
        self.task
            .as_ref()
            .map(|task| format!("{task:?} since {} (call {:?})", self.begun, self.op))
    }

    pub fn stop(&mut self) {
        *self = Thread {
            finals: std::mem::take(&mut self.finals),
            ..Thread::default()
        };
    }
}

enum Step {
    Done,
    Wait,
}

impl World {
    pub fn thread_turn(&mut self, own: usize, thread: usize) {
        let now = self.now;
        if self.clients[own].threads[thread].task.is_none() {
            if self.clients[own].threads[thread].rest_until > now {
                return;
            }
            let Some(task) = self.next_task(own, thread) else {
                return;
            };
            let slot = &mut self.clients[own].threads[thread];
            slot.stop();
            slot.begun = now;
            slot.task = Some(task);
        }
        let slot = &self.clients[own].threads[thread];
        let Some(task) = slot.task.clone() else {
            return;
        };
        let patience = if matches!(task, Task::Lock(_)) {
            LOCK_PATIENCE
        } else {
            PATIENCE
        };
        // Two that wait for each other's locks would wait for ever.
        let circle = matches!(task, Task::Lock(_)) && !self.clients[own].locks.is_empty();
        if now - slot.begun > patience && (!self.calm || circle) {
            self.give_up(own, thread, &task);
            return;
        }
        if slot.op.is_some() && slot.answer.is_none() {
            return;
        }
        if let Step::Done = self.step(own, thread, task) {
            let rest = self.random.between(MS, 150 * MS);
            let slot = &mut self.clients[own].threads[thread];
            slot.stop();
            slot.rest_until = now + rest;
        }
    }

    /// A lock that is not granted in time is cancelled, and its answer waited for; anything else is let go.
    fn give_up(&mut self, own: usize, thread: usize, task: &Task) {
        let op = self.clients[own].threads[thread].op;
        if let (Task::Lock(_), Some(op_id)) = (task, op) {
            self.tell_coordinator(own, Up::CancelLock(v1::CancelLock { op_id }));
        } else {
            self.abandon(own, op);
            self.clients[own].threads[thread].stop();
        }
        self.clients[own].threads[thread].begun = self.now;
    }

    /// A question that nobody waits for is forgotten; a change may have been made and is asked for until the end.
    fn abandon(&mut self, own: usize, op: Option<u64>) {
        let pending = &mut self.clients[own].pending;
        let change = |pending: &Pending| matches!(&pending.body, Body::Op(op) if op.is_change());
        if let Some(op) = op
            && pending.get(&op).is_some_and(|pending| !change(pending))
        {
            pending.remove(&op);
        }
    }

    fn step(&mut self, own: usize, thread: usize, task: Task) -> Step {
        let answered = self.clients[own].threads[thread].answer.take();
        if answered.is_some() {
            self.clients[own].threads[thread].op = None;
        }
        match task {
            Task::Look(name) => self.look(own, thread, &name, answered),
            Task::Read(ino, block) => self.read(own, thread, (ino, block), answered),
            Task::Write(ino, block) => self.write(own, thread, (ino, block), answered),
            Task::Fsync(ino, waits) => self.fsync(own, thread, ino, waits),
            Task::Stat(ino) => self.stat(own, thread, ino, answered),
            Task::Truncate(ino, block) => self.shorten(own, thread, (ino, block), answered),
            Task::Unlock(ino) => {
                if answered.is_none() {
                    self.clients[own].locks.remove(&ino);
                    let lock = Lock {
                        typ: LockType::Unlock,
                        ..write_lock(ino, own)
                    };
                    return self.ask(own, thread, Body::Lock(lock, LockAction::Try));
                }
                Step::Done
            }
            Task::Open(ino) => {
                let lease = self.clients[own].lease(ino);
                if lease > LeaseMode::None && self.trusted(own) {
                    self.clients[own].inode(ino).open = true;
                    self.tell_held(own, ino, lease, 0);
                }
                Step::Done
            }
            Task::Close(ino) => {
                self.clients[own].inode(ino).open = false;
                Step::Done
            }
            change => match answered {
                None => {
                    let body = body(own, &change);
                    self.ask(own, thread, body)
                }
                Some(Ok(Reply::Entry { attr, .. })) => {
                    self.know_file(own, attr.ino);
                    Step::Done
                }
                Some(_) => Step::Done,
            },
        }
    }

    fn ask(&mut self, own: usize, thread: usize, body: Body) -> Step {
        let number = self.call(own, body, Purpose::Thread(thread));
        self.clients[own].threads[thread].op = Some(number);
        Step::Wait
    }

    fn know_file(&mut self, own: usize, ino: Ino) {
        let files = &mut self.clients[own].files;
        if !files.contains(&ino) {
            if files.len() >= 4 {
                files.remove(0);
            }
            files.push(ino);
        }
    }

    /// Whether what the client has of the inode may be used.
    fn usable(&self, own: usize, ino: Ino, least: LeaseMode) -> bool {
        let inode = self.clients[own].inodes.get(&ino);
        self.trusted(own) && inode.is_some_and(|inode| inode.lease >= least && inode.recalling == 0)
    }

    fn look(&mut self, own: usize, thread: usize, name: &[u8], answered: Option<FsResult<Reply>>) -> Step {
        match answered {
            Some(Ok(Reply::Entry { attr, .. })) => {
                self.know_file(own, attr.ino);
                return Step::Done;
            }
            Some(_) => return Step::Done,
            None => {}
        }
        let cached = self.clients[own].inode(Ino::ROOT).names.get(name).copied();
        match cached.filter(|_| self.usable(own, Ino::ROOT, LeaseMode::Shared)) {
            Some(ino) => {
                let cell = Cell::Name(name.to_vec());
                self.check_read(own, Check::CachedRead, &cell, ino, self.truth.floor(&cell));
                Step::Done
            }
            None => {
                let op = Op::Lookup {
                    parent: Ino::ROOT,
                    name: name.to_vec(),
                };
                self.ask(own, thread, Body::Op(op))
            }
        }
    }

    fn stat(&mut self, own: usize, thread: usize, ino: Ino, answered: Option<FsResult<Reply>>) -> Step {
        if answered.is_some() {
            return Step::Done;
        }
        let cached = self.clients[own].inode(ino).version;
        match cached.filter(|_| self.usable(own, ino, LeaseMode::Shared)) {
            Some(version) => {
                let cell = Cell::Version(ino);
                self.check_read(own, Check::CachedRead, &cell, version, self.truth.floor(&cell));
                Step::Done
            }
            None => self.ask(own, thread, Body::Op(Op::GetAttr { ino })),
        }
    }

    fn read(
        &mut self,
        own: usize,
        thread: usize,
        (ino, block): (Ino, u64),
        answered: Option<FsResult<Reply>>,
    ) -> Step {
        let cell = Cell::Block(ino, block);
        match answered {
            Some(Ok(Reply::Extents { extents, .. })) => {
                // How old it may be was fixed when it was asked for.
                let asked_at = self.clients[own].threads[thread]
                    .direct
                    .take()
                    .map_or(0, |direct| direct.1);
                self.clients[own].threads[thread].direct = Some((Some(extents), asked_at));
            }
            Some(_) => return Step::Done,
            None => {}
        }
        let usable = self.usable(own, ino, LeaseMode::Shared);
        let client = &mut self.clients[own];
        if usable && client.is_dirty(ino) {
            let dirty = client.inode(ino).dirty.contains_key(&block);
            if dirty
                || client
                    .flights
                    .values()
                    .any(|flight| flight.block(ino, block).is_some())
            {
                return Step::Done;
            }
        }
        let cached = client.inode(ino).extents.clone().filter(|_| usable);
        let direct = client.threads[thread].direct.clone();
        let direct = direct.and_then(|(extents, floor)| Some((extents?, floor)));
        let (extents, floor, check) = match (cached, direct) {
            (Some(extents), _) => (extents, self.truth.floor(&cell), Check::CachedRead),
            (None, Some((extents, floor))) => (extents, floor, Check::ServedRead),
            (None, None) => {
                let floor = self.truth.floor(&cell);
                self.clients[own].threads[thread].direct = Some((None, floor));
                let op = Op::GetExtents {
                    ino,
                    offset: 0,
                    len: FILE_BLOCKS * BLOCK,
                };
                return self.ask(own, thread, Body::Op(op));
            }
        };
        let Some(value) = self.value_of(own, thread, &extents, block) else {
            let slot = &mut self.clients[own].threads[thread];
            if slot.fetch.as_ref().is_none_or(|fetch| fetch.tried <= FETCHES_MAX) {
                return Step::Wait;
            }
            if !self.calm {
                return Step::Done;
            }
            // Nobody has it any more: where the content is now is asked again.
            (slot.fetch, slot.direct) = (None, None);
            self.clients[own].inode(ino).extents = None;
            return Step::Wait;
        };
        self.check_read(own, check, &cell, value, floor);
        Step::Done
    }

    /// What the extents say of a block; `None` while its chunk is being fetched.
    fn value_of(&mut self, own: usize, thread: usize, extents: &[Extent], block: u64) -> Option<Tag> {
        let offset = block * BLOCK;
        let covers = |extent: &&Extent| extent.offset <= offset && offset < extent.end();
        let Some(extent) = extents.iter().find(covers) else {
            return Some(0);
        };
        let place = (u64::from(extent.chunk_offset) + offset - extent.offset) / BLOCK;
        let content = self.content_of(own, thread, extent.chunk)?;
        Some(content.get(place as usize).copied().unwrap_or(u64::MAX))
    }

    fn write(
        &mut self,
        own: usize,
        thread: usize,
        (ino, block): (Ino, u64),
        answered: Option<FsResult<Reply>>,
    ) -> Step {
        if self.usable(own, ino, LeaseMode::Exclusive) {
            let now = self.now;
            let tag = self.number();
            let inode = self.clients[own].inode(ino);
            if inode.dirty.is_empty() {
                inode.dirty_since = now;
            }
            inode.dirty.insert(block, tag);
            return Step::Done;
        }
        if answered.is_some() {
            // Somebody else wants it, or it is gone: the next task may have more luck.
            return Step::Done;
        }
        let op = Op::Acquire {
            ino,
            mode: LeaseMode::Exclusive,
        };
        self.ask(own, thread, Body::Op(op))
    }

    fn fsync(&mut self, own: usize, thread: usize, ino: Ino, waits: Option<Vec<(u64, Tag)>>) -> Step {
        let Some(waits) = waits else {
            let dirty: Vec<(u64, Tag)> = self.clients[own]
                .inode(ino)
                .dirty
                .iter()
                .map(|(block, tag)| (*block, *tag))
                .collect();
            self.begin_flight(own, &[ino]);
            self.clients[own].threads[thread].task = Some(Task::Fsync(ino, Some(dirty)));
            return Step::Wait;
        };
        if self.clients[own].in_flight(ino) {
            return Step::Wait;
        }
        let begun = self.clients[own].threads[thread].begun;
        if !self.clients[own].lost_since(ino, begun) {
            self.check_fsync(own, ino, &waits);
        }
        Step::Done
    }

    fn shorten(
        &mut self,
        own: usize,
        thread: usize,
        (ino, block): (Ino, u64),
        answered: Option<FsResult<Reply>>,
    ) -> Step {
        if answered.is_some() {
            return Step::Done;
        }
        if self.clients[own].is_dirty(ino) {
            self.begin_flight(own, &[ino]);
            return Step::Wait;
        }
        let changes = AttrChanges {
            size: Some(block * BLOCK),
            ..AttrChanges::default()
        };
        self.ask(own, thread, Body::Op(Op::SetAttr { ino, changes }))
    }
}

fn body(own: usize, task: &Task) -> Body {
    let parent = Ino::ROOT;
    Body::Op(match task.clone() {
        Task::Create(name) => Op::Make(Make {
            parent,
            name,
            kind: FileKind::File,
            mode: 0o644,
            umask: 0,
            rdev: 0,
            target: Vec::new(),
            exclusive: false,
            who: Credentials::default(),
        }),
        Task::Unlink(name) => Op::Unlink(Unlink {
            parent,
            name,
            expect: None,
        }),
        Task::Rename(name, new_name) => Op::Rename(Rename {
            parent,
            name,
            new_parent: parent,
            new_name,
            mode: RenameMode::Replace,
            expect: None,
        }),
        Task::Lock(ino) => return Body::Lock(write_lock(ino, own), LockAction::Wait),
        _ => Op::StatFs,
    })
}
