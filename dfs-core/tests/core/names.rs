//! Operations on names: refusals in Linux's order, link counts, times, listings.

use crate::world::*;
use dfs_core::error::FsError::*;
use dfs_core::ids::Ino;
use dfs_core::op::*;
use dfs_core::types::*;

const GONE: Ino = Ino(9999);

fn long() -> String {
    "n".repeat(NAME_MAX + 1)
}

#[test]
fn lookup() {
    let mut w = World::new();
    let dir = w.dir(ROOT, "d");
    let file = w.file(dir, "f");
    let found = |w: &mut World, parent, name: &str| {
        w.run(&Op::Lookup {
            parent,
            name: name.into(),
        })
    };
    let ino = |reply| match reply {
        Ok(Reply::Entry { attr, created: false }) => attr.ino,
        other => panic!("{other:?}"),
    };
    assert_eq!(ino(found(&mut w, dir, "f")), file);
    assert!(w.reads.contains(&dir) && w.reads.contains(&file) && w.writes.is_empty());
    assert_eq!(ino(found(&mut w, dir, ".")), dir);
    assert_eq!(ino(found(&mut w, dir, "..")), ROOT);
    assert_eq!(ino(found(&mut w, ROOT, "..")), ROOT);
    assert_eq!(found(&mut w, dir, "x"), Err(NotFound));
    assert!(w.reads.contains(&dir), "absence is read too");
    assert_eq!(found(&mut w, file, "x"), Err(NotDirectory));
    assert_eq!(found(&mut w, GONE, "x"), Err(Stale));
    assert_eq!(found(&mut w, dir, &long()), Err(NameTooLong));
    assert_eq!(found(&mut w, dir, "a/b"), Err(Invalid));
    assert_eq!(w.refused(&Op::GetAttr { ino: GONE }), Stale);
}

#[test]
fn make_refuses() {
    let mut w = World::new();
    let dir = w.dir(ROOT, "d");
    let file = w.file(ROOT, "f");
    w.make(ROOT, "l", FileKind::Symlink);
    let op = |parent, name: &str, kind| Op::Make(World::new().make_op(parent, name, kind));
    assert_eq!(w.refused(&op(file, "x", FileKind::File)), NotDirectory);
    assert_eq!(w.refused(&op(GONE, "x", FileKind::File)), Stale);
    assert_eq!(w.refused(&op(ROOT, "f", FileKind::File)), Exists);
    assert_eq!(w.refused(&op(ROOT, ".", FileKind::Directory)), Exists);
    assert_eq!(w.refused(&op(ROOT, "..", FileKind::Directory)), Exists);
    assert_eq!(w.refused(&op(ROOT, &long(), FileKind::File)), NameTooLong);
    assert_eq!(w.refused(&op(ROOT, "", FileKind::File)), NotFound);
    assert_eq!(w.refused(&op(ROOT, "a/b", FileKind::File)), Invalid);
    let target = |len| {
        let make = World::new().make_op(ROOT, "s", FileKind::Symlink);
        Op::Make(Make {
            target: vec![b't'; len],
            ..make
        })
    };
    assert_eq!(w.refused(&target(0)), NotFound);
    assert_eq!(w.refused(&target(SYMLINK_MAX + 1)), NameTooLong);
    w.run(&target(SYMLINK_MAX)).expect("the longest target");
    let open = |name: &str| {
        Op::Make(Make {
            exclusive: false,
            ..World::new().make_op(ROOT, name, FileKind::File)
        })
    };
    assert_eq!(w.refused(&open("d")), IsDirectory);
    assert_eq!(w.refused(&open("l")), Exists);
    match w.run(&open("f")) {
        Ok(Reply::Entry { attr, created: false }) => assert_eq!(attr.ino, file),
        other => panic!("{other:?}"),
    }
    assert!(w.writes.is_empty());
    // A removed directory that is still open takes nothing new.
    w.run(&Op::Rmdir {
        parent: ROOT,
        name: "d".into(),
        held: true,
    })
    .expect("empty");
    assert_eq!(w.refused(&op(dir, "x", FileKind::File)), NotFound);
    let temp = Op::MakeTemp {
        parent: dir,
        mode: 0o600,
        umask: 0,
        who: Credentials::default(),
    };
    assert_eq!(w.refused(&temp), NotFound);
    w.check();
}

#[test]
fn make_inherits() {
    let mut w = World::new();
    let dir = w.dir(ROOT, "d");
    let before = w.attr(dir);
    let changes = AttrChanges {
        mode: Some(0o2775),
        gid: Some(50),
        ..AttrChanges::default()
    };
    w.set_attr(dir, changes).expect("a directory");
    let file = w.made(w.make_op(dir, "f", FileKind::File));
    assert_eq!((file.uid, file.gid, file.mode, file.nlink), (1000, 50, 0o755, 1));
    let time = w.now();
    assert_eq!(
        (file.atime, file.mtime, file.ctime, file.btime),
        (time, time, time, time)
    );
    let sub = w.made(w.make_op(dir, "s", FileKind::Directory));
    assert_eq!((sub.gid, sub.mode, sub.nlink, sub.size), (50, 0o2755, 2, 0));
    let link = w.made(w.make_op(dir, "l", FileKind::Symlink));
    assert_eq!((link.mode, link.size), (0o777, 6));
    assert_eq!(
        w.run(&Op::ReadLink { ino: link.ino }),
        Ok(Reply::Target(b"target".to_vec()))
    );
    assert_eq!(w.refused(&Op::ReadLink { ino: file.ino }), Invalid);
    let device = w.made(w.make_op(dir, "c", FileKind::CharDevice));
    assert_eq!((device.rdev, file.rdev), (0x0801, 0));
    let sticky = Make {
        mode: 0o7777,
        ..w.make_op(ROOT, "t", FileKind::Directory)
    };
    assert_eq!(w.made(sticky).mode, 0o1755);
    let after = w.attr(dir);
    assert_eq!((after.nlink, after.size), (before.nlink + 1, before.size + 4));
    assert!(after.mtime > before.mtime && after.mtime == after.ctime && after.version > before.version);
    w.check();
}

#[test]
fn link() {
    let mut w = World::new();
    let dir = w.dir(ROOT, "d");
    let file = w.file(ROOT, "f");
    let op = |ino, parent, name: &str| Op::Link {
        ino,
        parent,
        name: name.into(),
    };
    assert_eq!(w.refused(&op(dir, ROOT, "x")), NotPermitted);
    assert_eq!(w.refused(&op(dir, ROOT, "f")), Exists);
    assert_eq!(w.refused(&op(file, file, "x")), NotDirectory);
    assert_eq!(w.refused(&op(file, ROOT, &long())), NameTooLong);
    assert_eq!(w.refused(&op(file, ROOT, "..")), Exists);
    assert_eq!(w.refused(&op(GONE, ROOT, "x")), Stale);
    let before = w.attr(file);
    w.run(&op(file, dir, "g")).expect("another name");
    let after = w.attr(file);
    assert_eq!((after.nlink, after.mtime), (2, before.mtime));
    assert!(after.ctime > before.ctime);
    w.check();
    w.view_nlink(file, LINK_MAX);
    assert_eq!(w.refused(&op(file, ROOT, "x")), TooManyLinks);
}

impl World {
    /// Sets a link count behind the namespace's back.
    fn view_nlink(&mut self, ino: Ino, nlink: u32) {
        let key = dfs_core::keys::inode(ino);
        let row = dfs_core::rows::InodeRow::decode(&key, &self.view.rows[&key]).expect("whole");
        self.view
            .rows
            .insert(key, dfs_core::rows::InodeRow { nlink, ..row }.encode());
    }
}

#[test]
fn unlink_and_rmdir() {
    let mut w = World::new();
    let dir = w.dir(ROOT, "d");
    let file = w.file(dir, "f");
    w.run(&Op::Link {
        ino: file,
        parent: ROOT,
        name: "g".into(),
    })
    .expect("another name");
    let rmdir = |parent, name: &str| Op::Rmdir {
        parent,
        name: name.into(),
        held: false,
    };
    assert_eq!(w.unlink(ROOT, "d"), Err(IsDirectory));
    assert_eq!(w.unlink(ROOT, "."), Err(IsDirectory));
    assert_eq!(w.unlink(ROOT, "x"), Err(NotFound));
    assert_eq!(w.unlink(file, "x"), Err(NotDirectory));
    assert_eq!(w.unlink(ROOT, &long()), Err(NameTooLong));
    assert_eq!(w.refused(&rmdir(ROOT, "d")), NotEmpty);
    assert_eq!(w.refused(&rmdir(ROOT, "g")), NotDirectory);
    assert_eq!(w.refused(&rmdir(ROOT, "x")), NotFound);
    assert_eq!(w.refused(&rmdir(ROOT, ".")), Invalid);
    assert_eq!(w.refused(&rmdir(ROOT, "..")), NotEmpty);
    assert_eq!(w.refused(&rmdir(file, "x")), NotDirectory);
    assert_eq!(w.refused(&rmdir(ROOT, &long())), NameTooLong);
    let before = w.attr(file);
    assert_eq!(
        w.unlink(dir, "f"),
        Ok(Reply::Removed {
            ino: file,
            orphan: false
        })
    );
    assert!(w.writes.contains(&file) && w.writes.contains(&dir));
    let after = w.attr(file);
    assert_eq!(after.nlink, 1);
    assert!(after.ctime > before.ctime);
    w.check();
    w.unlink(ROOT, "g").expect("the last name");
    assert_eq!(w.refused(&Op::GetAttr { ino: file }), Stale);
    assert_eq!(
        w.run(&rmdir(ROOT, "d")),
        Ok(Reply::Removed {
            ino: dir,
            orphan: false
        })
    );
    assert_eq!((w.attr(ROOT).nlink, w.attr(ROOT).size), (2, 0));
    w.check();
}

#[test]
fn rename_refuses_in_order() {
    let mut w = World::new();
    let a = w.dir(ROOT, "a");
    let b = w.dir(a, "b");
    let full = w.dir(ROOT, "full");
    w.file(full, "x");
    let f = w.file(ROOT, "f");
    w.file(b, "deep");
    use RenameMode::*;
    let mut check =
        |from, to, mode, error| assert_eq!(w.rename(from, to, mode), Err(error), "{from:?} {to:?}");
    let long = long();
    check((ROOT, "x"), (ROOT, "y"), Replace, NotFound);
    check((ROOT, "x"), (ROOT, long.as_str()), Replace, NotFound);
    check((ROOT, long.as_str()), (ROOT, "y"), Replace, NameTooLong);
    check((ROOT, "f"), (ROOT, long.as_str()), Replace, NameTooLong);
    check((f, "x"), (ROOT, "y"), Replace, NotDirectory);
    check((ROOT, "f"), (f, "y"), Replace, NotDirectory);
    check((ROOT, "."), (ROOT, "y"), Replace, Busy);
    check((ROOT, "f"), (ROOT, ".."), Replace, Busy);
    check((ROOT, "f"), (ROOT, "."), NoReplace, Exists);
    check((ROOT, "f"), (ROOT, "a"), NoReplace, Exists);
    check((ROOT, "f"), (ROOT, "f"), NoReplace, Exists);
    check((ROOT, "f"), (ROOT, "y"), Exchange, NotFound);
    check((ROOT, "a"), (a, "y"), Replace, Invalid);
    check((ROOT, "a"), (b, "y"), Replace, Invalid);
    check((ROOT, "a"), (b, "deep"), Exchange, Invalid);
    check((b, "deep"), (ROOT, "a"), Exchange, Invalid);
    check((b, "deep"), (ROOT, "a"), Replace, NotEmpty);
    check((a, "b"), (ROOT, "a"), Replace, NotEmpty);
    check((ROOT, "a"), (ROOT, "f"), Replace, NotDirectory);
    check((ROOT, "f"), (ROOT, "full"), Replace, IsDirectory);
    check((ROOT, "a"), (ROOT, "full"), Replace, NotEmpty);
    check((GONE, "a"), (ROOT, "full"), Replace, Stale);
    w.run(&Op::Rmdir {
        parent: a,
        name: "b".into(),
        held: true,
    })
    .expect_err("not empty");
    w.unlink(b, "deep").expect("there");
    w.run(&Op::Rmdir {
        parent: a,
        name: "b".into(),
        held: true,
    })
    .expect("empty");
    assert_eq!(w.rename((ROOT, "f"), (b, "y"), Replace), Err(NotFound));
    w.check();
}

#[test]
fn rename_moves() {
    let mut w = World::new();
    let a = w.dir(ROOT, "a");
    let b = w.dir(ROOT, "b");
    let sub = w.dir(a, "sub");
    let f = w.file(a, "f");
    w.run(&Op::Link {
        ino: f,
        parent: a,
        name: "f2".into(),
    })
    .expect("another name");
    use RenameMode::*;
    let renamed = |moved, replaced| Ok(Reply::Renamed { moved, replaced });
    let same = renamed(f, None);
    let before = w.attr(f);
    assert_eq!(w.rename((a, "f"), (a, "f2"), Replace), same);
    assert_eq!(w.rename((a, "f"), (a, "f"), Replace), same);
    assert_eq!(w.rename((a, "f"), (a, "f2"), Exchange), same);
    assert_eq!(w.attr(f), before, "names of one inode: nothing happens");
    let moved = w.rename((a, "sub"), (b, "sub"), Replace);
    assert_eq!(moved, renamed(sub, None));
    assert_eq!((w.attr(a).nlink, w.attr(b).nlink), (2, 3));
    match w.run(&Op::Lookup {
        parent: sub,
        name: b"..".to_vec(),
    }) {
        Ok(Reply::Entry { attr, .. }) => assert_eq!(attr.ino, b),
        other => panic!("{other:?}"),
    }
    assert!(w.attr(sub).ctime > w.attr(sub).mtime);
    w.check();
    // Exchange of a file and a directory across directories.
    assert_eq!(
        w.rename((a, "f"), (b, "sub"), Exchange),
        renamed(f, Some((sub, false)))
    );
    assert_eq!(
        (w.attr(a).nlink, w.attr(b).nlink, w.attr(a).size, w.attr(b).size),
        (3, 2, 2, 1)
    );
    w.check();
    // Over a file that has another name; over an empty directory.
    let g = w.file(b, "g");
    assert_eq!(
        w.rename((b, "g"), (a, "f2"), Replace),
        renamed(g, Some((f, false)))
    );
    assert_eq!(w.attr(f).nlink, 1);
    let empty = w.dir(ROOT, "empty");
    let over = w.rename((a, "f"), (ROOT, "empty"), Replace);
    assert_eq!(over, renamed(sub, Some((empty, false))));
    assert_eq!(w.refused(&Op::GetAttr { ino: empty }), Stale);
    w.check();
}

#[test]
fn listing_is_stable_and_in_pages() {
    let mut w = World::new();
    let dir = w.dir(ROOT, "d");
    let names: Vec<String> = (0..100).map(|number| format!("name{number}")).collect();
    for name in &names {
        w.file(dir, name);
    }
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = w.run(&Op::ReadDir {
            ino: dir,
            after,
            limit: 7,
            attrs: true,
            alone: false,
        });
        let Ok(Reply::Page { entries, end }) = page else {
            panic!("{page:?}")
        };
        for entry in &entries {
            assert!(entry.cookie > after.max(2) && entry.cookie < 1 << 63);
            assert_eq!(entry.attr.map(|attr| attr.ino), Some(entry.ino));
            after = entry.cookie;
            seen.push(String::from_utf8(entry.name.clone()).expect("as made"));
        }
        // What comes and goes meanwhile moves nothing else.
        w.unlink(dir, &seen[seen.len() - 1]).expect("just listed");
        if end {
            break;
        }
    }
    seen.sort();
    let mut names = names;
    names.sort();
    assert_eq!(seen, names);
    let file = w.file(dir, "f");
    assert_eq!(
        w.refused(&Op::ReadDir {
            ino: file,
            after: 0,
            limit: 1,
            attrs: false,
            alone: false,
        }),
        NotDirectory
    );
    w.check();
}
