//! Extended attributes and POSIX ACLs.

use crate::world::*;
use dfs_core::error::FsError::{self, *};
use dfs_core::error::FsResult;
use dfs_core::ids::Ino;
use dfs_core::op::*;
use dfs_core::types::*;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// Entries as (tag, permissions, id).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(perm.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

const NOBODY: u32 = u32::MAX;
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// `u::rwx,u:5:rw-,g::r-x,m::rwx,o::r--` with the given permissions.
fn extended(user: u16, named: u16, group: u16, mask: u16, other: u16) -> Vec<u8> {
    acl(&[
        (USER_OBJ, user, NOBODY),
        (USER, named, 5),
        (GROUP_OBJ, group, NOBODY),
        (MASK, mask, NOBODY),
        (OTHER, other, NOBODY),
    ])
}

fn minimal(user: u16, group: u16, other: u16) -> Vec<u8> {
    acl(&[
        (USER_OBJ, user, NOBODY),
        (GROUP_OBJ, group, NOBODY),
        (OTHER, other, NOBODY),
    ])
}

impl World {
    fn set(&mut self, ino: Ino, name: &str, value: &[u8], mode: XattrMode) -> FsResult<Reply> {
        let value = value.to_vec();
        self.run(&Op::SetXattr {
            ino,
            name: name.into(),
            value,
            mode,
            kill_sgid: false,
        })
    }

    fn get(&mut self, ino: Ino, name: &str) -> Result<Vec<u8>, FsError> {
        self.run(&Op::GetXattr {
            ino,
            name: name.into(),
        })
        .map(|reply| match reply {
            Reply::Value(value) => value,
            other => panic!("{other:?}"),
        })
    }

    fn remove(&mut self, ino: Ino, name: &str) -> FsResult<Reply> {
        self.run(&Op::RemoveXattr {
            ino,
            name: name.into(),
        })
    }

    fn names(&mut self, ino: Ino) -> Vec<String> {
        match self.run(&Op::ListXattr { ino }) {
            Ok(Reply::Names(names)) => names
                .into_iter()
                .map(|name| String::from_utf8(name).expect("as set"))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn mode(&mut self, ino: Ino) -> u32 {
        self.attr(ino).mode
    }
}

#[test]
fn plain_attributes() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let fifo = w.make(ROOT, "p", FileKind::Fifo);
    use XattrMode::*;
    assert_eq!(w.set(f, "user.a", b"1", Replace), Err(NoAttribute));
    assert_eq!(w.set(f, "user.a", b"1", Create), Ok(Reply::Done));
    assert_eq!(w.attr(f).ctime.secs, w.now().secs - 1);
    assert_eq!(w.set(f, "user.a", b"2", Create), Err(Exists));
    assert_eq!(w.set(f, "user.a", b"2", Replace), Ok(Reply::Done));
    assert_eq!(w.set(f, "trusted.b", b"", Any), Ok(Reply::Done));
    assert_eq!(
        w.set(f, "security.c", &vec![9; XATTR_VALUE_MAX], Any),
        Ok(Reply::Done)
    );
    assert_eq!(w.get(f, "user.a"), Ok(b"2".to_vec()));
    assert_eq!(w.get(f, "trusted.b"), Ok(vec![]));
    assert_eq!(w.names(f), ["security.c", "trusted.b", "user.a"]);
    assert_eq!(w.names(fifo), Vec::<String>::new());
    w.check();
    assert_eq!(w.get(f, "user.x"), Err(NoAttribute));
    assert_eq!(w.get(f, "other.x"), Err(NotSupported));
    assert_eq!(w.get(f, "system.x"), Err(NotSupported));
    assert_eq!(w.get(f, "user."), Err(Invalid));
    assert_eq!(w.get(f, ""), Err(Range));
    assert_eq!(w.get(f, &format!("user.{}", "a".repeat(251))), Err(Range));
    assert_eq!(w.get(f, &format!("user.{}", "a".repeat(250))), Err(NoAttribute));
    assert_eq!(
        w.set(f, "user.a", &vec![9; XATTR_VALUE_MAX + 1], Any),
        Err(TooBig)
    );
    assert_eq!(w.set(f, "odd", b"", Any), Err(NotSupported));
    assert_eq!(w.set(fifo, "user.a", b"", Any), Err(NotPermitted));
    assert_eq!(w.get(fifo, "user.a"), Err(NoAttribute));
    assert_eq!(w.set(fifo, "trusted.a", b"", Any), Ok(Reply::Done));
    assert_eq!(w.remove(f, "user.x"), Err(NoAttribute));
    assert_eq!(w.remove(f, "user.a"), Ok(Reply::Done));
    assert_eq!(w.remove(f, "user.a"), Err(NoAttribute));
    assert_eq!(w.remove(Ino(999), "user.a"), Err(Stale));
    w.check();
}

#[test]
fn attributes_of_an_inode_are_limited() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    for number in 0..1024 {
        w.set(f, &format!("user.{number}"), b"", XattrMode::Any)
            .expect("room");
    }
    assert_eq!(w.set(f, "user.more", b"", XattrMode::Any), Err(NoSpace));
    w.set(f, "user.0", b"again", XattrMode::Any).expect("it is there");
    w.check();
}

#[test]
fn capabilities_go_with_changes() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let name = "security.capability";
    w.set(f, name, b"cap", XattrMode::Any).expect("a file");
    let mode = AttrChanges {
        mode: Some(0o700),
        ..AttrChanges::default()
    };
    w.set_attr(f, mode).expect("a file");
    assert_eq!(w.get(f, name), Ok(b"cap".to_vec()));
    w.write(f, 0, 10);
    assert_eq!(w.get(f, name), Err(NoAttribute));
    for changes in [
        AttrChanges {
            uid: Some(1),
            ..AttrChanges::default()
        },
        AttrChanges {
            size: Some(1),
            ..AttrChanges::default()
        },
    ] {
        w.set(f, name, b"cap", XattrMode::Any).expect("a file");
        w.set_attr(f, changes).expect("a file");
        assert_eq!(w.get(f, name), Err(NoAttribute));
    }
    w.check();
}

#[test]
fn an_access_list_and_the_mode_agree() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let list = extended(7, 6, 5, 7, 4);
    w.set(f, ACCESS, &list, XattrMode::Create).expect("a list");
    assert_eq!((w.mode(f), w.get(f, ACCESS)), (0o774, Ok(list.clone())));
    // chmod changes the mask, not the group.
    let mode = |mode| AttrChanges {
        mode: Some(mode),
        ..AttrChanges::default()
    };
    w.set_attr(f, mode(0o2640)).expect("a file");
    assert_eq!(
        (w.mode(f), w.get(f, ACCESS)),
        (0o2640, Ok(extended(6, 6, 5, 4, 0)))
    );
    // A list that says no more than a mode becomes one.
    w.set(f, ACCESS, &minimal(7, 5, 1), XattrMode::Any)
        .expect("a list");
    assert_eq!((w.mode(f), w.get(f, ACCESS)), (0o2751, Err(NoAttribute)));
    let kill = Op::SetXattr {
        ino: f,
        name: ACCESS.into(),
        value: list.clone(),
        mode: XattrMode::Any,
        kill_sgid: true,
    };
    w.run(&kill).expect("a list");
    assert_eq!(w.mode(f), 0o774);
    w.remove(f, ACCESS).expect("there");
    assert_eq!((w.mode(f), w.names(f)), (0o774, vec![]));
    w.remove(f, ACCESS).expect("not there, and no refusal");
    w.set(f, ACCESS, &list, XattrMode::Any).expect("a list");
    w.set(f, ACCESS, &acl(&[]), XattrMode::Any)
        .expect("an empty list removes");
    assert_eq!(w.get(f, ACCESS), Err(NoAttribute));
    w.check();
}

#[test]
fn lists_that_are_none() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let d = w.dir(ROOT, "d");
    let l = w.make(ROOT, "l", FileKind::Symlink);
    let (u, g, o) = ((USER_OBJ, 7, NOBODY), (GROUP_OBJ, 7, NOBODY), (OTHER, 7, NOBODY));
    let m = (MASK, 7, NOBODY);
    let bad = [
        vec![],
        vec![2, 0, 0],
        acl(&[u, g, o])[..27].to_vec(),
        acl(&[u, g]),
        acl(&[g, u, o]),
        acl(&[u, u, g, o]),
        acl(&[u, g, o, o]),
        acl(&[u, g, o, m]),
        acl(&[u, (USER, 7, 5), g, o]),
        acl(&[u, g, (GROUP, 7, 5), o]),
        acl(&[u, (USER, 7, NOBODY), g, m, o]),
        acl(&[u, g, (OTHER, 8, NOBODY)]),
        acl(&[u, g, (64, 7, NOBODY), o]),
    ];
    for value in bad {
        assert_eq!(
            w.set(d, ACCESS, &value, XattrMode::Any),
            Err(Invalid),
            "{value:?}"
        );
        assert_eq!(
            w.set(d, DEFAULT, &value, XattrMode::Any),
            Err(Invalid),
            "{value:?}"
        );
    }
    let mut version = minimal(7, 7, 7);
    version[0] = 1;
    assert_eq!(w.set(d, ACCESS, &version, XattrMode::Any), Err(NotSupported));
    assert_eq!(
        w.set(f, DEFAULT, &minimal(7, 7, 7), XattrMode::Any),
        Err(AccessDenied)
    );
    assert_eq!(w.set(f, DEFAULT, &acl(&[]), XattrMode::Any), Ok(Reply::Done));
    assert_eq!(
        w.set(l, ACCESS, &minimal(7, 7, 7), XattrMode::Any),
        Err(NotSupported)
    );
    assert_eq!(w.get(l, ACCESS), Err(NotSupported));
    assert_eq!(
        w.set(d, ACCESS, &acl(&[u, g, m, o]), XattrMode::Any),
        Ok(Reply::Done)
    );
    w.check();
}

#[test]
fn a_default_list_is_inherited_and_the_umask_is_not_used() {
    let mut w = World::new();
    let d = w.dir(ROOT, "d");
    let list = extended(7, 7, 5, 7, 5);
    w.set(d, DEFAULT, &list, XattrMode::Any).expect("a list");
    assert_eq!(w.mode(d), 0o755, "the default list is no permission");
    let make = Make {
        mode: 0o666,
        umask: 0o077,
        ..w.make_op(d, "f", FileKind::File)
    };
    let f = w.made(make).ino;
    assert_eq!(
        (w.mode(f), w.get(f, ACCESS)),
        (0o664, Ok(extended(6, 7, 5, 6, 4)))
    );
    assert_eq!(w.get(f, DEFAULT), Err(NoAttribute));
    let make = Make {
        mode: 0o777,
        umask: 0o077,
        ..w.make_op(d, "s", FileKind::Directory)
    };
    let s = w.made(make).ino;
    assert_eq!(
        (w.mode(s), w.get(s, ACCESS), w.get(s, DEFAULT)),
        (0o775, Ok(list.clone()), Ok(list))
    );
    let l = w.make(d, "l", FileKind::Symlink);
    assert_eq!((w.mode(l), w.names(l)), (0o777, vec![]));
    // A minimal default list gives a mode and no list.
    w.set(d, DEFAULT, &minimal(6, 4, 0), XattrMode::Any)
        .expect("a list");
    let g = w.file(d, "g");
    assert_eq!((w.mode(g), w.names(g)), (0o640, vec![]));
    w.remove(d, DEFAULT).expect("there");
    let h = w.file(d, "h");
    assert_eq!(w.mode(h), 0o755);
    w.check();
}
