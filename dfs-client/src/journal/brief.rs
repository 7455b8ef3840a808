//! What came and went within one shipment: nobody else has seen it, and it is not told. What stays of it is that its
//! directory changed.

use super::Entry;
use dfs_core::ids::Ino;
use dfs_core::op::{AttrChanges, Op, SetTime, Unlink};
use std::collections::{BTreeMap, BTreeSet};

/// Drops what concerns inodes that were made and removed here; those in `gone` have lost their last name among the entries and
/// are not held any more.
pub(super) fn drop_brief(entries: Vec<Entry>, gone: &BTreeSet<Ino>) -> Vec<Entry> {
    if gone.is_empty() {
        return entries;
    }
    let mut concerned: BTreeMap<Ino, Vec<usize>> = gone.iter().map(|ino| (*ino, Vec::new())).collect();
    for (at, entry) in entries.iter().enumerate() {
        for ino in &entry.inos {
            if let Some(places) = concerned.get_mut(ino) {
                places.push(at);
            }
        }
    }
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    let mut only_times = BTreeSet::new();
    for end in 0..entries.len() {
        let removal = entries[end].as_ref().and_then(removal);
        let Some((ino, parent, name)) = removal.filter(|(ino, ..)| gone.contains(ino)) else {
            continue;
        };
        let places = &concerned[&ino];
        // What was dropped or turned into a change of times before.
        let left: Vec<&Entry> = places.iter().filter_map(|at| entries[*at].as_ref()).collect();
        let own = |entry: &&Entry| {
            is_birth(entry, ino, parent, &name)
                || matches!(&entry.step.op, Op::SetAttr { ino: set, .. } if *set == ino)
                || entry.removed == Some(ino)
        };
        let born = left.iter().any(|entry| is_birth(entry, ino, parent, &name));
        if !born || !left.iter().all(own) {
            continue;
        }
        for at in places.iter().filter(|at| **at != end) {
            entries[*at] = None;
        }
        only_times.insert(end);
        if let Some(entry) = &mut entries[end] {
            entry.step.op = Op::SetAttr {
                ino: parent,
                changes: AttrChanges {
                    mtime: Some(SetTime::Now),
                    ..AttrChanges::default()
                },
            };
            (entry.removed, entry.inos) = (None, vec![parent]);
        }
    }
    // Of a directory that changes once more, the later time is enough.
    let mut changed = BTreeSet::new();
    for at in (0..entries.len()).rev() {
        let Some(entry) = &entries[at] else { continue };
        let directories = directories(&entry.step.op);
        if only_times.contains(&at) && directories.iter().all(|directory| changed.contains(directory)) {
            entries[at] = None;
        } else {
            changed.extend(directories);
        }
    }
    entries.into_iter().flatten().collect()
}

/// The inode that loses its last name, and that name.
fn removal(entry: &Entry) -> Option<(Ino, Ino, Vec<u8>)> {
    let ino = entry.removed?;
    match &entry.step.op {
        Op::Unlink(Unlink { parent, name, .. }) | Op::Rmdir { parent, name, .. } => {
            Some((ino, *parent, name.clone()))
        }
        _ => None,
    }
}

/// Directories whose times the operation sets to its own.
fn directories(op: &Op) -> Vec<Ino> {
    match op {
        Op::Make(make) => vec![make.parent],
        Op::Unlink(unlink) => vec![unlink.parent],
        Op::Rmdir { parent, .. } | Op::Link { parent, .. } => vec![*parent],
        Op::Rename(rename) => vec![rename.parent, rename.new_parent],
        Op::SetAttr { ino, changes } if changes.mtime == Some(SetTime::Now) => vec![*ino],
        _ => Vec::new(),
    }
}

fn is_birth(entry: &Entry, ino: Ino, parent: Ino, name: &[u8]) -> bool {
    entry.step.ino == ino
        && matches!(&entry.step.op, Op::Make(make) if make.parent == parent && make.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::op::{Make, Step};
    use dfs_core::types::{Credentials, FileKind, Timestamp};
    use std::time::Instant;

    const TOP: Ino = Ino(1);

    /// Changes as a mount notes them, one second each.
    #[derive(Default)]
    struct Notes(Vec<Entry>);

    impl Notes {
        fn note(&mut self, ino: Ino, op: Op, inos: &[Ino], removed: Option<Ino>) {
            let place = self.0.len() as u64 + 1;
            let at = Timestamp {
                secs: place as i64,
                nanos: 0,
            };
            self.0.push(Entry {
                place,
                since: Instant::now(),
                step: Step { at, ino, op },
                inos: inos.to_vec(),
                named: None,
                removed,
            });
        }

        fn make(&mut self, parent: Ino, name: &str, ino: u64) {
            let op = Op::Make(Make {
                parent,
                name: name.into(),
                kind: FileKind::File,
                mode: 0o644,
                umask: 0,
                rdev: 0,
                target: Vec::new(),
                exclusive: false,
                who: Credentials::default(),
            });
            self.note(Ino(ino), op, &[parent, Ino(ino)], None);
        }

        fn chmod(&mut self, ino: u64) {
            let changes = AttrChanges {
                mode: Some(0o600),
                ..AttrChanges::default()
            };
            let ino = Ino(ino);
            self.note(Ino(0), Op::SetAttr { ino, changes }, &[ino], None);
        }

        fn remove(&mut self, parent: Ino, name: &str, ino: u64) {
            let op = Op::Unlink(Unlink {
                parent,
                name: name.into(),
                expect: Some((Ino(ino), false)),
            });
            self.note(Ino(0), op, &[parent, Ino(ino)], Some(Ino(ino)));
        }

        /// What is told: the place and name of each operation.
        fn told(self, gone: &[u64]) -> Vec<(u64, &'static str)> {
            let gone = gone.iter().copied().map(Ino).collect();
            let left = drop_brief(self.0, &gone);
            left.iter()
                .map(|entry| (entry.place, entry.step.op.name()))
                .collect()
        }
    }

    #[test]
    fn of_what_came_and_went_only_the_time_of_its_directory_is_told() {
        let mut notes = Notes::default();
        notes.make(TOP, "a", 20);
        notes.make(TOP, "kept", 21);
        notes.chmod(20);
        notes.chmod(21);
        notes.remove(TOP, "a", 20);
        assert_eq!(notes.told(&[20]), [(2, "make"), (4, "set_attr"), (5, "set_attr")]);
    }

    #[test]
    fn the_latest_time_is_enough() {
        let mut notes = Notes::default();
        for n in 0..3 {
            notes.make(TOP, "a", 20 + n);
            notes.remove(TOP, "a", 20 + n);
        }
        assert_eq!(notes.told(&[20, 21, 22]), [(6, "set_attr")]);
        let mut notes = Notes::default();
        notes.make(TOP, "a", 20);
        notes.remove(TOP, "a", 20);
        notes.make(TOP, "b", 21);
        assert_eq!(notes.told(&[20]), [(3, "make")]);
    }

    #[test]
    fn a_directory_goes_with_what_was_in_it() {
        let mut notes = Notes::default();
        notes.make(TOP, "d", 20);
        notes.make(Ino(20), "a", 21);
        notes.remove(Ino(20), "a", 21);
        notes.remove(TOP, "d", 20);
        assert_eq!(notes.told(&[20, 21]), [(4, "set_attr")]);
    }

    #[test]
    fn what_is_held_older_or_was_renamed_is_told_in_full() {
        let mut notes = Notes::default();
        notes.make(TOP, "held", 20);
        notes.remove(TOP, "held", 20);
        notes.remove(TOP, "older", 19);
        notes.make(TOP, "a", 21);
        notes.note(Ino(0), Op::StatFs, &[TOP, Ino(21)], None);
        notes.remove(TOP, "a", 21);
        let told: Vec<u64> = notes.told(&[19, 21]).iter().map(|(place, _)| *place).collect();
        assert_eq!(told, [1, 2, 3, 4, 5, 6]);
    }
}
