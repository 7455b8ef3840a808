//! The judgement of directories' sums: whether each inode counts once, where one of its names is, and whether the sums
//! with what is on its way to them are those of what is there.

use super::{Checker, Problem, ProblemKind};
use crate::ids::Ino;
use crate::keys::{self, Key};
use crate::rows::{CountRow, OtherNameRow, WalkRow};
use crate::types::FileKind;
use crate::view::ViewError;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Directories above one another that are followed: more is a circle.
const DEPTH_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The volume's first count was begun; what is still to be counted says that it goes on.
    pub begun: bool,
    uncounted: bool,
    trees: BTreeMap<Ino, CountRow>,
    arrived: BTreeMap<Ino, CountRow>,
    others: BTreeSet<(Ino, Ino, u64)>,
}

impl Counts {
    pub fn take(&mut self, parsed: Key, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        match parsed {
            Key::Tree(dir) => drop(self.trees.insert(dir, CountRow::decode(key, value)?)),
            Key::Arrived(dir) => drop(self.arrived.insert(dir, CountRow::decode(key, value)?)),
            Key::OtherName { ino, parent, hash } => {
                OtherNameRow::decode(key, value)?;
                self.others.insert((ino, parent, hash));
            }
            Key::Uncounted(_) => {
                WalkRow::decode(key, value)?;
                self.uncounted = true;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Checker {
    /// What is wrong with the sums. Nothing can be said of them while the volume is counted for the first time.
    pub(super) fn judge_counts(&mut self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.counts.begun || self.counts.uncounted {
            return problems;
        }
        let direct = self.counted_directly(&mut problems);
        let due = self.with_those_above(&direct);
        let coming = self.with_those_above(&self.counts.arrived);
        let of = |sums: &BTreeMap<Ino, CountRow>, dir: Ino| sums.get(&dir).copied().unwrap_or_default();
        let dirs: BTreeSet<Ino> = due.keys().chain(self.counts.trees.keys()).copied().collect();
        for dir in dirs {
            let mut found = of(&self.counts.trees, dir);
            found.add(of(&coming, dir));
            let due = of(&due, dir);
            if found != due {
                let detail = format!("its sums are {found:?} where {due:?} is right");
                problems.push(self.sums(dir, detail));
            }
        }
        problems
    }

    fn sums(&self, ino: Ino, detail: String) -> Problem {
        Problem {
            kind: ProblemKind::Sums,
            place: self.place(ino),
            detail,
        }
    }

    /// What counts at each directory itself.
    fn counted_directly(&mut self, problems: &mut Vec<Problem>) -> BTreeMap<Ino, CountRow> {
        let mut direct: BTreeMap<Ino, CountRow> = BTreeMap::new();
        let mut others = std::mem::take(&mut self.counts.others);
        let mut counted = HashSet::new();
        let mut findings = Vec::new();
        for (parent, name, ino, _) in &self.kinds {
            let Some(row) = self.inodes.get(ino).and_then(|inode| inode.row.as_ref()) else {
                continue;
            };
            let hash = keys::name_hash(name);
            let counts = match row.place {
                0 => !others.contains(&(*ino, *parent, hash)),
                place => place == hash,
            };
            if row.home == *parent && counts && counted.insert(*ino) {
                let is_dir = row.kind == FileKind::Directory;
                direct.entry(*parent).or_default().add(CountRow {
                    bytes: if is_dir { 0 } else { row.size as i64 },
                    files: i64::from(!is_dir),
                    dirs: i64::from(is_dir),
                });
            } else if !others.remove(&(*ino, *parent, hash)) {
                findings.push((*ino, "a name of it is unknown to the sums"));
            }
        }
        for (ino, inode) in &self.inodes {
            let named = inode.row.as_ref().is_some_and(|row| row.nlink > 0);
            if named && *ino != Ino::ROOT && !counted.contains(ino) {
                findings.push((*ino, "it counts where it has no name, or nowhere"));
            }
        }
        let stray = others
            .iter()
            .map(|(ino, ..)| (*ino, "the sums know a name that it has not"));
        findings.extend(stray);
        findings.sort();
        for (ino, detail) in findings {
            problems.push(self.sums(ino, detail.to_owned()));
        }
        direct
    }

    fn with_those_above(&self, rows: &BTreeMap<Ino, CountRow>) -> BTreeMap<Ino, CountRow> {
        let mut sums: BTreeMap<Ino, CountRow> = BTreeMap::new();
        for (dir, row) in rows {
            let mut place = *dir;
            for _ in 0..DEPTH_MAX {
                sums.entry(place).or_default().add(*row);
                let above = self.inodes.get(&place).and_then(|inode| inode.row.as_ref());
                match above.map(|row| row.parent) {
                    Some(parent) if place != Ino::ROOT && parent != Ino(0) => place = parent,
                    _ => break,
                }
            }
        }
        sums
    }
}
