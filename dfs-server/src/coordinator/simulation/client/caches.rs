//! What replies and recalls do to a client's caches, and what is checked of every answer.

use super::tasks::Thread;
use super::{Body, Pending, Purpose};
use crate::coordinator::simulation::tally::Check;
use crate::coordinator::simulation::truth::Cell;
use crate::coordinator::simulation::world::{MS, Time, World};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{Ino, SessionId};
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Attr, LeaseMode};
use dfs_proto::convert;
use dfs_proto::v1::client_message::Message as Up;
use dfs_proto::v1::{self, reply::Outcome};

/// A recall is flushed for at most this long: the lease is taken away after its term anyway.
const FLUSH_PATIENCE: Time = 2_700 * MS;

impl World {
    pub fn replied(&mut self, own: usize, reply: v1::Reply) {
        self.tell(|| format!("client {own} is answered {reply:?}"));
        for grant in reply.grants {
            if let Ok((ino, mode)) = convert::grant(grant) {
                self.clients[own].inode(ino).lease = mode;
            }
        }
        let attrs: Vec<Attr> = reply
            .touched
            .into_iter()
            .filter_map(|attr| attr.try_into().ok())
            .collect();
        // Where another name is left the inode stays, too.
        let named = attrs.iter().filter(|attr| attr.nlink > 0);
        let named: Vec<Ino> = named.map(|attr| attr.ino).collect();
        for attr in &attrs {
            self.note_version(own, attr.ino, attr.version);
        }
        let Some(pending) = self.clients[own].pending.remove(&reply.op_id) else {
            return;
        };
        self.tally.calls += 1;
        if let (Body::Lock(lock, _), outcome) = (&pending.body, &reply.outcome) {
            let granted = matches!(outcome, Some(Outcome::Lock(lock)) if lock.conflict.is_none());
            self.lock_answered(own, lock.ino, &pending, reply.op_id, granted);
            return;
        }
        let outcome = match convert::outcome(reply.outcome) {
            Ok(outcome) => outcome,
            Err(error) => return self.fail(format!("Model: a reply does not convert: {error}")),
        };
        self.check_answer(own, reply.op_id, &pending, &outcome);
        self.apply_answer(own, &pending, &outcome, &named);
        if let (true, Body::Op(op), Ok(answer)) = (reply.repeated, &pending.body, &outcome) {
            self.doubt(own, op, answer);
            for attr in &attrs {
                self.note_version(own, attr.ino, attr.version);
            }
        }
        match pending.purpose {
            Purpose::Thread(thread) => self.give(own, thread, reply.op_id, outcome),
            Purpose::Flight(number) => self.landed(own, number, &pending.body, outcome),
            Purpose::Stock => self.stocked(own, outcome),
            Purpose::Nobody => {}
        }
    }

    fn lock_answered(&mut self, own: usize, ino: Ino, pending: &Pending, number: u64, granted: bool) {
        let unlock = matches!(&pending.body, Body::Lock(lock, _)
            if lock.typ == dfs_core::lock::LockType::Unlock);
        if unlock {
            // Of another thread's lock, too, that was granted in between.
            self.clients[own].locks.remove(&ino);
        } else if granted && !self.clients[own].unlocks(ino, number) {
            self.clients[own].locks.insert(ino);
            self.check_locks(ino);
        }
        if let Purpose::Thread(thread) = pending.purpose {
            let answer = match granted {
                true => Ok(Reply::Done),
                false => Err(FsError::WouldBlock),
            };
            self.give(own, thread, number, answer);
        }
    }

    /// Nobody who is trusted believes to hold what another holds.
    fn check_locks(&mut self, ino: Ino) {
        let holders: Vec<usize> = (0..self.clients.len())
            .filter(|client| self.clients[*client].locks.contains(&ino) && self.trusted(*client))
            .collect();
        self.tally.check(Check::Lock);
        if holders.len() > 1 {
            self.fail(format!(
                "Lock: clients {holders:?} hold the write lock of inode {ino}"
            ));
        }
    }

    fn check_answer(&mut self, own: usize, number: u64, pending: &Pending, outcome: &FsResult<Reply>) {
        let Body::Op(op) = &pending.body else {
            return;
        };
        let told: Option<(Cell, u64)> = match (op, outcome) {
            (Op::Lookup { name, .. }, Ok(Reply::Entry { attr, .. })) => {
                Some((Cell::Name(name.clone()), attr.ino.0))
            }
            (Op::Make(make), Ok(Reply::Entry { attr, created: false })) => {
                Some((Cell::Name(make.name.clone()), attr.ino.0))
            }
            (Op::Lookup { name, .. }, Err(FsError::NotFound)) => Some((Cell::Name(name.clone()), 0)),
            (Op::Unlink(unlink), Err(FsError::NotFound)) => Some((Cell::Name(unlink.name.clone()), 0)),
            (Op::GetAttr { ino } | Op::Acquire { ino, .. }, Ok(Reply::Attr(attr))) => {
                Some((Cell::Version(*ino), attr.version))
            }
            _ => None,
        };
        if let Some((cell, value)) = told {
            let asked_at = pending.floors.get(&cell).copied().unwrap_or(0);
            self.check_read(own, Check::ServedRead, &cell, value, asked_at);
        }
        if op.is_change() {
            self.tally.check(Check::Durable);
            self.tally.check(Check::AtMostOnce);
            let session = SessionId(self.clients[own].session);
            let known = self
                .truth
                .acknowledged(session, number, strict(op, outcome), outcome);
            if let Err(reason) = known {
                self.fail(format!("{reason} (client {own})"));
            }
        }
    }

    /// Somebody is told this now, in answer to what was asked when the floor was there.
    pub fn check_read(&mut self, own: usize, check: Check, cell: &Cell, value: u64, asked_at: usize) {
        self.tally.check(check);
        if let Err(reason) = self.truth.read(cell, value, asked_at) {
            self.fail(format!("{check:?}: client {own}: {reason}"));
        }
    }

    fn note_version(&mut self, own: usize, ino: Ino, version: u64) {
        let inode = self.clients[own].inode(ino);
        if inode.lease > LeaseMode::None {
            inode.version = Some(version);
        }
    }

    fn note_name(&mut self, own: usize, parent: Ino, name: &[u8], ino: u64) {
        let inode = self.clients[own].inode(parent);
        if inode.lease > LeaseMode::None {
            inode.names.insert(name.to_vec(), ino);
        }
    }

    fn apply_answer(&mut self, own: usize, pending: &Pending, outcome: &FsResult<Reply>, named: &[Ino]) {
        let Body::Op(op) = &pending.body else {
            return;
        };
        match (op, outcome) {
            (Op::Lookup { parent, name }, Ok(Reply::Entry { attr, .. })) => {
                self.note_name(own, *parent, name, attr.ino.0);
                self.note_version(own, attr.ino, attr.version);
            }
            (Op::Lookup { parent, name }, Err(FsError::NotFound)) => self.note_name(own, *parent, name, 0),
            (Op::Make(make), Ok(Reply::Entry { attr, .. })) => {
                self.note_name(own, make.parent, &make.name, attr.ino.0);
                self.note_version(own, attr.ino, attr.version);
            }
            (Op::Unlink(unlink), Ok(Reply::Removed { ino, orphan })) => {
                self.note_name(own, unlink.parent, &unlink.name, 0);
                self.removed(own, *ino, *orphan, named);
            }
            (Op::Rename(rename), Ok(Reply::Renamed { moved, replaced })) => {
                let same = self.clients[own]
                    .inode(rename.new_parent)
                    .names
                    .get(&rename.new_name)
                    == Some(&moved.0);
                if !same {
                    self.note_name(own, rename.parent, &rename.name, 0);
                }
                self.note_name(own, rename.new_parent, &rename.new_name, moved.0);
                if let Some((ino, orphan)) = replaced {
                    self.removed(own, *ino, *orphan, named);
                }
            }
            (
                Op::GetAttr { ino } | Op::Acquire { ino, .. } | Op::SetAttr { ino, .. },
                Ok(Reply::Attr(attr)),
            ) => {
                self.note_version(own, *ino, attr.version);
                if matches!(op, Op::SetAttr { .. }) {
                    self.clients[own].inode(*ino).extents = None;
                }
            }
            (Op::GetExtents { ino, .. }, Ok(Reply::Extents { extents, .. })) => {
                let inode = self.clients[own].inode(*ino);
                if inode.lease > LeaseMode::None {
                    inode.extents = Some(extents.clone());
                }
            }
            (Op::Commit(commit), Ok(Reply::Done)) => {
                for file in &commit.files {
                    self.clients[own].inode(file.ino).extents = None;
                }
            }
            _ => {}
        }
    }

    /// An answer that was given before may be out of date by now.
    fn doubt(&mut self, own: usize, op: &Op, answer: &Reply) {
        let names: Vec<(Ino, &Vec<u8>)> = match op {
            Op::Make(make) => vec![(make.parent, &make.name)],
            Op::Unlink(unlink) => vec![(unlink.parent, &unlink.name)],
            Op::Rename(rename) => vec![
                (rename.parent, &rename.name),
                (rename.new_parent, &rename.new_name),
            ],
            _ => Vec::new(),
        };
        for (directory, name) in names {
            self.clients[own].inode(directory).names.remove(name);
        }
        let ino = match (op, answer) {
            (Op::SetAttr { ino, .. }, _) => Some(*ino),
            (_, Reply::Entry { attr, .. }) => Some(attr.ino),
            _ => None,
        };
        if let Some(ino) = ino {
            let inode = self.clients[own].inode(ino);
            inode.version = None;
            inode.extents = None;
        }
    }

    /// A name is gone, and unless another is left or it is held open here, the inode, with what was held of it: though
    /// others may hold it still, nobody here can come to it any more.
    fn removed(&mut self, own: usize, ino: Ino, orphan: bool, named: &[Ino]) {
        if orphan {
            self.clients[own].inode(ino).orphan = true;
        } else if !named.contains(&ino) {
            let client = &mut self.clients[own];
            client.inodes.remove(&ino);
            client.files.retain(|file| *file != ino);
            let working = client.threads.iter_mut().filter(|thread| thread.works_on(ino));
            working.for_each(Thread::stop);
        }
    }

    /// Lets go of inodes that the coordinator believes to be held and nobody here uses any more; the kernel forgets an inode
    /// only when none of its calls on it is under way.
    pub fn release_unheld(&mut self, own: usize) {
        let client = &self.clients[own];
        let owed = client
            .inodes
            .iter()
            .filter(|(_, inode)| inode.orphan || inode.declared);
        let owed = owed.filter(|(ino, _)| !client.is_held(**ino));
        let (orphans, named): (Vec<_>, Vec<_>) = owed
            .map(|(ino, inode)| (*ino, inode.orphan))
            .partition(|(_, orphan)| *orphan);
        let due: Vec<Ino> = orphans.into_iter().map(|(ino, _)| ino).collect();
        let client = &mut self.clients[own];
        for ino in &due {
            // Nobody can come to it any more: what is dirty of it is of no use.
            client.inodes.remove(ino);
            client.files.retain(|file| file != ino);
        }
        if !due.is_empty() {
            self.call_op(own, Op::Release { inos: due }, Purpose::Nobody);
        }
        for (ino, _) in named {
            let lease = self.clients[own].lease(ino);
            self.tell_held(own, ino, lease, 0);
        }
    }

    /// Gives back what was recalled and is flushed.
    pub fn answer_recalls(&mut self, own: usize) {
        let now = self.now;
        let recalls = std::mem::take(&mut self.clients[own].recalls);
        let (mut done, mut waiting) = (Vec::new(), Vec::new());
        for mut recall in recalls {
            let dirty = recall.keep < LeaseMode::Exclusive && self.clients[own].is_dirty(recall.ino);
            if dirty && now - recall.since < FLUSH_PATIENCE {
                self.begin_flight(own, &[recall.ino]);
                waiting.push(recall);
                continue;
            }
            if dirty {
                // What is on its way may take effect unheard.
                recall.keep = LeaseMode::None;
            }
            done.push(recall);
        }
        self.clients[own].recalls = waiting;
        for recall in done {
            self.give_back(own, recall.ino, recall.keep, recall.number);
        }
    }

    pub fn give_back(&mut self, own: usize, ino: Ino, keep: LeaseMode, number: u64) {
        let inode = self.clients[own].inode(ino);
        inode.recalling = inode.recalling.saturating_sub(1);
        let mode = inode.lease.min(keep);
        inode.lease = mode;
        if mode < LeaseMode::Exclusive {
            // What could not be flushed in time is lost, and whoever syncs is told.
            let lost = !std::mem::take(&mut inode.dirty).is_empty();
            if lost {
                self.clients[own].losses.insert(ino, self.now);
            }
        }
        let inode = self.clients[own].inode(ino);
        if mode == LeaseMode::None {
            inode.version = None;
            inode.names.clear();
            inode.extents = None;
        }
        if mode < LeaseMode::Exclusive {
            self.lose_flights(own, ino);
        }
        self.tell_held(own, ino, mode, number);
    }

    pub fn tell_held(&mut self, own: usize, ino: Ino, mode: LeaseMode, number: u64) {
        if !self.clients[own].welcomed {
            return;
        }
        let open = self.clients[own].is_held(ino);
        self.clients[own].inode(ino).declared = open;
        self.tell(|| format!("client {own} says it holds {mode:?} of {ino}, open {open} ({number})"));
        let ack = v1::LeaseAck {
            ino: ino.0,
            mode: v1::LeaseMode::from(mode).into(),
            open,
            number,
        };
        self.tell_coordinator(own, Up::LeaseAck(ack));
    }

    /// Content was committed: nobody else trusts a lease on the file.
    pub fn check_commits(&mut self) {
        for late in std::mem::take(&mut self.truth.late) {
            self.fail(format!("WriteOrder: {late}"));
        }
        for (session, ino) in std::mem::take(&mut self.truth.changed) {
            self.tally.check(Check::WriteOrder);
            self.tally.check(Check::ExclusiveLease);
            let believes = (0..self.clients.len()).find(|client| {
                let own = &self.clients[*client];
                own.session != session.0 && own.holds(ino) > LeaseMode::None && self.trusted(*client)
            });
            if let Some(client) = believes {
                self.fail(format!(
                    "ExclusiveLease: session {session} has changed inode {ino}, of which client {client} trusts its lease"
                ));
            }
        }
    }

    /// At most one trusts an exclusive lease, and then nobody else any.
    pub fn check_leases(&mut self, own: usize) {
        if !self.trusted(own) {
            return;
        }
        let held: Vec<(Ino, LeaseMode)> = self.clients[own].held().collect();
        for other in (0..self.clients.len()).filter(|other| *other != own) {
            if !self.trusted(other) || !self.process(super::Party::Client(other)).up {
                continue;
            }
            for (ino, mode) in &held {
                let theirs = self.clients[other].holds(*ino);
                if theirs == LeaseMode::None {
                    continue;
                }
                self.tally.check(Check::ExclusiveLease);
                if *mode == LeaseMode::Exclusive || theirs == LeaseMode::Exclusive {
                    self.fail(format!(
                        "ExclusiveLease: inode {ino} is held {mode:?} by client {own} and {theirs:?} by client {other}"
                    ));
                    return;
                }
            }
        }
    }
}

/// Whether an answer to the operation must stand in the log.
fn strict(op: &Op, outcome: &FsResult<Reply>) -> bool {
    match (op, outcome) {
        (Op::Make(_), Ok(Reply::Entry { created, .. })) => *created,
        (Op::Unlink(_) | Op::SetAttr { .. } | Op::AllocChunks { .. }, Ok(_)) => true,
        (Op::Commit(commit), Ok(_)) => !commit.chunks.is_empty(),
        _ => false,
    }
}
