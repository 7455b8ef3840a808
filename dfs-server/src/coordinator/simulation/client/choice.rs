//! What a client's thread does next: drawn while faults go on, and afterwards what leaves nothing open.

use super::tasks::{FILE_BLOCKS, Task};
use crate::coordinator::simulation::random::Random;
use crate::coordinator::simulation::world::{Party, World};
use dfs_core::ids::Ino;

const NAMES: u64 = 6;

pub fn name(number: u64) -> Vec<u8> {
    format!("n{number}").into_bytes()
}

pub fn any_name(random: &mut Random) -> Vec<u8> {
    name(random.below(NAMES))
}

impl World {
    pub fn next_task(&mut self, own: usize, thread: usize) -> Option<Task> {
        if self.calm {
            return self.last_task(own, thread);
        }
        let names = [name(self.random.below(NAMES)), name(self.random.below(NAMES))];
        let [one, two] = names;
        let files = &self.clients[own].files;
        let ino = match files.len() {
            0 => return Some(Task::Create(one)),
            len => files[self.random.index(len)],
        };
        let block = self.random.below(FILE_BLOCKS);
        Some(match self.random.below(100) {
            0..=11 => Task::Look(one),
            12..=19 => Task::Create(one),
            20..=25 => Task::Unlink(one),
            26..=30 => Task::Rename(one, two),
            31..=40 => Task::Stat(ino),
            41..=58 => Task::Read(ino, block),
            59..=78 => Task::Write(ino, block),
            79..=86 => Task::Fsync(ino, None),
            87..=88 => Task::Truncate(ino, block),
            89..=91 => Task::Lock(ino),
            92..=94 => Task::Unlock(ino),
            95..=97 => Task::Open(ino),
            _ => Task::Close(ino),
        })
    }

    /// Everything is calm: what is held is let go, what is dirty is synced, then everything is read once more.
    fn last_task(&mut self, own: usize, thread: usize) -> Option<Task> {
        if thread == 0 {
            let client = &self.clients[own];
            if let Some(ino) = client.locks.first() {
                return Some(Task::Unlock(*ino));
            }
            let inodes = &client.inodes;
            if let Some((ino, _)) = inodes.iter().find(|(_, inode)| inode.open) {
                return Some(Task::Close(*ino));
            }
            if let Some((ino, _)) = inodes.iter().find(|(_, inode)| !inode.dirty.is_empty()) {
                return Some(Task::Fsync(*ino, None));
            }
        }
        self.clients[own].threads[thread].finals.pop()
    }

    /// Has the client read every name and every block of its files once more.
    pub fn read_everything(&mut self, own: usize) {
        let names = (0..NAMES).map(|number| Task::Look(name(number)));
        let files = self.truth.names().into_values().map(Ino);
        let blocks = files.flat_map(|ino| (0..FILE_BLOCKS).map(move |block| Task::Read(ino, block)));
        self.clients[own].threads[1].finals = names.chain(blocks).collect();
        self.wake(Party::Client(own), 0);
    }
}
