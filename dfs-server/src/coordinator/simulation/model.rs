//! Rows against the reference: of each record's chunks when it becomes durable, and of everything at the end,
//! when nothing may wait, lack or be left over.

use super::datanode::Stored;
use super::messages::sha256;
use super::tally::{Check, Fault};
use super::truth::BLOCK;
use super::workers::scan;
use super::world::World;
use dfs_core::ids::{ChunkId, Ino};
use dfs_core::keys::{self, Key};
use dfs_core::record::Record;
use dfs_core::rows::{ChunkRow, CountRow, DentryRow, ExtentRow, InodeRow, NodeRow, NodeState};
use dfs_core::view::MemoryView;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// New chunks are on the disks of all members that are not known to lack them.
    pub fn check_record(&mut self, record: &Record) {
        self.check_sums(record);
        for (key, value) in &record.rows {
            let (id, value) = match (keys::parse(key), value) {
                (Some(Key::Chunk(id)), Some(value)) => (id, value),
                (Some(Key::Garbage(id)), Some(_)) => {
                    self.truth.garbage.entry(id).or_insert(self.now);
                    continue;
                }
                (Some(Key::Missing { chunk, node }), value) => {
                    self.truth.missing.remove(&(chunk, node));
                    if value.is_some() {
                        self.truth.missing.insert((chunk, node), self.now);
                    }
                    continue;
                }
                (Some(Key::Setting(_)), _) => {
                    self.check_setting();
                    continue;
                }
                (Some(Key::Trash { ino, .. }), value) => {
                    let came = value
                        .as_ref()
                        .map(|_| self.truth.begun(record).unwrap_or(self.now));
                    self.check_trash(ino, came);
                    continue;
                }
                (Some(Key::Node(_)), Some(value)) => {
                    let row = NodeRow::decode(key, value);
                    if row.is_ok_and(|row| row.state == NodeState::Dead) {
                        self.fault(Fault::Dead);
                    }
                    continue;
                }
                (Some(Key::Set(id)), Some(value)) => {
                    self.check_set(id, value);
                    continue;
                }
                _ => continue,
            };
            let Ok(row) = ChunkRow::decode(key, value) else {
                return self.fail(format!("Model: the row of chunk {id} does not decode"));
            };
            self.tally.check(Check::ReferencedChunk);
            let good = |node: &usize| {
                let datanode = &self.datanodes[*node];
                let stored = datanode.chunks.get(&id);
                let good = |stored: &Stored| stored.corrupt || sha256(&stored.content) == row.sha256;
                datanode.lost || stored.is_some_and(|stored| stored.durable && good(stored))
            };
            let holders = self.truth.holders(id);
            if let Some(node) = holders.iter().find(|node| !good(node)) {
                return self.fail(format!(
                    "ReferencedChunk: metadata counts on chunk {id} at datanode {node}, which has it not on disk"
                ));
            }
        }
    }

    /// All files are in the root: what it counts, and what has arrived there, are they.
    fn check_sums(&mut self, record: &Record) {
        let concerned = |key: &Vec<u8>| {
            matches!(
                keys::parse(key),
                Some(Key::Inode(_) | Key::Arrived(_) | Key::Tree(_))
            )
        };
        if !record.rows.iter().any(|(key, _)| concerned(key)) {
            return;
        }
        let rows = &self.truth.rows;
        let (start, end) = keys::prefix::inodes();
        let inodes = rows.range(start..end);
        let inodes = inodes.filter_map(|(key, value)| InodeRow::decode(key, value).ok());
        let mut due = CountRow::default();
        for row in inodes.filter(|row| row.nlink > 0 && !row.is_dir()) {
            due.files += 1;
            due.bytes += row.size as i64;
        }
        let mut found = CountRow::default();
        for key in [keys::tree(Ino::ROOT), keys::arrived(Ino::ROOT)] {
            let row = rows.get(&key).map(|value| CountRow::decode(&key, value));
            found.add(row.and_then(Result::ok).unwrap_or_default());
        }
        self.tally.check(Check::Sums);
        if found != due {
            let index = record.index;
            self.fail(format!(
                "Sums: with record {index:?} the root counts {found:?}, and {due:?} is there"
            ));
        }
    }

    /// Everything that must be so when the last fault is long over. The first thing that is not.
    pub fn check_end(&mut self) -> Result<(), String> {
        self.tally.check(Check::Converges);
        let view = MemoryView {
            rows: self.truth.rows.clone(),
            ..MemoryView::default()
        };
        let left = [
            ("missing copies", keys::prefix::missing()),
            ("garbage", keys::prefix::garbage()),
            ("orphans", keys::prefix::orphans()),
            ("content to purge", keys::prefix::purges()),
            ("sessions", keys::prefix::sessions()),
            ("chunk ranges", keys::prefix::ranges()),
            ("things in the trash", keys::prefix::trash()),
        ];
        for (what, range) in left {
            let rows = scan(&view, &range, |key, _| Some(key));
            if let Some(key) = rows.first() {
                return Err(format!("Converges: {} {what} are left, as {key:?}", rows.len()));
            }
        }
        self.check_copies(&view)?;
        self.check_places(&view)?;
        self.check_names(&view)?;
        let mut checker = dfs_core::check::Checker::new();
        for (key, value) in &self.truth.rows {
            checker.feed(key, value);
        }
        match checker.finish().first() {
            Some(problem) => Err(format!("Model: fsck says {problem:?}")),
            None => Ok(()),
        }
    }

    /// Every member has a good copy of every chunk, and nobody has anything else.
    fn check_copies(&self, view: &MemoryView) -> Result<(), String> {
        let chunks: BTreeMap<ChunkId, ChunkRow> =
            scan(view, &keys::prefix::chunks(), |key, value| match key {
                Key::Chunk(id) => Some((id, ChunkRow::decode(&[], value).ok()?)),
                _ => None,
            })
            .into_iter()
            .collect();
        for (id, row) in &chunks {
            for node in self.truth.holders(*id) {
                let good = self.has_good(node, *id, row);
                // Rot that nobody has read yet is scrub's to find.
                let rotten = self.datanodes[node]
                    .chunks
                    .get(id)
                    .is_some_and(|stored| stored.corrupt);
                if !good && !rotten {
                    return Err(format!(
                        "Converges: datanode {node} has no good copy of chunk {id}"
                    ));
                }
            }
        }
        for (node, datanode) in self.datanodes.iter().enumerate().filter(|(_, node)| !node.lost) {
            // A pull or an upload that ends when its node has left the set and was cleared leaves a copy that no
            // inventory looks for: see "The simulation" in the map.
            let mine = |id: &&ChunkId| self.truth.members(id.set).contains(&node);
            let mut held = datanode.chunks.keys();
            if let Some(id) = held.find(|id| mine(id) && !chunks.contains_key(id)) {
                return Err(format!("Converges: chunk {id} is left on datanode {node}"));
            }
        }
        Ok(())
    }

    /// Names, inodes and content are those of the reference.
    fn check_names(&self, view: &MemoryView) -> Result<(), String> {
        let dentries: BTreeMap<Vec<u8>, u64> =
            scan(view, &keys::prefix::dentries(), |key, value| match key {
                Key::Dentry { name, .. } => Some((name, DentryRow::decode(&[], value).ok()?.ino.0)),
                _ => None,
            })
            .into_iter()
            .collect();
        let names = self.truth.names();
        if dentries != names {
            return Err(format!(
                "Model: the names are {dentries:?}, the reference has {names:?}"
            ));
        }
        let inodes: BTreeMap<Ino, InodeRow> = scan(view, &keys::prefix::inodes(), |key, value| match key {
            Key::Inode(ino) => Some((ino, InodeRow::decode(&[], value).ok()?)),
            _ => None,
        })
        .into_iter()
        .collect();
        let named: BTreeSet<Ino> = names.values().map(|ino| Ino(*ino)).chain([Ino::ROOT]).collect();
        if let Some(ino) = inodes.keys().find(|ino| !named.contains(ino)) {
            return Err(format!("Model: inode {ino} has no name"));
        }
        for (ino, row) in &inodes {
            let extents = scan(
                view,
                &keys::prefix::extents(*ino, row.content),
                |key, value| match key {
                    Key::Extent { end, .. } => ExtentRow::decode(&[], value).ok()?.extent(end),
                    _ => None,
                },
            );
            let mut blocks = BTreeMap::new();
            for extent in extents {
                let content = self.truth.content.get(&extent.chunk);
                for block in 0..extent.len / BLOCK {
                    let place = (u64::from(extent.chunk_offset) / BLOCK + block) as usize;
                    let tag = content
                        .and_then(|content| content.get(place))
                        .copied()
                        .unwrap_or(u64::MAX);
                    blocks.insert(extent.offset / BLOCK + block, tag);
                }
            }
            let expected = self.truth.blocks(*ino);
            if blocks != expected {
                return Err(format!(
                    "Model: inode {ino} holds {blocks:?}, the reference has {expected:?}"
                ));
            }
        }
        Ok(())
    }
}
