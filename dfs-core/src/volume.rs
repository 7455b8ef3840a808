//! A new volume's first rows. The coordinator writes them when it makes a volume; the models start from them.

use crate::ids::Ino;
use crate::keys;
use crate::namespace;
use crate::rows::{CounterRow, InodeRow, SettingRow};
use crate::types::{FileKind, Timestamp};
use crate::view::Effects;

/// The root directory, 0755 and root's, and the counters' starts. The inode counter's sum is in `inodes`.
pub fn initial_rows(now: Timestamp) -> Effects {
    let root = InodeRow {
        kind: FileKind::Directory,
        mode: 0o755,
        nlink: 2,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        version: 1,
        content_epoch: 0,
        parent: Ino::ROOT,
        content: 0,
        xattrs: 0,
        target: Vec::new(),
        quota: Ino(0),
        charged: 0,
        home: Ino(0),
        place: namespace::COUNTS_ROOT_PLACE,
    };
    let mut effects = Effects {
        inodes: 1,
        ..Effects::default()
    };
    effects.rows.insert(keys::inode(Ino::ROOT), Some(root.encode()));
    let counters = [
        (&b"next_ino"[..], Ino::FIRST.0),
        (b"next_node", 1),
        (b"next_set", 1),
    ];
    for (name, value) in counters {
        effects
            .rows
            .insert(keys::counter(name), Some(CounterRow { value }.encode()));
    }
    // There is nothing that a first count would find.
    let counted = SettingRow { value: 1 };
    effects
        .rows
        .insert(keys::setting(namespace::COUNTS_BEGUN), Some(counted.encode()));
    effects
}
