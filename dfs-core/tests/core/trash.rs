//! The trash: what it keeps, how it comes back, how it goes, and that it changes no result of POSIX.

use crate::world::*;
use dfs_core::error::FsError;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::keys::prefix;
use dfs_core::op::*;
use dfs_core::types::*;

fn own(world: &mut World, op: Op) -> Result<Reply, FsError> {
    let result = world.run_as(SessionId::COORDINATOR, &op);
    world.check();
    result
}

fn with_trash() -> World {
    let mut world = World::new();
    let on = Op::SetSetting {
        name: b"trash_retention".to_vec(),
        value: 60,
    };
    assert_eq!(own(&mut world, on), Ok(Reply::Done));
    world
}

fn restore(world: &mut World, ino: Ino) -> Result<Attr, FsError> {
    own(world, Op::Restore { ino, to: None }).map(|reply| match reply {
        Reply::Entry { attr, .. } => attr,
        other => panic!("{other:?}"),
    })
}

// S32
#[test]
fn a_removed_file_comes_back_with_all_that_it_was() {
    let mut world = with_trash();
    let dir = world.dir(ROOT, "d");
    let file = world.file(dir, "f");
    world.write(file, 0, 1000);
    let xattr = Op::SetXattr {
        ino: file,
        name: b"user.a".to_vec(),
        value: b"v".to_vec(),
        mode: XattrMode::Any,
        kill_sgid: false,
    };
    world.run(&xattr).expect("set");
    let before = (world.attr(file), world.extents(file));
    let removed = Reply::Removed {
        ino: file,
        orphan: false,
    };
    assert_eq!(world.unlink(dir, "f"), Ok(removed));
    world.check();
    assert_eq!(world.count(prefix::trash()), 1);
    assert_eq!(world.attr(file).nlink, 0);
    let attr = restore(&mut world, file).expect("comes back");
    assert_eq!(world.extents(file), before.1);
    assert_eq!(
        (attr.mode, attr.uid, attr.size, attr.mtime, attr.nlink),
        (before.0.mode, before.0.uid, 1000, before.0.mtime, 1)
    );
    assert!(attr.ctime > before.0.ctime);
    let name = b"user.a".to_vec();
    assert_eq!(
        world.run(&Op::GetXattr { ino: file, name }),
        Ok(Reply::Value(b"v".to_vec()))
    );
    assert_eq!(restore(&mut world, file), Err(FsError::NotFound), "only once");
}

#[test]
fn parents_that_are_gone_come_back_and_new_ones_are_used() {
    let mut world = with_trash();
    let outer = world.dir(ROOT, "outer");
    let inner = world.dir(outer, "inner");
    let (one, two) = (world.file(inner, "one"), world.file(inner, "two"));
    let rmdir = |parent, name: &str| Op::Rmdir {
        parent,
        name: name.into(),
        held: false,
    };
    for name in ["one", "two"] {
        world.unlink(inner, name).expect("there");
    }
    world.run(&rmdir(outer, "inner")).expect("empty");
    world.run(&rmdir(ROOT, "outer")).expect("empty");
    assert_eq!(world.count(prefix::trash()), 4);
    // Somebody made a directory of that name again: it is used, and the inner one comes back in it.
    let again = world.dir(ROOT, "outer");
    restore(&mut world, one).expect("comes back");
    assert_eq!(world.attr(again).size, 1);
    assert_eq!(world.attr(inner).nlink, 2);
    assert_eq!(world.count(prefix::trash()), 2);
    // Nothing is overwritten.
    world.file(inner, "two");
    assert_eq!(restore(&mut world, two), Err(FsError::Exists));
    let to = Some((again, b"three".to_vec()));
    assert!(own(&mut world, Op::Restore { ino: two, to }).is_ok());
    // A parent that is gone for good.
    let dir = world.dir(ROOT, "gone");
    let lost = world.file(dir, "f");
    world.unlink(dir, "f").expect("there");
    world.run(&rmdir(ROOT, "gone")).expect("empty");
    assert_eq!(own(&mut world, Op::Discard { ino: dir }), Ok(Reply::Done));
    assert_eq!(restore(&mut world, lost), Err(FsError::NotFound));
}

#[test]
fn an_open_file_comes_to_the_trash_at_its_last_close() {
    let mut world = with_trash();
    let file = world.file(ROOT, "f");
    world.open.0.insert((file, ALICE));
    world.unlink(ROOT, "f").expect("there");
    world.check();
    assert_eq!(
        (world.count(prefix::orphans()), world.count(prefix::trash())),
        (1, 0)
    );
    assert_eq!(restore(&mut world, file), Err(FsError::NotFound), "still open");
    world.write(file, 0, 10);
    world.open.0.clear();
    world.run(&Op::Release { inos: vec![file] }).expect("held");
    world.check();
    assert_eq!(
        (world.count(prefix::orphans()), world.count(prefix::trash())),
        (0, 1)
    );
    assert_eq!(restore(&mut world, file).expect("comes back").size, 10);
}

#[test]
fn replaced_files_are_kept_and_files_without_a_name_are_not() {
    let mut world = with_trash();
    let (new, old) = (world.file(ROOT, "new"), world.file(ROOT, "old"));
    world
        .rename((ROOT, "new"), (ROOT, "old"), RenameMode::Replace)
        .expect("both there");
    world.check();
    assert_eq!(restore(&mut world, old), Err(FsError::Exists));
    world.unlink(ROOT, "old").expect("there");
    assert!(restore(&mut world, old).is_ok());
    assert_eq!(world.attr(new).nlink, 0);
    let temp = Op::MakeTemp {
        parent: ROOT,
        mode: 0o600,
        umask: 0,
        who: world.who,
    };
    let Ok(Reply::Entry { attr, .. }) = world.run(&temp) else {
        panic!("a file without a name")
    };
    world.run(&Op::Release { inos: vec![attr.ino] }).expect("held");
    assert_eq!(world.count(prefix::trash()), 1, "only the replaced one");
}

#[test]
fn what_a_client_tells_late_neither_hides_nor_loses_it() {
    let mut world = with_trash();
    let file = world.file(ROOT, "f");
    world.unlink(ROOT, "f").expect("there");
    world.clock += 100;
    world.write(file, 0, 77);
    let changes = AttrChanges {
        atime: Some(SetTime::Now),
        ..AttrChanges::default()
    };
    world.set_attr(file, changes).expect("an inode");
    world.check();
    assert_eq!(restore(&mut world, file).expect("comes back").size, 77);
}

// S32
#[test]
fn the_oldest_go_first_and_free_their_content() {
    let mut world = with_trash();
    let files: Vec<Ino> = (0..5)
        .map(|n| {
            let name = format!("f{n}");
            let file = world.file(ROOT, &name);
            world.write(file, 0, 100);
            world.unlink(ROOT, &name).expect("there");
            file
        })
        .collect();
    let before = world.now();
    let step = |limit| Op::EmptyTrash { before, limit };
    assert_eq!(own(&mut world, step(2)), Ok(Reply::Progress { more: true }));
    assert_eq!(restore(&mut world, files[1]), Err(FsError::NotFound));
    assert!(restore(&mut world, files[2]).is_ok());
    assert_eq!(own(&mut world, step(9)), Ok(Reply::Progress { more: false }));
    // What was removed at that very moment or later stays.
    assert_eq!(
        (world.count(prefix::trash()), world.count(prefix::garbage())),
        (1, 3)
    );
    let off = Op::SetSetting {
        name: b"trash_retention".to_vec(),
        value: 0,
    };
    own(&mut world, off).expect("a setting");
    world.unlink(ROOT, "f2").expect("there");
    assert_eq!(world.count(prefix::trash()), 1, "nothing new comes");
    let wrong = Op::SetSetting {
        name: b"colour".to_vec(),
        value: 1,
    };
    assert_eq!(own(&mut world, wrong), Err(FsError::NotFound));
}

// S32
#[test]
fn what_expires_is_decided_by_the_age_that_leaders_counted() {
    let mut world = with_trash();
    let aged = |world: &mut World, value| {
        let name = b"trash_age".to_vec();
        assert_eq!(own(world, Op::SetSetting { name, value }), Ok(Reply::Done));
    };
    let removed = |world: &mut World, name: &str| {
        let file = world.file(ROOT, name);
        world.unlink(ROOT, name).expect("removed");
        file
    };
    let before = removed(&mut world, "a");
    aged(&mut world, 100);
    let after = removed(&mut world, "b");
    let expire = |age| Op::ExpireTrash {
        inos: vec![before, after, Ino(999)],
        age,
    };
    assert_eq!(own(&mut world, expire(99)), Ok(Reply::Done));
    assert_eq!(world.count(prefix::trash()), 1);
    // Back, and removed again: its time begins again.
    restore(&mut world, after).expect("comes back");
    aged(&mut world, 200);
    world.unlink(ROOT, "b").expect("removed");
    assert_eq!(own(&mut world, expire(199)), Ok(Reply::Done));
    assert_eq!(world.count(prefix::trash()), 1);
    assert_eq!(own(&mut world, expire(200)), Ok(Reply::Done));
    assert_eq!(world.count(prefix::trash()), 0);
}

// S32
#[test]
fn what_was_to_go_with_the_trash_turned_off_stays_when_it_is_on_again() {
    let mut world = with_trash();
    let file = world.file(ROOT, "a");
    world.unlink(ROOT, "a").expect("removed");
    let all = || Op::ExpireTrash {
        inos: vec![file],
        age: u64::MAX,
    };
    assert_eq!(own(&mut world, all()), Ok(Reply::Done));
    assert_eq!(world.count(prefix::trash()), 1);
    let name = b"trash_retention".to_vec();
    assert_eq!(
        own(&mut world, Op::SetSetting { name, value: 0 }),
        Ok(Reply::Done)
    );
    assert_eq!(own(&mut world, all()), Ok(Reply::Done));
    assert_eq!(world.count(prefix::trash()), 0);
}
