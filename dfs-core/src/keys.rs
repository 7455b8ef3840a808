//! The keys of the rows: a family byte, then big-endian parts, so that ranges are natural. The namespace, the
//! coordinator's store and the checker build and parse keys only here. Knows nothing of the rows' values.

use crate::ids::{ChunkId, Ino, NodeId, OpId, SessionId, SetId};
use crate::types::Timestamp;
use sha2::{Digest, Sha256};

/// Bit that every name hash has set, which keeps cookies above the ones of `.` and `..`.
const HASH_TOP: u64 = 1 << 55;
/// Bits of a cookie below the hash: the place among names of equal hash.
const SLOT_BITS: u32 = 7;
/// Greatest place among names of equal hash.
pub const SLOT_MAX: u64 = (1 << SLOT_BITS) - 1;

/// A half-open range of keys, `start <= key < end`.
pub type KeyRange = (Vec<u8>, Vec<u8>);

/// The first byte of a key. Stored: never reuse a value.
mod family {
    pub const INODE: u8 = b'i';
    pub const DENTRY: u8 = b'd';
    pub const XATTR: u8 = b'x';
    pub const EXTENT: u8 = b'e';
    pub const CHUNK: u8 = b'c';
    pub const GARBAGE: u8 = b'g';
    pub const MISSING: u8 = b'm';
    pub const RANGE: u8 = b'r';
    pub const ORPHAN: u8 = b'o';
    pub const HELD: u8 = b'h';
    pub const PURGE: u8 = b'p';
    pub const SESSION: u8 = b's';
    pub const REPLY: u8 = b'a';
    pub const NODE: u8 = b'n';
    pub const SET: u8 = b't';
    pub const COUNTER: u8 = b'u';
    pub const PLAN: u8 = b'l';
    pub const SETTING: u8 = b'v';
    pub const TRASH: u8 = b'z';
    pub const QUOTA: u8 = b'q';
    pub const RESERVED: u8 = b'b';
    pub const WALK: u8 = b'w';
    pub const TREE: u8 = b'k';
    pub const ARRIVED: u8 = b'y';
    pub const OTHER_NAME: u8 = b'j';
    pub const UNCOUNTED: u8 = b'f';
}

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Inode(Ino),
    Dentry {
        parent: Ino,
        hash: u64,
        name: Vec<u8>,
    },
    Xattr {
        ino: Ino,
        name: Vec<u8>,
    },
    /// `end` is the first byte after the extent: a scan from a place finds first the extent that covers it.
    Extent {
        ino: Ino,
        content: u64,
        end: u64,
    },
    Chunk(ChunkId),
    Garbage(ChunkId),
    Missing {
        chunk: ChunkId,
        node: NodeId,
    },
    Range {
        session: SessionId,
        set: SetId,
        first: u64,
    },
    Orphan(Ino),
    Held {
        session: SessionId,
        ino: Ino,
    },
    Purge {
        ino: Ino,
        content: u64,
    },
    Session(SessionId),
    Reply {
        session: SessionId,
        op: OpId,
    },
    Node(NodeId),
    Set(SetId),
    Counter(Vec<u8>),
    Plan(u64),
    Setting(Vec<u8>),
    /// In the order of removal.
    Trash {
        since: Timestamp,
        ino: Ino,
    },
    Quota(Ino),
    Reserved {
        session: SessionId,
        quota: Ino,
    },
    Walk {
        quota: Ino,
        dir: Ino,
    },
    /// What a directory's sums count.
    Tree(Ino),
    /// What came to a directory and is not in its sums yet.
    Arrived(Ino),
    OtherName {
        ino: Ino,
        parent: Ino,
        hash: u64,
    },
    /// A directory of an older volume whose entries are still to be counted.
    Uncounted(Ino),
}

/// The hash that orders a directory's names: 55 bits of SHA-256 with bit 55 set.
pub fn name_hash(name: &[u8]) -> u64 {
    let digest = Sha256::digest(name);
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(first) & (HASH_TOP - 1)) | HASH_TOP
}

/// The listing cookie of the `slot`-th name among those of equal `hash`.
pub fn cookie(hash: u64, slot: u64) -> u64 {
    hash << SLOT_BITS | slot.min(SLOT_MAX)
}

/// The hash and the slot of a cookie.
pub fn split_cookie(cookie: u64) -> (u64, u64) {
    (cookie >> SLOT_BITS, cookie & SLOT_MAX)
}

struct Builder(Vec<u8>);

impl Builder {
    fn new(family: u8) -> Builder {
        let mut bytes = Vec::with_capacity(32);
        bytes.push(family);
        Builder(bytes)
    }

    fn u32(mut self, value: u32) -> Builder {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Builder {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u128(mut self, value: u128) -> Builder {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn bytes(mut self, value: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(value);
        self.0
    }

    /// All keys that begin with what was built.
    fn range(self) -> KeyRange {
        let end = successor(&self.0);
        (self.0, end)
    }
}

/// The smallest key greater than every key with this prefix. The family byte is below 0xff, so it exists.
fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

pub fn inode(ino: Ino) -> Vec<u8> {
    Builder::new(family::INODE).u64(ino.0).0
}

pub fn dentry(parent: Ino, name: &[u8]) -> Vec<u8> {
    Builder::new(family::DENTRY)
        .u64(parent.0)
        .u64(name_hash(name))
        .bytes(name)
}

/// The entries of `parent` from the hash of `after` on (0: all). Entries of that very hash are included: the
/// reader skips those whose slot is not greater than the cookie's.
pub fn dentry_range(parent: Ino, after: u64) -> KeyRange {
    let (start, end) = Builder::new(family::DENTRY).u64(parent.0).range();
    if after == 0 {
        return (start, end);
    }
    let (hash, _) = split_cookie(after);
    (Builder::new(family::DENTRY).u64(parent.0).u64(hash).0, end)
}

pub fn xattr(ino: Ino, name: &[u8]) -> Vec<u8> {
    Builder::new(family::XATTR).u64(ino.0).bytes(name)
}

/// The extent that ends before byte `end`.
pub fn extent(ino: Ino, content: u64, end: u64) -> Vec<u8> {
    Builder::new(family::EXTENT).u64(ino.0).u64(content).u64(end).0
}

/// The extents that end after `offset`, in order.
pub fn extents_after(ino: Ino, content: u64, offset: u64) -> KeyRange {
    let (_, end) = prefix::extents(ino, content);
    (extent(ino, content, offset.saturating_add(1)), end)
}

pub fn chunk(id: ChunkId) -> Vec<u8> {
    Builder::new(family::CHUNK).u32(id.set.0).u64(id.seq).0
}

pub fn garbage(id: ChunkId) -> Vec<u8> {
    Builder::new(family::GARBAGE).u32(id.set.0).u64(id.seq).0
}

pub fn missing(id: ChunkId, node: NodeId) -> Vec<u8> {
    Builder::new(family::MISSING)
        .u32(id.set.0)
        .u64(id.seq)
        .u32(node.0)
        .0
}

pub fn range(session: SessionId, set: SetId, first: u64) -> Vec<u8> {
    Builder::new(family::RANGE)
        .u128(session.0)
        .u32(set.0)
        .u64(first)
        .0
}

pub fn orphan(ino: Ino) -> Vec<u8> {
    Builder::new(family::ORPHAN).u64(ino.0).0
}

/// The index of orphans by the sessions that hold them.
pub fn held(session: SessionId, ino: Ino) -> Vec<u8> {
    Builder::new(family::HELD).u128(session.0).u64(ino.0).0
}

pub fn purge(ino: Ino, content: u64) -> Vec<u8> {
    Builder::new(family::PURGE).u64(ino.0).u64(content).0
}

pub fn session(id: SessionId) -> Vec<u8> {
    Builder::new(family::SESSION).u128(id.0).0
}

pub fn reply(session: SessionId, op: OpId) -> Vec<u8> {
    Builder::new(family::REPLY).u128(session.0).u64(op.0).0
}

pub fn node(id: NodeId) -> Vec<u8> {
    Builder::new(family::NODE).u32(id.0).0
}

pub fn set(id: SetId) -> Vec<u8> {
    Builder::new(family::SET).u32(id.0).0
}

/// Counters: `next_ino`, `next_node`, `next_set`, `next_plan`, `inodes`, `bytes`, and the one of [`chunk_seq`].
pub fn counter(name: &[u8]) -> Vec<u8> {
    Builder::new(family::COUNTER).bytes(name)
}

/// A plan that moves copies, by its number.
pub fn plan(number: u64) -> Vec<u8> {
    Builder::new(family::PLAN).u64(number).0
}

/// The counter of the next chunk sequence number in a set.
pub fn chunk_seq(set: SetId) -> Vec<u8> {
    counter(format!("chunk_seq/{}", set.0).as_bytes())
}

/// A number by its name: `trash_retention` (seconds that an operator set; none or 0 is no trash), `trash_age` (seconds
/// that leaders counted).
pub fn setting(name: &[u8]) -> Vec<u8> {
    Builder::new(family::SETTING).bytes(name)
}

/// An inode in the trash. Times before 1970 count as 1970.
pub fn trash(since: Timestamp, ino: Ino) -> Vec<u8> {
    Builder::new(family::TRASH)
        .u64(since.secs.max(0) as u64)
        .u32(since.nanos)
        .u64(ino.0)
        .0
}

pub fn quota(dir: Ino) -> Vec<u8> {
    Builder::new(family::QUOTA).u64(dir.0).0
}

pub fn reserved(session: SessionId, quota: Ino) -> Vec<u8> {
    Builder::new(family::RESERVED).u128(session.0).u64(quota.0).0
}

pub fn walk(quota: Ino, dir: Ino) -> Vec<u8> {
    Builder::new(family::WALK).u64(quota.0).u64(dir.0).0
}

pub fn tree(dir: Ino) -> Vec<u8> {
    Builder::new(family::TREE).u64(dir.0).0
}

pub fn arrived(dir: Ino) -> Vec<u8> {
    Builder::new(family::ARRIVED).u64(dir.0).0
}

pub fn other_name(ino: Ino, parent: Ino, hash: u64) -> Vec<u8> {
    Builder::new(family::OTHER_NAME)
        .u64(ino.0)
        .u64(parent.0)
        .u64(hash)
        .0
}

pub fn uncounted(dir: Ino) -> Vec<u8> {
    Builder::new(family::UNCOUNTED).u64(dir.0).0
}

/// The inode whose lease covers the row, if any: an inode's attributes, entries, xattrs and extents.
pub fn owner_inode(key: &[u8]) -> Option<Ino> {
    match parse(key)? {
        Key::Inode(ino) | Key::Xattr { ino, .. } | Key::Extent { ino, .. } => Some(ino),
        Key::Dentry { parent, .. } => Some(parent),
        _ => None,
    }
}

/// Takes a key apart; `None` when it is none of ours.
pub fn parse(key: &[u8]) -> Option<Key> {
    let (&family, mut rest) = key.split_first()?;
    let rest = &mut rest;
    let parsed = match family {
        family::INODE => Key::Inode(Ino(take_u64(rest)?)),
        family::DENTRY => Key::Dentry {
            parent: Ino(take_u64(rest)?),
            hash: take_u64(rest)?,
            name: take_all(rest),
        },
        family::XATTR => Key::Xattr {
            ino: Ino(take_u64(rest)?),
            name: take_all(rest),
        },
        family::EXTENT => Key::Extent {
            ino: Ino(take_u64(rest)?),
            content: take_u64(rest)?,
            end: take_u64(rest)?,
        },
        family::CHUNK => Key::Chunk(take_chunk(rest)?),
        family::GARBAGE => Key::Garbage(take_chunk(rest)?),
        family::MISSING => Key::Missing {
            chunk: take_chunk(rest)?,
            node: NodeId(take_u32(rest)?),
        },
        family::RANGE => Key::Range {
            session: SessionId(take_u128(rest)?),
            set: SetId(take_u32(rest)?),
            first: take_u64(rest)?,
        },
        family::ORPHAN => Key::Orphan(Ino(take_u64(rest)?)),
        family::HELD => Key::Held {
            session: SessionId(take_u128(rest)?),
            ino: Ino(take_u64(rest)?),
        },
        family::PURGE => Key::Purge {
            ino: Ino(take_u64(rest)?),
            content: take_u64(rest)?,
        },
        family::SESSION => Key::Session(SessionId(take_u128(rest)?)),
        family::REPLY => Key::Reply {
            session: SessionId(take_u128(rest)?),
            op: OpId(take_u64(rest)?),
        },
        family::NODE => Key::Node(NodeId(take_u32(rest)?)),
        family::SET => Key::Set(SetId(take_u32(rest)?)),
        family::COUNTER => Key::Counter(take_all(rest)),
        family::PLAN => Key::Plan(take_u64(rest)?),
        family::SETTING => Key::Setting(take_all(rest)),
        family::TRASH => Key::Trash {
            since: Timestamp {
                secs: i64::try_from(take_u64(rest)?).ok()?,
                nanos: take_u32(rest)?,
            },
            ino: Ino(take_u64(rest)?),
        },
        family::QUOTA => Key::Quota(Ino(take_u64(rest)?)),
        family::RESERVED => Key::Reserved {
            session: SessionId(take_u128(rest)?),
            quota: Ino(take_u64(rest)?),
        },
        family::WALK => Key::Walk {
            quota: Ino(take_u64(rest)?),
            dir: Ino(take_u64(rest)?),
        },
        family => take_of_sums(family, rest)?,
    };
    rest.is_empty().then_some(parsed)
}

fn take_of_sums(family: u8, rest: &mut &[u8]) -> Option<Key> {
    let ino = Ino(take_u64(rest)?);
    Some(match family {
        family::TREE => Key::Tree(ino),
        family::ARRIVED => Key::Arrived(ino),
        family::OTHER_NAME => Key::OtherName {
            ino,
            parent: Ino(take_u64(rest)?),
            hash: take_u64(rest)?,
        },
        family::UNCOUNTED => Key::Uncounted(ino),
        _ => return None,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_be_bytes)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn take_u128(rest: &mut &[u8]) -> Option<u128> {
    take(rest).map(u128::from_be_bytes)
}

fn take_chunk(rest: &mut &[u8]) -> Option<ChunkId> {
    Some(ChunkId {
        set: SetId(take_u32(rest)?),
        seq: take_u64(rest)?,
    })
}

fn take_all(rest: &mut &[u8]) -> Vec<u8> {
    std::mem::take(rest).to_vec()
}

/// The ranges of whole families and of their parts.
pub mod prefix;
