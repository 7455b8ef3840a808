//! The comparison of the whole state: every inode, entry, xattr and byte; versions; and the checker's findings.

use crate::model::Byte;
use crate::pair::Pair;
use dfs_core::ids::Ino;
use dfs_core::keys::{self, prefix};
use dfs_core::op::*;
use dfs_core::rows::InodeRow;
use dfs_core::types::*;
use std::collections::BTreeMap;

impl Pair {
    /// The whole tree, the versions, and the checker.
    pub fn compare(&mut self) {
        self.world.check();
        let (start, end) = prefix::inodes();
        let mut found: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (key, value) in self.world.view.rows.range(start..end) {
            if let Some(keys::Key::Inode(Ino(ino))) = keys::parse(key) {
                found.insert(ino, value.clone());
            }
        }
        let inos: Vec<u64> = found.keys().copied().collect();
        assert_eq!(inos, self.model.nodes.keys().copied().collect::<Vec<u64>>());
        for (ino, bytes) in &found {
            let row = InodeRow::decode(&[], bytes).expect("whole");
            if let Some(before) = self.rows.get(ino).filter(|before| *before != bytes) {
                let before = InodeRow::decode(&[], before).expect("whole");
                assert!(
                    row.version > before.version,
                    "a change without a new version: {before:?} {row:?}"
                );
            }
            self.compare_inode(*ino, &row);
        }
        self.rows = found;
    }

    pub fn compare_inode(&mut self, ino: u64, row: &InodeRow) {
        let node = &self.model.nodes[&ino];
        let expected = (
            node.kind,
            node.mode,
            node.uid,
            node.gid,
            self.model.nlink(ino),
            self.model.size(ino),
        );
        assert_eq!(
            (row.kind, row.mode, row.uid, row.gid, row.nlink, row.size),
            expected,
            "inode {ino}"
        );
        assert_eq!(
            (row.mtime.secs, row.ctime.secs),
            (node.mtime, node.ctime),
            "times of inode {ino}"
        );
        assert_eq!(row.xattrs as usize, node.xattrs.len());
        let node = node.clone();
        for (name, value) in &node.xattrs {
            let got = self.world.run(&Op::GetXattr {
                ino: Ino(ino),
                name: name.clone(),
            });
            assert_eq!(got, Ok(Reply::Value(value.clone())));
        }
        if node.kind == FileKind::Directory {
            let page = self.world.run(&Op::ReadDir {
                ino: Ino(ino),
                after: 0,
                limit: 100,
                attrs: false,
                alone: false,
            });
            let Ok(Reply::Page { entries, end: true }) = page else {
                panic!("{page:?}")
            };
            let listed: BTreeMap<Vec<u8>, u64> = entries
                .into_iter()
                .map(|entry| (entry.name, entry.ino.0))
                .collect();
            assert_eq!(listed, node.children, "entries of {ino}");
        }
        if node.kind == FileKind::File {
            let mut bytes: BTreeMap<u64, Byte> = BTreeMap::new();
            for (offset, len, chunk, at) in self.world.extents(Ino(ino)) {
                for byte in 0..len {
                    let found = (chunk != 0).then_some((chunk, u64::from(at) + byte));
                    bytes.insert(offset + byte, found);
                }
            }
            assert_eq!(bytes, node.bytes, "content of {ino}");
        }
    }
}
