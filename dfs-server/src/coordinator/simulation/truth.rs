//! The reference: what the durable log means, worked out from the operations in it by other means than the code
//! under test, and how much of it has been told to anybody. An answer that is older than what was told before the
//! question is a violation; so is one that never was true.

use super::messages::{Tag, datanode_at};
use dfs_core::error::FsResult;
use dfs_core::ids::{ChunkId, Index, Ino, NodeId, SessionId, SetId};
use dfs_core::keys::{self, Key};
use dfs_core::op::{Commit, Op, RenameMode, Reply};
use dfs_core::record::Record;
use dfs_core::rows::{InodeRow, Joining, MissingRow, NodeRow, SetRow};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a block of the model's files.
pub const BLOCK: u64 = 65_536;

/// Something that has one value at a time and is read alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// The inode behind a name of the root directory; 0 is none.
    Name(Vec<u8>),
    /// The inode's version; 0: there is no such inode.
    Version(Ino),
    Block(Ino, u64),
}

/// All values that a cell had, and the oldest that may still be told.
#[derive(Default)]
struct History {
    values: Vec<u64>,
    floor: usize,
}

/// What an executor did for a session, in its order; whether it stays is up to the log.
#[derive(Clone)]
pub struct Executed {
    pub session: SessionId,
    pub op_id: u64,
    pub op: Op,
    pub result: FsResult<Reply>,
    pub rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub index: Index,
}

struct Done {
    result: FsResult<Reply>,
    cells: Vec<(Cell, usize)>,
}

#[derive(Default)]
pub struct Truth {
    cells: BTreeMap<Cell, History>,
    done: BTreeMap<(SessionId, u64), Done>,
    /// When the first operation of a record was executed.
    begun: BTreeMap<(u64, Index), u64>,
    /// Executed by a leader of this term and not yet in the log.
    pending: BTreeMap<u64, Vec<Executed>>,
    /// Writes that overwrote what was written after them, since the world last looked.
    pub late: Vec<String>,
    /// Files whose content sessions changed since the world last looked.
    pub changed: Vec<(SessionId, Ino)>,
    /// What clients put into chunks.
    pub content: BTreeMap<ChunkId, Vec<Tag>>,
    /// Since when chunks are garbage, by the world's time.
    pub garbage: BTreeMap<ChunkId, u64>,
    /// The sets' rows as the world last looked at them, and since when nodes are members of before.
    pub sets: BTreeMap<SetId, SetRow>,
    pub left: BTreeMap<(SetId, NodeId), u64>,
    /// Since when inodes are in the trash, and since when the retention is what it is.
    pub trash: BTreeMap<Ino, u64>,
    pub retention: (u64, u64),
    /// Since when copies are noted as missing.
    pub missing: BTreeMap<(ChunkId, NodeId), u64>,
    /// The newest record that is known to be in the log.
    pub known: Index,
    /// The rows of the durable log.
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Truth {
    pub fn executed(&mut self, term: u64, executed: Vec<Executed>, now: u64) {
        for one in &executed {
            self.begun.entry((term, one.index)).or_insert(now);
        }
        self.pending.entry(term).or_default().extend(executed);
    }

    /// A record is in the log for good: what was executed for it has happened. Returns violations.
    pub fn durable(&mut self, record: &Record) -> Vec<String> {
        for (key, value) in &record.rows {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        let mut wrong = Vec::new();
        let pending = self.pending.entry(record.term.0).or_default();
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(pending)
            .into_iter()
            .partition(|executed| executed.index == record.index && !executed.rows.is_empty());
        *pending = later
            .into_iter()
            .filter(|executed| executed.index > record.index)
            .collect();
        for executed in now {
            wrong.extend(self.happened(executed));
        }
        wrong
    }

    pub fn begun(&self, record: &Record) -> Option<u64> {
        self.begun.get(&(record.term.0, record.index)).copied()
    }

    fn happened(&mut self, executed: Executed) -> Option<String> {
        let mut changed = Vec::new();
        for (key, value) in &executed.rows {
            if let Some(Key::Inode(ino)) = keys::parse(key) {
                let row = value.as_ref().map(|value| InodeRow::decode(key, value));
                let version = row.map_or(0, |row| row.map_or(u64::MAX, |row| row.version));
                changed.push(self.set(Cell::Version(ino), version));
            }
        }
        if let Ok(reply) = &executed.result {
            self.apply(&executed.op, reply, &mut changed);
            if let Op::Commit(commit) = &executed.op {
                // A file that is gone is skipped by the commit, whoever held it.
                let files = commit.files.iter().map(|file| file.ino);
                let there: Vec<Ino> = files
                    .filter(|ino| self.newest(&Cell::Version(*ino)) != 0)
                    .collect();
                self.changed
                    .extend(there.into_iter().map(|ino| (executed.session, ino)));
            }
        }
        if executed.session == SessionId::COORDINATOR {
            return None;
        }
        let whose = (executed.session, executed.op_id);
        let done = Done {
            result: executed.result,
            cells: changed,
        };
        let again = self.done.insert(whose, done).is_some();
        again.then(|| {
            format!(
                "AtMostOnce: {:?} (call {} of {}) took effect twice",
                executed.op, whose.1, whose.0
            )
        })
    }

    /// What the operation means, said a second time.
    fn apply(&mut self, op: &Op, reply: &Reply, changed: &mut Vec<(Cell, usize)>) {
        match (op, reply) {
            (Op::Make(make), Reply::Entry { attr, created: true }) => {
                changed.push(self.set(Cell::Name(make.name.clone()), attr.ino.0));
            }
            (Op::Unlink(unlink), Reply::Removed { .. }) => {
                changed.push(self.set(Cell::Name(unlink.name.clone()), 0));
            }
            (Op::Rename(rename), Reply::Renamed { moved, .. }) if rename.mode == RenameMode::Replace => {
                let target = self.newest(&Cell::Name(rename.new_name.clone()));
                if target != moved.0 {
                    changed.push(self.set(Cell::Name(rename.name.clone()), 0));
                    changed.push(self.set(Cell::Name(rename.new_name.clone()), moved.0));
                }
            }
            (
                Op::Restore {
                    ino,
                    to: Some((_, name)),
                },
                Reply::Entry { .. },
            ) => {
                changed.push(self.set(Cell::Name(name.clone()), ino.0));
            }
            (Op::Commit(commit), Reply::Done) => self.apply_commit(commit, changed),
            (Op::SetAttr { ino, changes }, _) => {
                if let Some(size) = changes.size {
                    self.truncate(*ino, size, changed);
                }
            }
            _ => {}
        }
    }

    fn apply_commit(&mut self, commit: &Commit, changed: &mut Vec<(Cell, usize)>) {
        for file in &commit.files {
            if self.newest(&Cell::Version(file.ino)) == 0 {
                continue;
            }
            for extent in &file.extents {
                for block in 0..extent.len / BLOCK {
                    let place = (u64::from(extent.chunk_offset) / BLOCK + block) as usize;
                    let content = self.content.get(&extent.chunk);
                    let tag = content
                        .and_then(|content| content.get(place))
                        .copied()
                        .unwrap_or(u64::MAX);
                    let cell = Cell::Block(file.ino, extent.offset / BLOCK + block);
                    if tag < self.newest(&cell) {
                        // Tags count all writes in the order in which they were made.
                        self.late
                            .push(format!("{cell:?}: write {tag} came after {}", self.newest(&cell)));
                    }
                    changed.push(self.set(cell, tag));
                }
            }
        }
    }

    fn truncate(&mut self, ino: Ino, size: u64, changed: &mut Vec<(Cell, usize)>) {
        let first = size.div_ceil(BLOCK);
        let range = Cell::Block(ino, first)..=Cell::Block(ino, u64::MAX);
        let cells: Vec<Cell> = self.cells.range(range).map(|(cell, _)| cell.clone()).collect();
        for cell in cells {
            if self.newest(&cell) != 0 {
                changed.push(self.set(cell, 0));
            }
        }
    }

    fn history(&mut self, cell: &Cell) -> &mut History {
        self.cells.entry(cell.clone()).or_insert_with(|| History {
            values: vec![0],
            floor: 0,
        })
    }

    fn set(&mut self, cell: Cell, value: u64) -> (Cell, usize) {
        let history = self.history(&cell);
        history.values.push(value);
        let place = history.values.len() - 1;
        (cell, place)
    }

    pub fn newest(&self, cell: &Cell) -> u64 {
        self.cells
            .get(cell)
            .and_then(|history| history.values.last())
            .copied()
            .unwrap_or(0)
    }

    /// The oldest value that may be told to a question that is asked now.
    pub fn floor(&self, cell: &Cell) -> usize {
        self.cells.get(cell).map_or(0, |history| history.floor)
    }

    /// Whether the block ever was this.
    pub fn had(&self, ino: Ino, block: u64, tag: Tag) -> bool {
        let history = self.cells.get(&Cell::Block(ino, block));
        history.is_some_and(|history| history.values.contains(&tag))
    }

    /// Whether there is no such inode (any more).
    pub fn gone(&self, ino: Ino) -> bool {
        self.newest(&Cell::Version(ino)) == 0
    }

    /// Somebody is told `value` in answer to a question that was asked when the floor was `asked_at`.
    pub fn read(&mut self, cell: &Cell, value: u64, asked_at: usize) -> Result<(), String> {
        let history = self.history(cell);
        let found = history
            .values
            .iter()
            .skip(asked_at)
            .position(|held| *held == value);
        let Some(place) = found.map(|place| place + asked_at) else {
            return Err(match history.values.contains(&value) {
                true => format!(
                    "{cell:?} was told as {value}, but {:?} was told before",
                    history.values[asked_at]
                ),
                false => format!("{cell:?} was told as {value}, which it never was"),
            });
        };
        history.floor = history.floor.max(place);
        Ok(())
    }

    /// A change is acknowledged to its caller: from now on everybody must see it. `Err` when it is not durable or
    /// the answer is another.
    pub fn acknowledged(
        &mut self,
        session: SessionId,
        op_id: u64,
        changes: bool,
        result: &FsResult<Reply>,
    ) -> Result<(), String> {
        let Some(done) = self.done.get(&(session, op_id)) else {
            return match (changes, result) {
                (true, Ok(reply)) => Err(format!(
                    "Durable: {reply:?} was acknowledged and is not in the log"
                )),
                _ => Ok(()),
            };
        };
        if done.result != *result {
            return Err(format!(
                "AtMostOnce: call {op_id} of {session} did {:?} and was answered {result:?}",
                done.result
            ));
        }
        for (cell, place) in done.cells.clone() {
            let history = self.history(&cell);
            history.floor = history.floor.max(place);
        }
        Ok(())
    }

    /// Whether this datanode must keep the chunk: it is in use, and the member is not known to lack it.
    pub fn refers_to(&self, chunk: ChunkId, datanode: usize) -> bool {
        self.rows.contains_key(&keys::chunk(chunk)) && self.holders(chunk).contains(&datanode)
    }

    /// The datanodes on whose disks the chunk must be.
    pub fn holders(&self, chunk: ChunkId) -> BTreeSet<usize> {
        let key = keys::set(chunk.set);
        let members = self.rows.get(&key).map(|row| SetRow::decode(&key, row));
        let Some(Ok(set)) = members else {
            return BTreeSet::new();
        };
        let lacks = |node| {
            let key = keys::missing(chunk, node);
            self.rows
                .get(&key)
                .is_some_and(|row| MissingRow::decode(&key, row).is_ok())
        };
        // Of what was there before it joined, a member has what its cursor has passed.
        let waits = |node: NodeId| {
            let unfilled = |joining: &Joining| (joining.next..joining.until).contains(&chunk.seq);
            set.joining
                .iter()
                .any(|joining| joining.node == node && unfilled(joining))
        };
        set.members
            .iter()
            .filter(|node| !lacks(**node) && !waits(**node))
            .filter_map(|node| self.datanode(*node))
            .collect()
    }

    pub fn members(&self, set: SetId) -> BTreeSet<usize> {
        let row = self.sets.get(&set);
        let members = row.into_iter().flat_map(|row| &row.members);
        members.filter_map(|node| self.datanode(*node)).collect()
    }

    pub fn datanode(&self, node: NodeId) -> Option<usize> {
        let key = keys::node(node);
        let row = NodeRow::decode(&key, self.rows.get(&key)?).ok()?;
        datanode_at(&row.address)
    }

    /// Every name with its inode, as the reference has it.
    pub fn names(&self) -> BTreeMap<Vec<u8>, u64> {
        self.cells
            .iter()
            .filter_map(|(cell, history)| match (cell, history.values.last()) {
                (Cell::Name(name), Some(ino)) if *ino != 0 => Some((name.clone(), *ino)),
                _ => None,
            })
            .collect()
    }

    /// The blocks of a file that are not holes.
    pub fn blocks(&self, ino: Ino) -> BTreeMap<u64, Tag> {
        self.cells
            .range(Cell::Block(ino, 0)..=Cell::Block(ino, u64::MAX))
            .filter_map(|(cell, history)| match (cell, history.values.last()) {
                (Cell::Block(_, block), Some(tag)) if *tag != 0 => Some((*block, *tag)),
                _ => None,
            })
            .collect()
    }
}
