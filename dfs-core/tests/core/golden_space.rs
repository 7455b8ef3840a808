//! What is on disks for the trash, quotas and settings, and of rows that grew for them.

use crate::golden::{Cases, SESSION, inode, row};
use dfs_core::ids::*;
use dfs_core::keys::{self, Key};
use dfs_core::rows::*;
use dfs_core::types::*;

pub fn keys_of_space() -> Cases {
    let session = "00000000000000000000000000000102";
    vec![
        (keys::setting(b"s"), "7673".into(), Key::Setting(b"s".to_vec())),
        (
            keys::trash(Timestamp { secs: 5, nanos: 6 }, Ino(7)),
            "7a0000000000000005000000060000000000000007".into(),
            Key::Trash {
                since: Timestamp { secs: 5, nanos: 6 },
                ino: Ino(7),
            },
        ),
        (
            keys::quota(Ino(7)),
            "710000000000000007".into(),
            Key::Quota(Ino(7)),
        ),
        (
            keys::reserved(SESSION, Ino(7)),
            format!("62{session}0000000000000007"),
            Key::Reserved {
                session: SESSION,
                quota: Ino(7),
            },
        ),
        (
            keys::walk(Ino(7), Ino(8)),
            "7700000000000000070000000000000008".into(),
            Key::Walk {
                quota: Ino(7),
                dir: Ino(8),
            },
        ),
        (keys::tree(Ino(7)), "6b0000000000000007".into(), Key::Tree(Ino(7))),
        (
            keys::arrived(Ino(7)),
            "790000000000000007".into(),
            Key::Arrived(Ino(7)),
        ),
        (
            keys::other_name(Ino(7), Ino(8), 9),
            "6a000000000000000700000000000000080000000000000009".into(),
            Key::OtherName {
                ino: Ino(7),
                parent: Ino(8),
                hash: 9,
            },
        ),
        (
            keys::uncounted(Ino(7)),
            "660000000000000007".into(),
            Key::Uncounted(Ino(7)),
        ),
    ]
}

#[test]
fn rows_that_grew_have_these_bytes() {
    let v1 = "02a403020304050607010904090609080908090a0b0c0174";
    let charged = InodeRow {
        quota: Ino(13),
        charged: 300,
        ..inode()
    };
    row(charged.clone(), &format!("02{v1}0dac02"));
    let counted = InodeRow {
        home: Ino(14),
        place: 15,
        ..charged
    };
    row(counted, &format!("03{v1}0dac020e0f"));
    let unlimited = InodeRow {
        home: Ino(14),
        place: 15,
        ..inode()
    };
    row(unlimited, &format!("03{v1}00000e0f"));
    let sums = CountRow {
        bytes: -1,
        files: 2,
        dirs: 3,
    };
    row(sums, "01010406");
    row(OtherNameRow, "01");
    let orphan = OrphanRow {
        holders: vec![SessionId(1)],
        linkable: false,
        origin: Some(Origin {
            parent: Ino(1),
            name: b"n".to_vec(),
        }),
    };
    row(orphan, "020101000101016e");
}

#[test]
fn rows_of_trash_and_quotas_have_these_bytes() {
    row(SettingRow { value: 300 }, "01ac02");
    let mut trash = TrashRow {
        origin: Origin {
            parent: Ino(1),
            name: b"n".to_vec(),
        },
        kind: FileKind::Directory,
        bytes: 512,
        age: 0,
    };
    // As before leaders counted its age.
    row(trash.clone(), "0101016e018004");
    trash.age = 300;
    row(trash, "0201016e018004ac02");
    let quota = QuotaRow {
        limit_bytes: 1,
        limit_inodes: 2,
        used_bytes: 3,
        used_inodes: 4,
        reserved: 5,
        parent: Ino(6),
        state: QuotaState::Removing,
    };
    row(quota, "0101020304050602");
    row(ReservedRow { bytes: 5 }, "0105");
    row(WalkRow { after: 5 }, "0105");
}
