//! The checker of a volume's rows: what must agree with what. `dfs fsck`, the coordinator's self-check and the
//! model tests feed it all rows in key order and read its findings. Whether chunks' bytes are right is seen
//! elsewhere. Memory grows with the number of inodes and chunks.

mod counts;
mod judge;
mod space;
#[cfg(test)]
mod tests;

use crate::ids::{ChunkId, Ino, NodeId, SessionId};
use crate::keys::{self, Key};
use crate::rows::{
    ChunkRow, CounterRow, DentryRow, ExtentRow, GarbageRow, HeldRow, InodeRow, MissingRow, NodeRow,
    OrphanRow, PlanRow, PurgeRow, QuotaRow, RangeRow, RepliesRow, SessionRow, SetRow, SettingRow, XattrRow,
};
use crate::types::{Extent, FileKind, Timestamp};
use crate::view::ViewError;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// What kind of disagreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A row that cannot be read.
    Damaged,
    /// An entry of an inode that does not exist, or in something that is no directory.
    DanglingEntry,
    /// An entry says another kind than its inode.
    WrongKind,
    /// An inode's link count is not the number of its names.
    LinkCount,
    /// A directory's size is not the number of its entries.
    DirectorySize,
    /// A directory's way up is not where its entry is, or it has several entries.
    Parent,
    /// An inode has no name and is no orphan, or cannot be reached from the root.
    Unreachable,
    /// An orphan row without inode, without holders, or of an inode with names; an index that disagrees.
    Orphan,
    /// Extents of a file that overlap, are empty or lie outside what a file can be.
    Extents,
    /// Extents of an inode or a content that does not exist.
    StrayExtents,
    /// An extent of a chunk that is not known, or outside of it.
    DanglingExtent,
    /// An inode's allocated size is not that of its extents.
    Blocks,
    /// A chunk's number of references or its live bytes are wrong.
    ChunkCounts,
    /// A chunk is both in use and garbage, or its missing members are miscounted.
    ChunkState,
    /// Xattrs of an inode that does not exist, or miscounted.
    Xattrs,
    /// A trash row of an inode that is absent or in use.
    Trash,
    /// A quota does not count what is there, or an inode is in another quota than its directory.
    Quota,
    /// An inode counts nowhere or not where its name is, or a directory's sums are not those of what is below it.
    Sums,
    /// The volume's counters disagree with the rows.
    Counters,
}

impl ProblemKind {
    /// The tree itself is damaged: what is below what, or what it is.
    fn is_of_names(self) -> bool {
        use ProblemKind::*;
        matches!(
            self,
            Damaged | DanglingEntry | WrongKind | LinkCount | DirectorySize | Parent | Unreachable | Orphan
        )
    }
}

/// A disagreement: where (a path, where there is one) and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    pub place: String,
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}

/// What the rows say about one inode, as far as they were seen.
#[derive(Clone, Debug, Default)]
struct Inode {
    row: Option<Stored>,
    names: u32,
    /// One of the names.
    name: Option<(Ino, Vec<u8>)>,
    entries: u64,
    subdirs: u32,
    xattrs: u32,
}

/// The part of an inode's row that is checked.
#[derive(Clone, Debug)]
struct Stored {
    kind: FileKind,
    nlink: u32,
    size: u64,
    blocks: u64,
    content: u64,
    parent: Ino,
    xattrs: u32,
    ctime: Timestamp,
    quota: Ino,
    charged: u64,
    home: Ino,
    place: u64,
}

/// The extents of one content of an inode.
#[derive(Clone, Copy, Debug, Default)]
struct Content {
    end: u64,
    blocks: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct ChunkUse {
    references: u64,
    live_bytes: u64,
    /// Greatest end of an extent inside the chunk, and one of the inodes.
    reach: u64,
    ino: u64,
}

/// Collects rows and judges them at the end.
#[derive(Debug, Default)]
pub struct Checker {
    inodes: HashMap<Ino, Inode>,
    contents: BTreeMap<(Ino, u64), Content>,
    chunks: BTreeMap<ChunkId, ChunkRow>,
    uses: BTreeMap<ChunkId, ChunkUse>,
    garbage: BTreeSet<ChunkId>,
    missing: BTreeMap<ChunkId, u32>,
    orphans: BTreeMap<Ino, Vec<SessionId>>,
    held: BTreeSet<(SessionId, Ino)>,
    purges: BTreeSet<(Ino, u64)>,
    counters: BTreeMap<Vec<u8>, u64>,
    trash: BTreeMap<Ino, Timestamp>,
    quotas: BTreeMap<Ino, QuotaRow>,
    /// Bytes promised to sessions, by the quota that they asked.
    reserved: BTreeMap<Ino, u64>,
    /// Some directory's entries are still to be given to a quota.
    walking: bool,
    counts: counts::Counts,
    /// Entries whose kind is compared at the end: (parent, name, inode, kind).
    kinds: Vec<(Ino, Vec<u8>, Ino, FileKind)>,
    problems: Vec<Problem>,
}

impl Checker {
    pub fn new() -> Checker {
        Checker::default()
    }

    /// Takes the next row, in key order.
    pub fn feed(&mut self, key: &[u8], value: &[u8]) {
        if let Err(error) = self.take(key, value) {
            let (place, detail) = match error {
                ViewError::Damaged { key, reason } => (key, reason),
                ViewError::Store(reason) => (crate::rows::print_key(key), reason),
            };
            self.problem(ProblemKind::Damaged, place, detail);
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        let parsed = keys::parse(key).ok_or_else(|| ViewError::Damaged {
            key: crate::rows::print_key(key),
            reason: "not a key of this program".to_owned(),
        })?;
        match parsed {
            Key::Inode(ino) => self.take_inode(ino, InodeRow::decode(key, value)?),
            Key::Dentry { parent, hash, name } => {
                let row = DentryRow::decode(key, value)?;
                self.take_entry(key, (parent, hash, name), row)?;
            }
            Key::Xattr { ino, .. } => {
                XattrRow::decode(key, value)?;
                self.inodes.entry(ino).or_default().xattrs += 1;
            }
            Key::Extent { ino, content, end } => {
                let row = ExtentRow::decode(key, value)?;
                self.take_extent(ino, content, end, row);
            }
            Key::Chunk(id) => {
                self.chunks.insert(id, ChunkRow::decode(key, value)?);
            }
            Key::Garbage(id) => {
                GarbageRow::decode(key, value)?;
                self.garbage.insert(id);
            }
            Key::Missing {
                chunk,
                node: NodeId(_),
            } => {
                MissingRow::decode(key, value)?;
                *self.missing.entry(chunk).or_default() += 1;
            }
            Key::Orphan(ino) => {
                self.orphans.insert(ino, OrphanRow::decode(key, value)?.holders);
            }
            Key::Held { session, ino } => {
                HeldRow::decode(key, value)?;
                self.held.insert((session, ino));
            }
            Key::Purge { ino, content } => {
                PurgeRow::decode(key, value)?;
                self.purges.insert((ino, content));
            }
            Key::Counter(name) => {
                self.counters.insert(name, CounterRow::decode(key, value)?.value);
            }
            key_of_space @ (Key::Trash { .. } | Key::Quota(_) | Key::Reserved { .. } | Key::Walk { .. }) => {
                self.take_space(key_of_space, key, value)?;
            }
            Key::Setting(name) => {
                SettingRow::decode(key, value)?;
                self.counts.begun |= name == crate::namespace::COUNTS_BEGUN;
            }
            key_of_counts @ (Key::Tree(_) | Key::Arrived(_) | Key::OtherName { .. } | Key::Uncounted(_)) => {
                self.counts.take(key_of_counts, key, value)?;
            }
            Key::Range { .. } => drop(RangeRow::decode(key, value)?),
            Key::Session(_) => drop(SessionRow::decode(key, value)?),
            Key::Reply { op, .. } => drop(RepliesRow::decode_under(op, value)?),
            Key::Node(_) => drop(NodeRow::decode(key, value)?),
            Key::Set(_) => drop(SetRow::decode(key, value)?),
            Key::Plan(_) => drop(PlanRow::decode(key, value)?),
        }
        Ok(())
    }

    fn take_inode(&mut self, ino: Ino, row: InodeRow) {
        self.inodes.entry(ino).or_default().row = Some(Stored {
            kind: row.kind,
            nlink: row.nlink,
            size: row.size,
            blocks: row.blocks,
            content: row.content,
            parent: row.parent,
            xattrs: row.xattrs,
            ctime: row.ctime,
            quota: row.quota,
            charged: row.charged,
            home: row.home,
            place: row.place,
        });
    }

    fn take_entry(
        &mut self,
        key: &[u8],
        (parent, hash, name): (Ino, u64, Vec<u8>),
        row: DentryRow,
    ) -> Result<(), ViewError> {
        if hash != keys::name_hash(&name) {
            return Err(ViewError::Damaged {
                key: crate::rows::print_key(key),
                reason: "the hash is not the name's".to_owned(),
            });
        }
        let dir = self.inodes.entry(parent).or_default();
        dir.entries += 1;
        dir.subdirs += u32::from(row.kind == FileKind::Directory);
        let inode = self.inodes.entry(row.ino).or_default();
        inode.names += 1;
        inode.name = Some((parent, name.clone()));
        self.kinds.push((parent, name, row.ino, row.kind));
        Ok(())
    }

    fn take_extent(&mut self, ino: Ino, content: u64, end: u64, row: ExtentRow) {
        let Some(extent) = row.extent(end) else {
            let detail = format!("extent of {} bytes that ends at {end}", row.len);
            return self.problem(ProblemKind::Extents, format!("inode {ino}"), detail);
        };
        let seen = self.contents.entry((ino, content)).or_default();
        let overlaps = extent.offset < seen.end;
        seen.end = end;
        seen.blocks += extent.len.div_ceil(512);
        seen.bytes += extent.len;
        if overlaps {
            let detail = format!("extents overlap at byte {}", extent.offset);
            self.problem(ProblemKind::Extents, format!("inode {ino}"), detail);
        }
        self.take_use(ino, &extent);
    }

    fn take_use(&mut self, ino: Ino, extent: &Extent) {
        if extent.chunk == ChunkId::ZEROS {
            return;
        }
        let used = self.uses.entry(extent.chunk).or_default();
        used.references += 1;
        used.live_bytes = used.live_bytes.saturating_add(extent.len);
        used.reach = used
            .reach
            .max(u64::from(extent.chunk_offset).saturating_add(extent.len));
        used.ino = ino.0;
    }

    fn problem(&mut self, kind: ProblemKind, place: String, detail: String) {
        self.problems.push(Problem { kind, place, detail });
    }
}
