//! Inodes that outlive their names: open files, `O_TMPFILE`, sessions that end.

use crate::world::*;
use dfs_core::error::FsError::*;
use dfs_core::ids::{Ino, OpId, SessionId};
use dfs_core::keys::{self, prefix};
use dfs_core::op::*;
use dfs_core::rows::{RepliesRow, Row, SessionRow};
use dfs_core::types::LeaseMode;

impl World {
    fn unlink_expecting(&mut self, name: &str, expect: Option<(Ino, bool)>) -> Reply {
        self.run(&Op::Unlink(Unlink {
            parent: ROOT,
            name: name.into(),
            expect,
        }))
        .expect("there")
    }

    fn orphans(&self) -> (usize, usize) {
        (
            self.count(prefix::orphans()),
            self.count(prefix::held_by(ALICE)) + self.count(prefix::held_by(BOB)),
        )
    }

    fn temp(&mut self) -> Ino {
        let op = Op::MakeTemp {
            parent: ROOT,
            mode: 0o666,
            umask: 0o022,
            who: self.who,
        };
        match self.run(&op) {
            Ok(Reply::Entry { attr, created: true }) => {
                assert_eq!((attr.nlink, attr.mode), (0, 0o644));
                attr.ino
            }
            other => panic!("{other:?}"),
        }
    }
}

// S3
#[test]
fn an_open_file_lives_until_the_last_close() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    w.write(f, 0, 100);
    w.open.0.insert((f, BOB));
    assert_eq!(
        w.unlink_expecting("f", Some((f, true))),
        Reply::Removed { ino: f, orphan: true }
    );
    assert_eq!((w.attr(f).nlink, w.orphans()), (0, (1, 2)));
    w.check();
    w.write(f, 100, 50);
    assert_eq!(w.attr(f).size, 150);
    let release = Op::Release {
        inos: vec![f, Ino(999)],
    };
    w.run(&release).expect("one holder less");
    assert_eq!((w.attr(f).nlink, w.orphans()), (0, (1, 1)));
    // To who does not hold it, it is gone.
    for op in [
        Op::GetAttr { ino: f },
        Op::Acquire {
            ino: f,
            mode: LeaseMode::Exclusive,
        },
    ] {
        assert_eq!(w.refused(&op), Stale);
        assert!(w.run_as(BOB, &op).is_ok());
    }
    w.run(&release).expect("twice is once");
    assert_eq!(w.orphans(), (1, 1));
    w.check();
    w.run_as(BOB, &release).expect("the last holder");
    assert_eq!(w.refused(&Op::GetAttr { ino: f }), Stale);
    assert_eq!((w.orphans(), w.count(prefix::garbage())), ((0, 0), 2));
    w.check();
    let many = Op::Release {
        inos: vec![f; RELEASE_MAX + 1],
    };
    assert_eq!(w.refused(&many), Invalid);
}

#[test]
fn who_counts_as_holding() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    w.open.0.insert((f, ALICE));
    let gone = Reply::Removed {
        ino: f,
        orphan: false,
    };
    assert_eq!(
        w.unlink_expecting("f", Some((f, false))),
        gone,
        "the caller knows better"
    );
    assert_eq!(w.orphans(), (0, 0));
    let g = w.file(ROOT, "g");
    let kept = Reply::Removed { ino: g, orphan: true };
    assert_eq!(
        w.unlink_expecting("g", Some((f, false))),
        kept,
        "another inode than expected"
    );
    let h = w.file(ROOT, "h");
    w.open.0.insert((h, ALICE));
    let kept = Reply::Removed { ino: h, orphan: true };
    assert_eq!(w.unlink_expecting("h", None), kept, "the table decides");
    let i = w.file(ROOT, "i");
    w.open.0.insert((i, BOB));
    let others = Reply::Removed {
        ino: i,
        orphan: false,
    };
    assert_eq!(
        w.unlink_expecting("i", Some((i, false))),
        others,
        "an orphan, and not the caller's"
    );
    assert_eq!(w.orphans(), (3, 3));
    w.check();
}

#[test]
fn an_open_directory_lives_without_entries() {
    let mut w = World::new();
    let d = w.dir(ROOT, "d");
    let removed = w.run(&Op::Rmdir {
        parent: ROOT,
        name: "d".into(),
        held: true,
    });
    assert_eq!(removed, Ok(Reply::Removed { ino: d, orphan: true }));
    assert_eq!(w.attr(d).nlink, 0);
    let page = w.run(&Op::ReadDir {
        ino: d,
        after: 0,
        limit: 9,
        attrs: false,
        alone: false,
    });
    assert_eq!(
        page,
        Ok(Reply::Page {
            entries: vec![],
            end: true
        })
    );
    w.check();
    w.run(&Op::Release { inos: vec![d] }).expect("held");
    assert_eq!(w.refused(&Op::GetAttr { ino: d }), Stale);
    w.check();
}

#[test]
fn rename_over_an_open_file() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let g = w.file(ROOT, "g");
    let rename = Rename {
        parent: ROOT,
        name: "f".into(),
        new_parent: ROOT,
        new_name: "g".into(),
        mode: RenameMode::Replace,
        expect: Some((g, true)),
    };
    let renamed = w.run(&Op::Rename(rename));
    assert_eq!(
        renamed,
        Ok(Reply::Renamed {
            moved: f,
            replaced: Some((g, true))
        })
    );
    assert_eq!(w.orphans(), (1, 1));
    w.check();
}

#[test]
fn a_temporary_file_gets_a_name_or_goes() {
    let mut w = World::new();
    let f = w.temp();
    assert_eq!(w.orphans(), (1, 1));
    w.check();
    let link = |ino| Op::Link {
        ino,
        parent: ROOT,
        name: "f".into(),
    };
    w.run(&link(f)).expect("its first name");
    assert_eq!((w.attr(f).nlink, w.orphans()), (1, (0, 0)));
    w.check();
    assert_eq!(
        w.unlink_expecting("f", Some((f, true))),
        Reply::Removed { ino: f, orphan: true }
    );
    assert_eq!(
        w.refused(&link(f)),
        NotFound,
        "what was unlinked gets no name again"
    );
    let g = w.temp();
    w.run(&Op::Release { inos: vec![f, g] }).expect("both");
    assert_eq!((w.orphans(), w.view.inodes), ((0, 0), 1));
    w.check();
}

#[test]
fn the_end_of_a_session_takes_what_it_held() {
    let mut w = World::new();
    let f = w.temp();
    let shared = w.file(ROOT, "g");
    w.open.0.insert((shared, BOB));
    w.unlink_expecting("g", Some((shared, true)));
    w.chunk_id();
    let row = SessionRow {
        client: "test".into(),
        created: w.now(),
        lapsed: false,
    };
    w.view.rows.insert(keys::session(ALICE), row.encode());
    for (session, results) in [
        (
            ALICE,
            vec![(OpId(3), Ok(Reply::Done)), (OpId(4), Ok(Reply::Done))],
        ),
        (ALICE, vec![(OpId(5), Ok(Reply::Done))]),
        (BOB, vec![(OpId(3), Err(NotFound))]),
    ] {
        let key = keys::reply(session, results[0].0);
        w.view.rows.insert(key, RepliesRow(results).encode());
    }
    let end = Op::EndSession { session: ALICE.0 };
    assert_eq!(w.run_as(SessionId::COORDINATOR, &end), Ok(Reply::Done));
    assert_eq!(w.refused(&Op::GetAttr { ino: f }), Stale);
    assert_eq!((w.attr(shared).nlink, w.orphans()), (0, (1, 1)));
    let left = (
        w.count(prefix::ranges()),
        w.count(prefix::replies()),
        w.count(prefix::sessions()),
    );
    assert_eq!(left, (0, 1, 0));
    w.check();
    assert_eq!(
        w.run_as(SessionId::COORDINATOR, &end),
        Ok(Reply::Done),
        "twice is once"
    );
}

#[test]
fn freeing_takes_xattrs_along() {
    let mut w = World::new();
    let f = w.file(ROOT, "f");
    let set = Op::SetXattr {
        ino: f,
        name: b"user.a".to_vec(),
        value: vec![1],
        mode: XattrMode::Any,
        kill_sgid: false,
    };
    w.run(&set).expect("a file");
    assert_eq!(w.count(prefix::xattrs(f)), 1);
    w.unlink_expecting("f", None);
    assert_eq!(w.count(prefix::xattrs(f)), 0);
    w.check();
}
