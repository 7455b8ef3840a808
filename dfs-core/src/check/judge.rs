//! The judgement: after all rows were seen, everything that does not agree. `Checker::finish` calls it.

use super::{Checker, Inode, Problem, ProblemKind};
use crate::ids::Ino;
use crate::types::FileKind;
use std::collections::BTreeSet;

/// Longest way up that is followed: more is a circle.
const DEPTH_MAX: usize = 1 << 16;

impl Checker {
    /// The path of an inode by the names that were seen; `None` when it does not lead to the root.
    pub fn path(&self, ino: Ino) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        let mut place = ino;
        while place != Ino::ROOT {
            let (parent, name) = self.inodes.get(&place)?.name.as_ref()?;
            parts.push(String::from_utf8_lossy(name).into_owned());
            place = *parent;
            if parts.len() > DEPTH_MAX {
                return None;
            }
        }
        parts.push(String::new());
        parts.reverse();
        Some(if parts.len() == 1 {
            "/".to_owned()
        } else {
            parts.join("/")
        })
    }

    /// Number of inodes seen, and content bytes of the chunks in use.
    pub fn totals(&self) -> (u64, u64) {
        let inodes = self.inodes.values().filter(|inode| inode.row.is_some()).count() as u64;
        (
            inodes,
            self.chunks.values().map(|chunk| u64::from(chunk.len)).sum(),
        )
    }

    /// Everything that does not agree, in the order of the inodes.
    pub fn finish(mut self) -> Vec<Problem> {
        let sums = self.judge_counts();
        self.judge_entries();
        let mut inos: Vec<Ino> = self.inodes.keys().copied().collect();
        inos.sort();
        for ino in inos {
            if let Some(inode) = self.inodes.get(&ino).cloned() {
                self.judge_inode(ino, &inode);
            }
        }
        self.judge_orphans();
        self.judge_trash();
        self.judge_quotas();
        self.judge_contents();
        self.judge_chunks();
        self.judge_counters();
        // Of a tree that is damaged itself the sums say nothing.
        if !self.problems.iter().any(|problem| problem.kind.is_of_names()) {
            self.problems.extend(sums);
        }
        self.problems
    }

    pub(super) fn place(&self, ino: Ino) -> String {
        match self.path(ino) {
            Some(path) => format!("{path} (inode {ino})"),
            None => format!("inode {ino}"),
        }
    }

    fn judge_entries(&mut self) {
        for (parent, name, ino, kind) in std::mem::take(&mut self.kinds) {
            let found = self
                .inodes
                .get(&ino)
                .and_then(|inode| inode.row.as_ref())
                .map(|row| row.kind);
            let place = format!(
                "{}, entry {:?}",
                self.place(parent),
                String::from_utf8_lossy(&name)
            );
            match found {
                None => self.problem(
                    ProblemKind::DanglingEntry,
                    place,
                    format!("inode {ino} does not exist"),
                ),
                Some(found) if found != kind => self.problem(
                    ProblemKind::WrongKind,
                    place,
                    format!("the entry says {kind:?}, inode {ino} is {found:?}"),
                ),
                Some(_) => {}
            }
        }
    }

    fn judge_inode(&mut self, ino: Ino, inode: &Inode) {
        let place = self.place(ino);
        let Some(row) = &inode.row else {
            if inode.entries > 0 {
                let detail = format!("{} entries in a directory that does not exist", inode.entries);
                self.problem(ProblemKind::DanglingEntry, place.clone(), detail);
            }
            if inode.xattrs > 0 {
                let detail = format!("{} xattrs of an inode that does not exist", inode.xattrs);
                self.problem(ProblemKind::Xattrs, place, detail);
            }
            return;
        };
        if row.xattrs != inode.xattrs {
            let detail = format!("counts {} xattrs and has {}", row.xattrs, inode.xattrs);
            self.problem(ProblemKind::Xattrs, place.clone(), detail);
        }
        let is_dir = row.kind == FileKind::Directory;
        if !is_dir && inode.entries > 0 {
            let detail = format!("{} entries in something that is no directory", inode.entries);
            self.problem(ProblemKind::DanglingEntry, place.clone(), detail);
        }
        let named = inode.names > 0 || ino == Ino::ROOT;
        if !named && !self.orphans.contains_key(&ino) && !self.trash.contains_key(&ino) {
            let detail = "no name leads to it and nobody holds it open".to_owned();
            self.problem(ProblemKind::Unreachable, place.clone(), detail);
        }
        let links = match (is_dir, named) {
            (true, true) => 2 + inode.subdirs,
            (true, false) => 0,
            (false, _) => inode.names,
        };
        if row.nlink != links {
            let detail = format!("link count {} where {links} is right", row.nlink);
            self.problem(ProblemKind::LinkCount, place.clone(), detail);
        }
        if is_dir {
            self.judge_dir(ino, inode, row.size, row.parent, place);
        }
    }

    fn judge_dir(&mut self, ino: Ino, inode: &Inode, size: u64, parent: Ino, place: String) {
        if size != inode.entries {
            let detail = format!("size {size} where {} entries are", inode.entries);
            self.problem(ProblemKind::DirectorySize, place.clone(), detail);
        }
        let found = match &inode.name {
            Some((found, _)) => *found,
            None if ino == Ino::ROOT => Ino::ROOT,
            None => return,
        };
        if found != parent || inode.names > 1 || (ino == Ino::ROOT && inode.names > 0) {
            let detail = format!(
                "its way up is inode {parent}; {} entries, one in inode {found}",
                inode.names
            );
            self.problem(ProblemKind::Parent, place.clone(), detail);
        }
        if self.path(ino).is_none() && !self.leads_to_orphan(ino) {
            let detail = "its way up does not lead to the root".to_owned();
            self.problem(ProblemKind::Unreachable, place, detail);
        }
    }

    fn leads_to_orphan(&self, ino: Ino) -> bool {
        let mut place = ino;
        for _ in 0..DEPTH_MAX {
            match self.inodes.get(&place).and_then(|inode| inode.name.as_ref()) {
                Some((parent, _)) => place = *parent,
                None => return self.orphans.contains_key(&place),
            }
        }
        false
    }

    fn judge_orphans(&mut self) {
        let mut expected = BTreeSet::new();
        for (ino, holders) in self.orphans.clone() {
            let place = self.place(ino);
            expected.extend(holders.iter().map(|session| (*session, ino)));
            if holders.is_empty() {
                self.problem(
                    ProblemKind::Orphan,
                    place.clone(),
                    "an orphan that nobody holds".to_owned(),
                );
            }
            match self.inodes.get(&ino) {
                Some(inode) if inode.row.is_some() && inode.names == 0 => {}
                Some(inode) if inode.row.is_some() => {
                    self.problem(ProblemKind::Orphan, place, "an orphan that has a name".to_owned());
                }
                _ => self.problem(
                    ProblemKind::Orphan,
                    place,
                    "an orphan row without inode".to_owned(),
                ),
            }
        }
        let differ: Vec<_> = expected.symmetric_difference(&self.held).copied().collect();
        for (session, ino) in differ {
            let detail = format!("orphan row and index disagree about session {session}");
            self.problem(ProblemKind::Orphan, format!("inode {ino}"), detail);
        }
    }

    fn judge_contents(&mut self) {
        for ((ino, content), seen) in std::mem::take(&mut self.contents) {
            let row = self.inodes.get(&ino).and_then(|inode| inode.row.as_ref());
            match row.filter(|row| row.content == content && row.kind == FileKind::File) {
                Some(row) if row.blocks != seen.blocks => {
                    let detail = format!("{} blocks where the extents have {}", row.blocks, seen.blocks);
                    self.problem(ProblemKind::Blocks, self.place(ino), detail);
                }
                Some(_) => {}
                None if self.purges.contains(&(ino, content)) => {}
                None => {
                    let detail = format!("extents of content {content}, which is neither present nor queued");
                    self.problem(ProblemKind::StrayExtents, self.place(ino), detail);
                }
            }
            if let Some(inode) = self.inodes.get_mut(&ino)
                && let Some(row) = inode.row.as_mut()
                && row.content == content
            {
                row.blocks = 0;
            }
        }
        // What still has blocks had no extents.
        let mut left: Vec<(Ino, u64)> = Vec::new();
        for (ino, inode) in &self.inodes {
            left.extend(
                inode
                    .row
                    .iter()
                    .filter(|row| row.blocks > 0)
                    .map(|row| (*ino, row.blocks)),
            );
        }
        left.sort();
        for (ino, blocks) in left {
            let detail = format!("{blocks} blocks and no extents");
            self.problem(ProblemKind::Blocks, self.place(ino), detail);
        }
    }

    fn judge_chunks(&mut self) {
        let mut seen = BTreeSet::new();
        for (id, used) in std::mem::take(&mut self.uses) {
            let place = format!("chunk {id}");
            let file = self.place(Ino(used.ino));
            let Some(chunk) = self.chunks.get(&id).copied() else {
                let detail = format!("not known, used by {file}");
                self.problem(ProblemKind::DanglingExtent, place, detail);
                continue;
            };
            if used.reach > u64::from(chunk.len) {
                let detail = format!(
                    "{} bytes long, extents reach to {}, one is of {file}",
                    chunk.len, used.reach
                );
                self.problem(ProblemKind::DanglingExtent, place.clone(), detail);
            }
            if (chunk.references, chunk.live_bytes) != (used.references, used.live_bytes) {
                let detail = format!(
                    "{} references to {} bytes where extents have {} to {}",
                    chunk.references, chunk.live_bytes, used.references, used.live_bytes
                );
                self.problem(ProblemKind::ChunkCounts, place, detail);
            }
            seen.insert(id);
            self.judge_chunk_state(id, chunk.missing);
        }
        let unused: Vec<_> = self
            .chunks
            .keys()
            .filter(|id| !seen.contains(id))
            .copied()
            .collect();
        for id in unused {
            let detail = "known as in use, and no extent refers to it".to_owned();
            self.problem(ProblemKind::ChunkCounts, format!("chunk {id}"), detail);
        }
        let strays: Vec<_> = self
            .missing
            .keys()
            .filter(|id| !self.chunks.contains_key(id))
            .copied()
            .collect();
        for id in strays {
            let detail = "missing copies of a chunk that is not in use".to_owned();
            self.problem(ProblemKind::ChunkState, format!("chunk {id}"), detail);
        }
    }

    fn judge_chunk_state(&mut self, id: crate::ids::ChunkId, missing: u32) {
        let place = format!("chunk {id}");
        if self.garbage.contains(&id) {
            self.problem(
                ProblemKind::ChunkState,
                place.clone(),
                "both in use and garbage".to_owned(),
            );
        }
        let found = self.missing.get(&id).copied().unwrap_or(0);
        if found != missing {
            let detail = format!("counts {missing} missing copies and has {found}");
            self.problem(ProblemKind::ChunkState, place, detail);
        }
    }

    fn judge_counters(&mut self) {
        let (inodes, bytes) = self.totals();
        for (name, found) in [(&b"inodes"[..], inodes), (b"bytes", bytes)] {
            if let Some(stored) = self.counters.get(name).filter(|stored| **stored != found) {
                let detail = format!("{stored} where the rows have {found}");
                let place = format!("counter {}", String::from_utf8_lossy(name));
                self.problem(ProblemKind::Counters, place, detail);
            }
        }
        let highest = self.inodes.keys().map(|ino| ino.0).max().unwrap_or(0);
        if let Some(next) = self
            .counters
            .get(&b"next_ino"[..])
            .filter(|next| **next <= highest)
        {
            let detail = format!("{next}, and inode {highest} exists: numbers would be given twice");
            self.problem(ProblemKind::Counters, "counter next_ino".to_owned(), detail);
        }
    }
}
