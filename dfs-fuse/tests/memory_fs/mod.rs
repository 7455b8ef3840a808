//! A small file system in memory behind the kernel's door, with one file that is never ready and whole-file locks that
//! are granted later. For the tests and measurements of the door itself; it keeps no POSIX rule that they do not need.

#![allow(dead_code, reason = "each user of this module needs another part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dfs_fuse::kernel::answer::*;
use dfs_fuse::kernel::reply::{Data, Directory, Errno, Reply, Xattr};
use dfs_fuse::kernel::request::*;
use dfs_fuse::kernel::{Filesystem, Request};
use parking_lot::Mutex;

/// Reading a file of this name blocks until the reader dies.
pub const SLOW: &str = "slow";
const SLOW_LIMIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Node {
    mode: u32,
    content: Vec<u8>,
    names: BTreeMap<Vec<u8>, u64>,
    slow: bool,
    lock_owner: Option<u64>,
}

struct Waiter {
    unique: u64,
    node: u64,
    owner: u64,
    reply: Reply<Done>,
}

#[derive(Default)]
struct Tree {
    nodes: BTreeMap<u64, Node>,
    waiting: VecDeque<Waiter>,
}

/// `valid` is how long the kernel may cache names and attributes.
pub struct MemoryFs {
    tree: Arc<Mutex<Tree>>,
    valid: Duration,
    /// Requests blocked in a slow read.
    pub blocked: AtomicUsize,
    pub forgotten: AtomicUsize,
}

impl MemoryFs {
    pub fn new(valid: Duration) -> Self {
        let mut tree = Tree::default();
        tree.nodes.insert(
            1,
            Node {
                mode: libc::S_IFDIR | 0o755,
                ..Node::default()
            },
        );
        Self {
            tree: Arc::new(Mutex::new(tree)),
            valid,
            blocked: AtomicUsize::new(0),
            forgotten: AtomicUsize::new(0),
        }
    }

    /// Callers that wait for a lock.
    pub fn waiting(&self) -> usize {
        self.tree.lock().waiting.len()
    }

    /// Changes a file behind the kernel's back.
    pub fn overwrite(&self, node: u64, content: &[u8]) {
        if let Some(node) = self.tree.lock().nodes.get_mut(&node) {
            node.content = content.to_vec();
        }
    }

    fn entry(&self, tree: &Tree, ino: u64) -> Entry {
        Entry {
            node: ino,
            generation: 0,
            entry_valid: self.valid,
            attr_valid: self.valid,
            attr: tree
                .nodes
                .get(&ino)
                .map(|node| attr(ino, node))
                .unwrap_or_default(),
        }
    }

    fn make(&self, parent: u64, name: &[u8], mode: u32) -> Result<Entry, Errno> {
        let mut tree = self.tree.lock();
        let ino = tree.nodes.last_key_value().map_or(1, |(last, _)| *last) + 1;
        let names = &mut tree.nodes.get_mut(&parent).ok_or(Errno(libc::ENOENT))?.names;
        if names.contains_key(name) {
            return Err(Errno(libc::EEXIST));
        }
        names.insert(name.to_vec(), ino);
        tree.nodes.insert(
            ino,
            Node {
                mode,
                slow: name == SLOW.as_bytes(),
                ..Node::default()
            },
        );
        Ok(self.entry(&tree, ino))
    }

    fn list(&self, req: &Request<'_>, read: &Read, plus: bool, reply: Reply<Directory>) {
        let tree = self.tree.lock();
        let Some(directory) = tree.nodes.get(&req.node) else {
            return reply.error(Errno(libc::ENOENT));
        };
        let mut listing = Listing::new(read.size as usize);
        for (at, (name, &ino)) in directory.names.iter().enumerate().skip(read.offset as usize) {
            let next = at as u64 + 1;
            let entry = self.entry(&tree, ino);
            let added = match plus {
                true => listing.add_plus(&entry, next, name),
                false => listing.add(ino, next, entry.attr.mode >> 12, name),
            };
            if !added {
                break;
            }
        }
        reply.listing(&listing);
    }
}

fn attr(ino: u64, node: &Node) -> Attr {
    let size = node.content.len() as u64;
    Attr {
        ino,
        size,
        blocks: size.div_ceil(512),
        mode: node.mode,
        nlink: 1,
        blksize: 4096,
        ..Attr::default()
    }
}

/// Gives a free lock to the callers that wait for it, first come, first served.
fn grant(tree: &mut Tree) {
    let mut left = VecDeque::new();
    while let Some(waiter) = tree.waiting.pop_front() {
        match tree.nodes.get_mut(&waiter.node) {
            Some(node) if node.lock_owner.is_none() || node.lock_owner == Some(waiter.owner) => {
                node.lock_owner = Some(waiter.owner);
                waiter.reply.ok(Done);
            }
            _ => left.push_back(waiter),
        }
    }
    tree.waiting = left;
}

impl Filesystem for MemoryFs {
    fn forget(&self, _node: u64, lookups: u64) {
        self.forgotten.fetch_add(lookups as usize, Ordering::Relaxed);
    }

    fn lookup(&self, req: &Request<'_>, name: &[u8], reply: Reply<Entry>) {
        let tree = self.tree.lock();
        match tree.nodes.get(&req.node).and_then(|dir| dir.names.get(name)) {
            Some(&ino) => reply.ok(self.entry(&tree, ino)),
            None => reply.error(Errno(libc::ENOENT)),
        }
    }

    fn getattr(&self, req: &Request<'_>, _handle: Option<u64>, reply: Reply<Attributes>) {
        let tree = self.tree.lock();
        let found = tree.nodes.get(&req.node).ok_or(Errno(libc::ENOENT));
        reply.send(found.map(|node| Attributes {
            valid: self.valid,
            attr: attr(req.node, node),
        }));
    }

    fn setattr(&self, req: &Request<'_>, set: &SetAttr, reply: Reply<Attributes>) {
        let mut tree = self.tree.lock();
        let Some(node) = tree.nodes.get_mut(&req.node) else {
            return reply.error(Errno(libc::ENOENT));
        };
        if let Some(size) = set.size {
            node.content.resize(size as usize, 0);
        }
        if let Some(mode) = set.mode {
            node.mode = node.mode & libc::S_IFMT | mode & 0o7777;
        }
        reply.ok(Attributes {
            valid: self.valid,
            attr: attr(req.node, node),
        });
    }

    fn mkdir(&self, req: &Request<'_>, name: &[u8], mode: u32, umask: u32, reply: Reply<Entry>) {
        reply.send(self.make(req.node, name, libc::S_IFDIR | mode & !umask));
    }

    fn create(&self, req: &Request<'_>, name: &[u8], create: &Create, reply: Reply<Created>) {
        let made = self.make(
            req.node,
            name,
            libc::S_IFREG | create.mode & !create.umask & 0o7777,
        );
        reply.send(made.map(|entry| Created {
            entry,
            opened: Opened {
                handle: entry.node,
                flags: 0,
            },
        }));
    }

    fn open(&self, req: &Request<'_>, open: &Open, reply: Reply<Opened>) {
        if open.flags & libc::O_TRUNC as u32 != 0 {
            self.overwrite(req.node, &[]);
        }
        reply.ok(Opened {
            handle: req.node,
            flags: dfs_fuse::kernel::abi::fopen::KEEP_CACHE,
        });
    }

    fn opendir(&self, req: &Request<'_>, _open: &Open, reply: Reply<Opened>) {
        reply.ok(Opened {
            handle: req.node,
            flags: 0,
        });
    }

    fn read(&self, req: &Request<'_>, read: &Read, reply: Reply<Data>) {
        let slow = self
            .tree
            .lock()
            .nodes
            .get(&req.node)
            .is_some_and(|node| node.slow);
        if slow {
            self.blocked.fetch_add(1, Ordering::SeqCst);
            let ended = req.interrupt.wait(SLOW_LIMIT);
            self.blocked.fetch_sub(1, Ordering::SeqCst);
            return reply.error(Errno(if ended { libc::EINTR } else { libc::ETIMEDOUT }));
        }
        let tree = self.tree.lock();
        let content = tree.nodes.get(&req.node).map_or(&[][..], |node| &node.content);
        let from = (read.offset as usize).min(content.len());
        let part = &content[from..content.len().min(from + read.size as usize)];
        // In blocks, as a cache would have it.
        let blocks: Vec<IoSlice<'_>> = part.chunks(64 << 10).map(IoSlice::new).collect();
        reply.slices(&blocks);
    }

    fn write(&self, req: &Request<'_>, write: &Write<'_>, reply: Reply<Written>) {
        let mut tree = self.tree.lock();
        let Some(node) = tree.nodes.get_mut(&req.node) else {
            return reply.error(Errno(libc::ENOENT));
        };
        let end = write.offset as usize + write.data.len();
        if node.content.len() < end {
            node.content.resize(end, 0);
        }
        node.content[write.offset as usize..end].copy_from_slice(write.data);
        reply.ok(Written(write.data.len() as u32));
    }

    fn unlink(&self, req: &Request<'_>, name: &[u8], reply: Reply<Done>) {
        let removed = self
            .tree
            .lock()
            .nodes
            .get_mut(&req.node)
            .and_then(|dir| dir.names.remove(name));
        reply.send(removed.map(|_| Done).ok_or(Errno(libc::ENOENT)));
    }

    fn flush(&self, _req: &Request<'_>, _handle: u64, _lock_owner: u64, reply: Reply<Done>) {
        reply.ok(Done);
    }

    fn release(&self, req: &Request<'_>, release: &Release, reply: Reply<Done>) {
        let mut tree = self.tree.lock();
        if let Some(node) = tree.nodes.get_mut(&req.node)
            && release.flock_unlock
            && node.lock_owner == Some(release.lock_owner)
        {
            node.lock_owner = None;
            grant(&mut tree);
        }
        reply.ok(Done);
    }

    fn readdir(&self, req: &Request<'_>, read: &Read, reply: Reply<Directory>) {
        self.list(req, read, false, reply);
    }

    fn readdirplus(&self, req: &Request<'_>, read: &Read, reply: Reply<Directory>) {
        self.list(req, read, true, reply);
    }

    fn getxattr(&self, _req: &Request<'_>, name: &[u8], reply: Reply<Xattr>) {
        match name {
            b"user.test" => reply.value(b"value"),
            _ => reply.error(Errno(libc::ENODATA)),
        }
    }

    fn setlkw(&self, req: &Request<'_>, lock: &LockRequest, reply: Reply<Done>) {
        let (tree, unique) = (self.tree.clone(), req.unique);
        {
            let mut tree = tree.lock();
            tree.waiting.push_back(Waiter {
                unique,
                node: req.node,
                owner: lock.owner,
                reply,
            });
            grant(&mut tree);
        }
        req.interrupt.on_fire(move || {
            let mut tree = tree.lock();
            let at = tree.waiting.iter().position(|waiter| waiter.unique == unique);
            if let Some(waiter) = at.and_then(|at| tree.waiting.remove(at)) {
                waiter.reply.error(Errno(libc::EINTR));
            }
        });
    }
}
