//! Sums of directories: compared with a walk after every step of random histories, some of which begin with a program
//! that kept no sums.

use crate::quota_steps::{apply, step};
use crate::quotas::own;
use crate::world::*;
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
use dfs_core::keys::{self, Key};
use dfs_core::op::*;
use dfs_core::rows::{DentryRow, InodeRow};
use dfs_core::types::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    bytes: u64,
    files: u64,
    dirs: u64,
}

fn asked(world: &mut World, ino: Ino, name: &str) -> Result<String, FsError> {
    let name = format!("dfs.rstat.{name}").into_bytes();
    match world.run(&Op::GetXattr { ino, name })? {
        Reply::Value(value) => Ok(String::from_utf8(value).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn sums(world: &mut World, dir: Ino) -> Result<Sums, FsError> {
    let mut number = |name| asked(world, dir, name).map(|text| text.parse().unwrap());
    let sums = Sums {
        bytes: number("rbytes")?,
        files: number("rfiles")?,
        dirs: number("rsubdirs")?,
    };
    assert_eq!(number("rentries")?, sums.files + sums.dirs);
    Ok(sums)
}

/// The names below a directory: how often each inode has one there.
fn names_below(world: &World, dir: Ino, found: &mut BTreeMap<Ino, u32>) {
    let (start, end) = keys::dentry_range(dir, 0);
    for (key, value) in world.view.rows.range(start..end) {
        let entry = DentryRow::decode(key, value).unwrap();
        *found.entry(entry.ino).or_default() += 1;
        if entry.kind == FileKind::Directory {
            names_below(world, entry.ino, found);
        }
    }
}

/// The least and the most that can be right: an inode with names inside and outside counts on one side.
fn walked(world: &World, dir: Ino) -> (Sums, Sums) {
    let mut names = BTreeMap::new();
    names_below(world, dir, &mut names);
    let (mut least, mut most) = (Sums::default(), Sums::default());
    for (ino, inside) in names {
        let key = keys::inode(ino);
        let row = InodeRow::decode(&key, &world.view.rows[&key]).unwrap();
        let whole = row.is_dir() || inside == row.nlink;
        for sums in [(whole, &mut least), (true, &mut most)]
            .into_iter()
            .filter_map(|(counts, sums)| counts.then_some(sums))
        {
            match row.is_dir() {
                true => sums.dirs += 1,
                false => {
                    sums.files += 1;
                    sums.bytes += row.size;
                }
            }
        }
    }
    (least, most)
}

fn living_dirs(world: &World) -> BTreeSet<Ino> {
    let (start, end) = keys::prefix::inodes();
    let rows = world.view.rows.range(start..end);
    let dirs = rows.filter_map(|(key, value)| {
        let row = InodeRow::decode(key, value).unwrap();
        match keys::parse(key) {
            Some(Key::Inode(ino)) if row.is_dir() && row.nlink > 0 => Some(ino),
            _ => None,
        }
    });
    dirs.collect()
}

/// Whether the sums can be asked for; then they are right.
fn compare(world: &mut World) -> bool {
    for dir in living_dirs(world) {
        let (least, most) = walked(world, dir);
        let found = match sums(world, dir) {
            Ok(found) => found,
            Err(error) => {
                assert_eq!(error, FsError::WouldBlock);
                return false;
            }
        };
        let within = |value: u64, least: u64, most: u64| (least..=most).contains(&value);
        assert!(
            within(found.bytes, least.bytes, most.bytes)
                && within(found.files, least.files, most.files)
                && found.dirs == least.dirs,
            "directory {dir}: {found:?}, and a walk finds {least:?} to {most:?}"
        );
    }
    true
}

fn count(world: &mut World, limit: u32) -> bool {
    match own(world, Op::Count { limit }) {
        Ok(Reply::Progress { more }) => more,
        other => panic!("{other:?}"),
    }
}

/// Until there is nothing left to count or to move up.
fn count_all(world: &mut World) {
    while count(world, 100) {}
    while world.count(keys::prefix::arrived()) > 0 {
        count(world, 100);
    }
}

#[test]
fn sums_follow_what_happens_below() {
    let mut world = World::new();
    let (a, b) = (world.dir(ROOT, "a"), world.dir(ROOT, "b"));
    assert_eq!(
        sums(&mut world, ROOT),
        Err(FsError::WouldBlock),
        "not counted yet"
    );
    count_all(&mut world);
    let (c, file) = (world.dir(a, "c"), world.file(a, "f"));
    world.write(file, 0, 100);
    let deep = world.file(c, "g");
    world.write(deep, 0, 20);
    let of = |bytes, files, dirs| Ok(Sums { bytes, files, dirs });
    assert_eq!(
        (sums(&mut world, a), sums(&mut world, ROOT)),
        (of(120, 2, 1), of(120, 2, 3))
    );
    count_all(&mut world);
    assert_eq!(
        (sums(&mut world, c), sums(&mut world, ROOT)),
        (of(20, 1, 0), of(120, 2, 3))
    );
    // A directory takes what is below it along.
    world.rename((a, "c"), (b, "c"), RenameMode::Replace).unwrap();
    assert_eq!(
        (sums(&mut world, a), sums(&mut world, b)),
        (of(100, 1, 0), of(20, 1, 1))
    );
    // Another name counts when the one that counted is gone, and not before.
    let link = Op::Link {
        ino: file,
        parent: b,
        name: b"h".to_vec(),
    };
    world.run(&link).unwrap();
    assert_eq!(
        (sums(&mut world, a), sums(&mut world, b)),
        (of(100, 1, 0), of(20, 1, 1))
    );
    world.unlink(a, "f").unwrap();
    assert_eq!(
        (sums(&mut world, a), sums(&mut world, b)),
        (of(0, 0, 0), of(120, 2, 1))
    );
    count_all(&mut world);
    world.unlink(c, "g").unwrap();
    world.unlink(b, "h").unwrap();
    let gone = Op::Rmdir {
        parent: b,
        name: b"c".to_vec(),
        held: false,
    };
    world.run(&gone).unwrap();
    assert_eq!(
        (sums(&mut world, b), sums(&mut world, ROOT)),
        (of(0, 0, 0), of(0, 0, 2))
    );
    count_all(&mut world);
    assert_eq!(sums(&mut world, ROOT), of(0, 0, 2));
    assert_eq!(
        asked(&mut world, ROOT, "all"),
        Ok("rbytes=0 rfiles=0 rsubdirs=2".to_owned())
    );
    assert_eq!(asked(&mut world, ROOT, "rnothing"), Err(FsError::NoAttribute));
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn sums_are_those_of_a_walk(
        before in prop::collection::vec(step(), 0..40),
        steps in prop::collection::vec((step(), 0..4u32), 1..80),
    ) {
        let mut world = World::new();
        let (mut dirs, mut files) = (vec![ROOT], Vec::new());
        world.counts = false;
        for step in &before {
            let _ = apply(&mut world, &mut dirs, &mut files, step);
        }
        world.counts = true;
        let mut counted = false;
        for (step, work) in &steps {
            let _ = apply(&mut world, &mut dirs, &mut files, step);
            if *work > 0 {
                count(&mut world, *work);
            }
            // What was counted once is never counted anew.
            let known = compare(&mut world);
            prop_assert!(known || !counted, "{step:?}");
            counted = known;
        }
        count_all(&mut world);
        prop_assert!(compare(&mut world));
        world.check();
    }
}
