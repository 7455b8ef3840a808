//! What the load generator's sessions do: the operations of each phase, made one after another from numbers, so that
//! ten million files need no memory here.

use super::Phase;
use dfs_proto::v1::{self, op::Op};

/// Entries of a page of a listing, as a mount asks for them.
const PAGE: u32 = 1024;
/// Operations of a round of the mix.
const MIX: u64 = 10;
/// Mode of what is made.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;
const UMASK: u32 = 0o022;

/// One session's files: `count` of them, spread over its directories, `per_dir` in each.
pub(super) struct Share {
    pub dirs: Vec<u64>,
    pub per_dir: u64,
    pub files: u64,
    /// Files that exist: those of the create phase, which a limit of time may have ended early.
    pub made: u64,
    pub dirs_made: u64,
    /// The files have their second name.
    pub renamed: bool,
}

impl Share {
    /// The directory of a file; numbers beyond the last one stay in it.
    fn dir(&self, number: u64) -> u64 {
        let place = (number / self.per_dir) as usize;
        self.dirs[place.min(self.dirs.len() - 1)]
    }

    fn name(&self, number: u64) -> Vec<u8> {
        file_name(number, self.renamed)
    }

    /// How many operations a phase has.
    pub fn count(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Create | Phase::Mkdir => self.files,
            Phase::Mix => self.files.next_multiple_of(MIX),
            Phase::Lookup | Phase::List | Phase::Rename | Phase::Unlink => self.made,
            Phase::Rmdir => self.dirs_made,
        }
    }

    /// A phase did so many operations.
    pub fn note(&mut self, phase: Phase, done: u64) {
        match phase {
            Phase::Create => self.made = done,
            Phase::Mkdir => self.dirs_made = done,
            Phase::Rename => self.renamed ^= done > 0,
            Phase::Unlink => self.made -= done,
            Phase::Rmdir => self.dirs_made -= done,
            Phase::Lookup | Phase::List | Phase::Mix => {}
        }
    }

    /// The `number`-th operation of a phase.
    pub fn op(&self, phase: Phase, number: u64) -> Op {
        let parent = self.dir(number);
        match phase {
            Phase::Create => make(parent, self.name(number), v1::FileKind::File),
            Phase::Mkdir => make(parent, dir_name(number), v1::FileKind::Directory),
            Phase::Lookup => {
                let number = scattered(number, self.made);
                Op::Lookup(v1::Lookup {
                    parent: self.dir(number),
                    name: self.name(number),
                })
            }
            Phase::Rename => rename(parent, self.name(number), file_name(number, !self.renamed)),
            Phase::Unlink => Op::Unlink(v1::Unlink {
                parent,
                name: self.name(number),
                expect: None,
            }),
            Phase::Rmdir => Op::Rmdir(v1::Rmdir {
                parent,
                name: dir_name(number),
                held: false,
            }),
            Phase::List => list(parent, 0),
            Phase::Mix => self.mixed(number),
        }
    }

    /// Of ten operations four look up, two make, two rename there and back, two remove.
    fn mixed(&self, number: u64) -> Op {
        let (round, step) = (number / MIX, number % MIX);
        let parent = self.dirs[0];
        let fresh = |which: u64| format!("m{:010}", round * 2 + which).into_bytes();
        match step {
            0 => make(parent, fresh(0), v1::FileKind::File),
            1 => make(parent, fresh(1), v1::FileKind::File),
            4 => rename(parent, fresh(0), b"moved".to_vec()),
            5 => rename(parent, b"moved".to_vec(), fresh(0)),
            8 | 9 => Op::Unlink(v1::Unlink {
                parent,
                name: fresh(step - 8),
                expect: None,
            }),
            _ => Op::Lookup(v1::Lookup {
                parent,
                name: fresh(step % 2),
            }),
        }
    }
}

/// Numbers below `count` in an order that no cache guesses: a step that has no common factor with most counts.
fn scattered(number: u64, count: u64) -> u64 {
    const STEP: u64 = 2_654_435_761;
    (number.wrapping_mul(STEP)) % count.max(1)
}

pub(super) fn file_name(number: u64, renamed: bool) -> Vec<u8> {
    let first = if renamed { 'g' } else { 'f' };
    format!("{first}{number:010}").into_bytes()
}

fn dir_name(number: u64) -> Vec<u8> {
    format!("d{number:010}").into_bytes()
}

pub(super) fn make(parent: u64, name: Vec<u8>, kind: v1::FileKind) -> Op {
    let is_dir = kind == v1::FileKind::Directory;
    Op::Make(v1::Make {
        parent,
        name,
        kind: kind.into(),
        mode: if is_dir { DIR_MODE } else { FILE_MODE },
        umask: UMASK,
        exclusive: true,
        who: Some(v1::Credentials::default()),
        ..v1::Make::default()
    })
}

fn rename(parent: u64, name: Vec<u8>, new_name: Vec<u8>) -> Op {
    Op::Rename(v1::Rename {
        parent,
        name,
        new_parent: parent,
        new_name,
        mode: v1::RenameMode::NoReplace.into(),
        expect: None,
    })
}

/// A page of a directory, with attributes.
pub(super) fn list(ino: u64, after: u64) -> Op {
    Op::ReadDir(v1::ReadDir {
        ino,
        after,
        limit: PAGE,
        attrs: true,
        alone: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> Share {
        Share {
            dirs: vec![10, 11, 12],
            per_dir: 4,
            files: 12,
            made: 12,
            dirs_made: 0,
            renamed: false,
        }
    }

    #[test]
    fn files_are_found_where_they_were_made() {
        let share = share();
        let mut made = std::collections::BTreeSet::new();
        for number in 0..12 {
            let Op::Make(make) = share.op(Phase::Create, number) else {
                panic!("a file is made");
            };
            assert_eq!(make.parent, 10 + number / 4);
            made.insert((make.parent, make.name));
        }
        assert_eq!(made.len(), 12);
        for number in 0..100 {
            let Op::Lookup(lookup) = share.op(Phase::Lookup, number) else {
                panic!("a name is looked up");
            };
            assert!(made.contains(&(lookup.parent, lookup.name)));
        }
        for number in 0..12 {
            let Op::Unlink(unlink) = share.op(Phase::Unlink, number) else {
                panic!("a file is removed");
            };
            assert!(made.remove(&(unlink.parent, unlink.name)));
        }
    }

    #[test]
    fn a_renamed_file_is_removed_under_its_new_name() {
        let mut share = share();
        let Op::Rename(rename) = share.op(Phase::Rename, 5) else {
            panic!("a file is renamed");
        };
        share.renamed = true;
        assert_eq!(share.name(5), rename.new_name);
    }

    #[test]
    fn a_round_of_the_mix_leaves_nothing() {
        let share = share();
        let mut names = std::collections::BTreeSet::new();
        for number in 30..40 {
            match share.op(Phase::Mix, number) {
                Op::Make(make) => assert!(names.insert(make.name)),
                Op::Unlink(unlink) => assert!(names.remove(&unlink.name)),
                Op::Rename(rename) => {
                    assert!(names.remove(&rename.name) && names.insert(rename.new_name));
                }
                Op::Lookup(lookup) => assert!(names.contains(&lookup.name)),
                other => panic!("{other:?} is no part of the mix"),
            }
        }
        assert!(names.is_empty());
    }
}
