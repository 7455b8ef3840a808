//! Sums of directories: compared with a walk after every step of random histories, some of which begin with a program
//! that kept no sums.

use crate::quota_steps::{Step, apply, step};
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
        Reply::Value(value) => Ok(String::from_utf8(value).expect("whole")),
        other => panic!("{other:?}"),
    }
}

fn sums(world: &mut World, dir: Ino) -> Result<Sums, FsError> {
    let mut number = |name| asked(world, dir, name).map(|text| text.parse().expect("whole"));
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
        let entry = DentryRow::decode(key, value).expect("whole");
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
        let row = InodeRow::decode(&key, &world.view.rows[&key]).expect("whole");
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
        let row = InodeRow::decode(key, value).expect("whole");
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

// S66
#[test]
fn sums_follow_what_happens_below() {
    let mut world = World::new();
    let (a, b) = (world.dir(ROOT, "a"), world.dir(ROOT, "b"));
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

/// `dfs.rstat.*` is nobody's to set or remove, and listings do not show it.
#[test]
fn sums_are_only_read() {
    let mut world = World::new();
    let (dir, file) = (world.dir(ROOT, "d"), world.file(ROOT, "f"));
    let name = b"dfs.rstat.rbytes".to_vec();
    for ino in [dir, file] {
        let set = Op::SetXattr {
            ino,
            name: name.clone(),
            value: b"7".to_vec(),
            mode: XattrMode::Any,
            kill_sgid: false,
        };
        assert_eq!(world.refused(&set), FsError::NotSupported);
        let remove = Op::RemoveXattr {
            ino,
            name: name.clone(),
        };
        assert_eq!(world.refused(&remove), FsError::NotSupported);
        assert_eq!(world.run(&Op::ListXattr { ino }), Ok(Reply::Names(Vec::new())));
    }
    assert_eq!(asked(&mut world, dir, "rbytes"), Ok("0".to_owned()));
    assert!(world.reads.is_empty(), "a question takes no lease away");
    assert_eq!(
        asked(&mut world, file, "rbytes"),
        Err(FsError::NoAttribute),
        "a file has no sums"
    );
}

/// Neither a removed file that is open nor one in the trash is below anything.
#[test]
fn what_has_no_name_counts_nowhere() {
    let mut world = World::new();
    let on = Op::SetSetting {
        name: b"trash_retention".to_vec(),
        value: 60,
    };
    let dir = world.dir(ROOT, "d");
    let (open, kept) = (world.file(dir, "open"), world.file(dir, "kept"));
    world.write(open, 0, 10);
    world.write(kept, 0, 200);
    count_all(&mut world);
    world.open.0.insert((open, BOB));
    world.unlink(dir, "open").unwrap();
    let of = |bytes, files, dirs| Ok(Sums { bytes, files, dirs });
    assert_eq!(sums(&mut world, dir), of(200, 1, 0));
    own(&mut world, on).unwrap();
    world.unlink(dir, "kept").unwrap();
    assert_eq!(sums(&mut world, dir), of(0, 0, 0));
    let rmdir = Op::Rmdir {
        parent: ROOT,
        name: b"d".to_vec(),
        held: false,
    };
    world.run(&rmdir).unwrap();
    assert_eq!(sums(&mut world, ROOT), of(0, 0, 0));
    // It comes back with its directory.
    own(&mut world, Op::Restore { ino: kept, to: None }).unwrap();
    assert_eq!(
        (sums(&mut world, ROOT), sums(&mut world, dir)),
        (of(200, 1, 1), of(200, 1, 0))
    );
    count_all(&mut world);
    assert_eq!(sums(&mut world, ROOT), of(200, 1, 1));
    world.check();
}

/// A volume of before is counted once; a program of before reads its root no more.
#[test]
fn a_volume_of_before_is_counted_once() {
    let mut world = World::without_sums();
    let dir = world.dir(ROOT, "d");
    for n in 0..10 {
        let file = world.file(dir, &format!("f{n}"));
        world.write(file, 0, 100);
    }
    let root = |world: &World| world.view.rows[&keys::inode(ROOT)][0];
    assert_eq!(root(&world), 1, "version of the row");
    world.counts = true;
    assert_eq!(sums(&mut world, ROOT), Err(FsError::WouldBlock));
    assert!(count(&mut world, 3));
    assert_eq!(root(&world), 3, "version of the row");
    assert_eq!(sums(&mut world, dir), Err(FsError::WouldBlock));
    count_all(&mut world);
    let of = |bytes, files, dirs| Ok(Sums { bytes, files, dirs });
    assert_eq!(
        (sums(&mut world, ROOT), sums(&mut world, dir)),
        (of(1000, 10, 1), of(1000, 10, 0))
    );
    assert_eq!(root(&World::new()), 3, "new volumes have sums from the beginning");
}

/// Steps that only matter to what has no name, or not yet.
#[derive(Clone, Debug)]
enum Act {
    Of(Step),
    /// A session holds the file open until it lets go of all.
    Hold(usize),
    LetGo,
    Trash(bool),
    Restore(usize),
    Empty,
    /// A file made without a name gets one.
    Temp(usize, u8),
}

fn act() -> impl Strategy<Value = Act> {
    let any = prop_oneof![
        20 => step().prop_map(Act::Of),
        2 => (0..10usize).prop_map(Act::Hold),
        1 => Just(Act::LetGo),
        1 => any::<bool>().prop_map(Act::Trash),
        2 => (0..10usize).prop_map(Act::Restore),
        1 => Just(Act::Empty),
        1 => (0..10usize, 0..5u8).prop_map(|(dir, name)| Act::Temp(dir, name)),
    ];
    // Quotas with a trash are another matter.
    any.prop_map(|act| match act {
        Act::Of(Step::Set(dir, ..)) => Act::Hold(dir),
        other => other,
    })
}

fn perform(world: &mut World, dirs: &mut Vec<Ino>, files: &mut Vec<Ino>, act: &Act) {
    let pick = |inos: &[Ino], at: usize| inos.get(at % inos.len().max(1)).copied().unwrap_or(ROOT);
    // Much of it is refused, which changes nothing.
    match *act {
        Act::Of(ref step) => drop(apply(world, dirs, files, step)),
        Act::Hold(file) => drop(world.open.0.insert((pick(files, file), BOB))),
        Act::LetGo => {
            let held = std::mem::take(&mut world.open.0);
            let inos = held.into_iter().map(|(ino, _)| ino).collect();
            drop(world.run_as(BOB, &Op::Release { inos }));
        }
        Act::Trash(on) => {
            let name = b"trash_retention".to_vec();
            let value = if on { 60 } else { 0 };
            drop(own(world, Op::SetSetting { name, value }));
        }
        Act::Restore(at) => {
            let (start, end) = keys::prefix::trash();
            let rows = world.view.rows.range(start..end);
            let inos: Vec<Ino> = rows
                .filter_map(|(key, _)| match keys::parse(key) {
                    Some(Key::Trash { ino, .. }) => Some(ino),
                    _ => None,
                })
                .collect();
            let ino = pick(&inos, at);
            drop(own(world, Op::Restore { ino, to: None }));
        }
        Act::Empty => {
            let before = world.now();
            drop(own(world, Op::EmptyTrash { before, limit: 10 }));
        }
        Act::Temp(dir, name) => {
            let parent = pick(dirs, dir);
            let make = Op::MakeTemp {
                parent,
                mode: 0o644,
                umask: 0,
                who: world.who,
            };
            if let Ok(Reply::Entry { attr, .. }) = world.run(&make) {
                files.push(attr.ino);
                let name = format!("n{name}").into();
                drop(world.run(&Op::Link {
                    ino: attr.ino,
                    parent,
                    name,
                }));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    // S66
    #[test]
    fn sums_are_those_of_a_walk(
        before in prop::collection::vec(act(), 0..40),
        acts in prop::collection::vec((act(), 0..4u32), 1..80),
        of_before in any::<bool>(),
    ) {
        let mut world = if of_before { World::without_sums() } else { World::new() };
        let (mut dirs, mut files) = (vec![ROOT], Vec::new());
        for act in &before {
            perform(&mut world, &mut dirs, &mut files, act);
        }
        world.counts = true;
        let mut counted = !of_before;
        for (act, work) in &acts {
            perform(&mut world, &mut dirs, &mut files, act);
            if *work > 0 {
                count(&mut world, *work);
            }
            // What was counted once is never counted anew.
            let known = compare(&mut world);
            prop_assert!(known || !counted, "{act:?}");
            counted = known;
            world.check();
        }
        count_all(&mut world);
        prop_assert!(compare(&mut world));
        world.check();
    }
}
