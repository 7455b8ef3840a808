//! What the kernel can be told, and its exact bytes. Filled in by the file system, written by `reply`.
//! Pure: no descriptor is seen here.

use std::time::Duration;

use super::request::{FileLock, Timestamp};

/// Longest answer of fixed size: fuse_statx_out.
const FRAME: usize = 288;

/// The bytes of one fixed-size answer, on the stack: answering a hit allocates nothing.
pub struct Frame {
    bytes: [u8; FRAME],
    len: usize,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; FRAME],
            len: 0,
        }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    pub(super) fn u16(&mut self, v: u16) -> &mut Self {
        self.put(&v.to_ne_bytes())
    }

    pub(super) fn u32(&mut self, v: u32) -> &mut Self {
        self.put(&v.to_ne_bytes())
    }

    pub(super) fn u64(&mut self, v: u64) -> &mut Self {
        self.put(&v.to_ne_bytes())
    }

    pub(super) fn zeros(&mut self, count: usize) -> &mut Self {
        self.len += count;
        debug_assert!(self.len <= FRAME);
        self
    }
}

/// An answer of fixed size.
pub trait Answer {
    /// `room` is what the request said about the size of its answer; 0 when it said nothing.
    fn encode(&self, frame: &mut Frame, room: usize);
}

/// An inode's attributes as stat(2) shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// Type and permission bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// In the kernel's 32-bit encoding (`new_encode_dev`).
    pub rdev: u32,
    pub blksize: u32,
}

impl Attr {
    fn encode(&self, f: &mut Frame) {
        f.u64(self.ino).u64(self.size).u64(self.blocks);
        f.u64(self.atime.seconds as u64)
            .u64(self.mtime.seconds as u64)
            .u64(self.ctime.seconds as u64);
        f.u32(self.atime.nanoseconds)
            .u32(self.mtime.nanoseconds)
            .u32(self.ctime.nanoseconds);
        f.u32(self.mode)
            .u32(self.nlink)
            .u32(self.uid)
            .u32(self.gid)
            .u32(self.rdev)
            .u32(self.blksize)
            .u32(0);
    }
}

/// A name's inode, and how long the kernel may believe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// 0 for "there is no such name", to be cached for `entry_valid`.
    pub node: u64,
    pub generation: u64,
    pub entry_valid: Duration,
    pub attr_valid: Duration,
    pub attr: Attr,
}

impl Entry {
    /// Absence that may be cached.
    pub fn absent(entry_valid: Duration) -> Self {
        Entry {
            entry_valid,
            ..Entry::default()
        }
    }
}

impl Answer for Entry {
    fn encode(&self, f: &mut Frame, _room: usize) {
        f.u64(self.node).u64(self.generation);
        f.u64(self.entry_valid.as_secs()).u64(self.attr_valid.as_secs());
        f.u32(self.entry_valid.subsec_nanos())
            .u32(self.attr_valid.subsec_nanos());
        self.attr.encode(f);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    pub valid: Duration,
    pub attr: Attr,
}

impl Answer for Attributes {
    fn encode(&self, f: &mut Frame, _room: usize) {
        f.u64(self.valid.as_secs()).u32(self.valid.subsec_nanos()).u32(0);
        self.attr.encode(f);
    }
}

/// statx(2): the attributes and the time of birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extended {
    pub valid: Duration,
    pub attr: Attr,
    pub birth: Option<Timestamp>,
}

const STATX_BASIC_STATS: u32 = 0x7ff;
const STATX_BTIME: u32 = 0x800;

impl Answer for Extended {
    fn encode(&self, f: &mut Frame, _room: usize) {
        let a = &self.attr;
        f.u64(self.valid.as_secs())
            .u32(self.valid.subsec_nanos())
            .u32(0)
            .zeros(16);
        let mask = STATX_BASIC_STATS | if self.birth.is_some() { STATX_BTIME } else { 0 };
        f.u32(mask)
            .u32(a.blksize)
            .u64(0)
            .u32(a.nlink)
            .u32(a.uid)
            .u32(a.gid);
        f.u16(a.mode as u16)
            .u16(0)
            .u64(a.ino)
            .u64(a.size)
            .u64(a.blocks)
            .u64(0);
        for time in [a.atime, self.birth.unwrap_or_default(), a.ctime, a.mtime] {
            f.u64(time.seconds as u64).u32(time.nanoseconds).u32(0);
        }
        let (major, minor) = (a.rdev >> 8 & 0xfff, a.rdev & 0xff | a.rdev >> 12 & 0xfff00);
        f.u32(major).u32(minor).u32(0).u32(0).zeros(112);
    }
}

/// An open handle and the `FOPEN_*` wishes that go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opened {
    pub handle: u64,
    pub flags: u32,
}

impl Answer for Opened {
    fn encode(&self, f: &mut Frame, _room: usize) {
        f.u64(self.handle).u32(self.flags).u32(0);
    }
}

/// CREATE and TMPFILE: the new inode and a handle on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Created {
    pub entry: Entry,
    pub opened: Opened,
}

impl Answer for Created {
    fn encode(&self, f: &mut Frame, room: usize) {
        self.entry.encode(f, room);
        self.opened.encode(f, room);
    }
}

/// Success without more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done;

impl Answer for Done {
    fn encode(&self, _f: &mut Frame, _room: usize) {}
}

/// Bytes taken by WRITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written(pub u32);

impl Answer for Written {
    fn encode(&self, f: &mut Frame, _room: usize) {
        f.u32(self.0).u32(0);
    }
}

/// Bytes copied by copy_file_range(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied(pub u64);

impl Answer for Copied {
    fn encode(&self, f: &mut Frame, room: usize) {
        if room == 8 {
            f.u64(self.0);
        } else {
            f.u32(u32::try_from(self.0).unwrap_or(u32::MAX)).u32(0);
        }
    }
}

/// Where lseek(2) found data or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset(pub u64);

impl Answer for Offset {
    fn encode(&self, f: &mut Frame, _room: usize) {
        f.u64(self.0);
    }
}

/// Ready events of poll(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready(pub u32);

impl Answer for Ready {
    fn encode(&self, f: &mut Frame, _room: usize) {
        f.u32(self.0).u32(0);
    }
}

impl Answer for FileLock {
    fn encode(&self, f: &mut Frame, _room: usize) {
        f.u64(self.start).u64(self.end).u32(self.kind).u32(self.pid);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Total, free and available blocks in units of `frsize`.
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub bsize: u32,
    pub namelen: u32,
    pub frsize: u32,
}

impl Answer for Statistics {
    fn encode(&self, f: &mut Frame, _room: usize) {
        f.u64(self.blocks)
            .u64(self.bfree)
            .u64(self.bavail)
            .u64(self.files)
            .u64(self.ffree);
        f.u32(self.bsize).u32(self.namelen).u32(self.frsize).zeros(28);
    }
}

/// A directory's content as READDIR and READDIRPLUS want it, never longer than the caller's room.
pub struct Listing {
    bytes: Vec<u8>,
    room: usize,
}

impl Listing {
    pub fn new(room: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(room),
            room,
        }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds a name; `false` when there is no room and nothing was added. `next` is the offset that continues behind it;
    /// `kind` is a `DT_*`.
    #[must_use]
    pub fn add(&mut self, ino: u64, next: u64, kind: u32, name: &[u8]) -> bool {
        self.push(&[], ino, next, kind, name)
    }

    /// Adds a name with its inode, which counts as a lookup unless `entry.node` is 0.
    #[must_use]
    pub fn add_plus(&mut self, entry: &Entry, next: u64, name: &[u8]) -> bool {
        let mut frame = Frame::new();
        entry.encode(&mut frame, 0);
        self.push(
            frame.as_slice(),
            entry.attr.ino,
            next,
            entry.attr.mode >> 12 & 0o17,
            name,
        )
    }

    fn push(&mut self, head: &[u8], ino: u64, next: u64, kind: u32, name: &[u8]) -> bool {
        let size = (head.len() + 24 + name.len()).next_multiple_of(8);
        if self.bytes.len() + size > self.room {
            return false;
        }
        let end = self.bytes.len() + size;
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(&ino.to_ne_bytes());
        self.bytes.extend_from_slice(&next.to_ne_bytes());
        self.bytes.extend_from_slice(&(name.len() as u32).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.resize(end, 0);
        true
    }
}
