//! One case for each rule: what is refused, and by which field's name.

use crate::convert::{
    WireError, asked_pages, block_range, fs_error, lock_request, op_to_wire, put_begin, session_id,
};
use crate::v1;
use dfs_core::ids::{ChunkId, Ino, SetId};
use dfs_core::lock::Lock;
use dfs_core::op::{COMMIT_FILES_MAX, Commit, NewChunk, Op, RELEASE_MAX};
use dfs_core::types::{Extent, Timestamp};
use v1::op::Op as Wire;

fn refused(op: Wire) -> WireError {
    Op::try_from(v1::Op { op: Some(op) }).expect_err("must be refused")
}

fn text(op: Wire) -> String {
    refused(op).to_string()
}

#[test]
fn names() {
    let lookup = |name: &[u8]| {
        Wire::Lookup(v1::Lookup {
            parent: 1,
            name: name.to_vec(),
        })
    };
    for name in [&b""[..], b"a/b", b"a\0b"] {
        assert_eq!(refused(lookup(name)), WireError::BadName { field: "Lookup.name" });
    }
    assert!(text(lookup(&[b'a'; 4097])).starts_with("Lookup.name has 4097"));
    for name in [&b".."[..], &[b'a'; 256], &[b'a'; 4096]] {
        let op = Op::try_from(v1::Op {
            op: Some(lookup(name)),
        });
        assert_eq!(
            op,
            Ok(Op::Lookup {
                parent: Ino(1),
                name: name.to_vec()
            }),
            "the core has the errno"
        );
    }
}

#[test]
fn absent_parts() {
    assert_eq!(
        Op::try_from(v1::Op { op: None }),
        Err(WireError::Absent { field: "Op.op" })
    );
    assert!(
        text(Wire::SetAttr(v1::SetAttr {
            ino: 1,
            changes: None
        }))
        .starts_with("SetAttr.changes is absent")
    );
    let make = v1::Make {
        name: b"f".to_vec(),
        kind: 1,
        who: None,
        ..Default::default()
    };
    assert!(text(Wire::Make(make.clone())).starts_with("Make.who is absent"));
    assert!(
        text(Wire::Make(v1::Make {
            kind: 0,
            ..make.clone()
        }))
        .starts_with("Make.kind is absent")
    );
    assert!(
        text(Wire::Make(v1::Make {
            kind: 8,
            ..make.clone()
        }))
        .starts_with("Make.kind is 8")
    );
    assert!(
        text(Wire::Make(v1::Make {
            mode: 0o100644,
            ..make
        }))
        .starts_with("Make.mode is 33188")
    );
}

#[test]
fn times() {
    let time = |nanos| Timestamp::try_from(v1::Timestamp { secs: -1, nanos });
    assert_eq!(
        time(999_999_999),
        Ok(Timestamp {
            secs: -1,
            nanos: 999_999_999
        })
    );
    assert!(time(1_000_000_000).is_err());
}

#[test]
fn extents() {
    let chunk = Some(v1::ChunkId { set: 1, seq: 7 });
    let good = v1::Extent {
        offset: 10,
        len: 5,
        chunk,
        chunk_offset: 0,
    };
    assert!(Extent::try_from(good).is_ok());
    for bad in [
        v1::Extent { len: 0, ..good },
        v1::Extent {
            offset: i64::MAX as u64,
            len: 1,
            ..good
        },
        v1::Extent {
            offset: u64::MAX,
            ..good
        },
        v1::Extent { chunk: None, ..good },
        v1::Extent {
            chunk: Some(v1::ChunkId { set: 0, seq: 1 }),
            ..good
        },
        v1::Extent {
            chunk_offset: 8 << 20,
            ..good
        },
        v1::Extent {
            len: (8 << 20) + 1,
            ..good
        },
    ] {
        assert!(Extent::try_from(bad).is_err(), "{bad:?}");
    }
    let zeros = v1::Extent {
        len: 1 << 40,
        chunk: Some(v1::ChunkId { set: 0, seq: 0 }),
        ..good
    };
    assert_eq!(
        Extent::try_from(zeros).map(|extent| extent.chunk),
        Ok(ChunkId::ZEROS)
    );
}

#[test]
fn commits() {
    let chunk = NewChunk {
        id: ChunkId {
            set: SetId(1),
            seq: 1,
        },
        len: 1,
        sha256: [0; 32],
        missing: vec![],
        on_disk: vec![],
    };
    let wire = v1::NewChunk::from(&chunk);
    assert_eq!(NewChunk::try_from(wire.clone()), Ok(chunk));
    for bad in [
        v1::NewChunk {
            sha256: vec![0; 31],
            ..wire.clone()
        },
        v1::NewChunk {
            len: 0,
            ..wire.clone()
        },
        v1::NewChunk {
            len: (8 << 20) + 1,
            ..wire.clone()
        },
        v1::NewChunk {
            id: Some(v1::ChunkId { set: 0, seq: 0 }),
            ..wire.clone()
        },
        v1::NewChunk {
            missing: vec![0],
            ..wire.clone()
        },
        v1::NewChunk {
            missing: vec![1; 17],
            ..wire.clone()
        },
        v1::NewChunk {
            on_disk: vec![0],
            ..wire.clone()
        },
        v1::NewChunk {
            on_disk: vec![1; 17],
            ..wire
        },
    ] {
        assert!(NewChunk::try_from(bad).is_err());
    }
}

#[test]
fn files_of_commits() {
    let extent = |offset| v1::Extent {
        offset,
        len: 2,
        chunk: Some(v1::ChunkId { set: 1, seq: 1 }),
        chunk_offset: 0,
    };
    let file = |offsets: &[u64]| v1::FileCommit {
        mtime: Some(v1::Timestamp { secs: 0, nanos: 0 }),
        extents: offsets.iter().map(|&offset| extent(offset)).collect(),
        ..Default::default()
    };
    let commit = |files| {
        Commit::try_from(v1::Commit {
            chunks: vec![],
            files,
        })
    };
    assert!(commit(vec![file(&[0, 2, 9])]).is_ok());
    assert!(matches!(
        commit(vec![file(&[0, 1])]),
        Err(WireError::Disorder { .. })
    ));
    assert!(matches!(
        commit(vec![file(&[9, 0])]),
        Err(WireError::Disorder { .. })
    ));
    let many = vec![file(&[]); COMMIT_FILES_MAX + 1];
    assert!(matches!(
        commit(many),
        Err(WireError::TooLong {
            field: "Commit.files",
            ..
        })
    ));
}

#[test]
fn limits_of_requests() {
    let release = v1::Release {
        inos: vec![1; RELEASE_MAX + 1],
    };
    assert!(text(Wire::Release(release)).starts_with("Release.inos has 4097"));
    let list = |limit| {
        Wire::ReadDir(v1::ReadDir {
            ino: 1,
            after: 0,
            limit,
            attrs: false,
            alone: false,
        })
    };
    assert!(text(list(0)).starts_with("ReadDir.limit is 0"));
    assert!(text(list(4097)).starts_with("ReadDir.limit is 4097"));
    let alloc = v1::AllocChunks {
        count: 4097,
        avoid: vec![],
    };
    assert!(text(Wire::AllocChunks(alloc)).starts_with("AllocChunks.count is 4097"));
    let ask = v1::GetExtents {
        ino: 1,
        offset: 1,
        len: u64::MAX,
    };
    assert!(text(Wire::GetExtents(ask)).starts_with("GetExtents.len"));
    let acquire = v1::Acquire { ino: 1, mode: 3 };
    assert!(text(Wire::Acquire(acquire)).starts_with("Acquire.mode is 3"));
}

#[test]
fn locks() {
    let good = v1::Lock {
        ino: 1,
        end: 9,
        ..Default::default()
    };
    assert!(Lock::try_from(good).is_ok());
    for bad in [
        v1::Lock { start: 10, ..good },
        v1::Lock { kind: 2, ..good },
        v1::Lock { r#type: -1, ..good },
    ] {
        assert!(Lock::try_from(bad).is_err());
    }
    assert!(
        lock_request(v1::LockRequest {
            lock: None,
            action: 0
        })
        .is_err()
    );
    assert!(
        lock_request(v1::LockRequest {
            lock: Some(good),
            action: 3
        })
        .is_err()
    );
}

#[test]
fn sessions_and_errors() {
    assert!(session_id(&[0; 16]).is_err(), "the coordinator's own");
    assert!(session_id(&[1; 15]).is_err());
    assert!(fs_error(0).is_err());
    assert!(fs_error(1 << 20).is_err());
    assert!(op_to_wire(&Op::Purge { limit: 1 }).is_none());
}

#[test]
fn block_groups() {
    let group = |first_block, payload: usize, crcs| v1::BlockGroup {
        first_block,
        payload: vec![0; payload].into(),
        crcs: vec![0; crcs],
        disk_us: 0,
    };
    let len = 65_536 * 2 + 10;
    assert_eq!(block_range(&group(0, 65_536 * 2, 2), 0, len), Ok(0..65_536 * 2));
    assert_eq!(block_range(&group(2, 10, 1), 2, len), Ok(65_536 * 2..len));
    assert_eq!(block_range(&group(0, len as usize, 3), 0, len), Ok(0..len));
    for (bad, expected) in [
        (group(1, 10, 1), 2),
        (group(2, 11, 1), 2),
        (group(1, 10, 1), 1),
        (group(0, 65_536, 2), 0),
        (group(0, 0, 0), 0),
        (group(3, 0, 0), 3),
        (group(u32::MAX, 10, 1), u32::MAX),
    ] {
        assert!(
            block_range(&bad, expected, len).is_err(),
            "{} {}",
            bad.first_block,
            bad.payload.len()
        );
    }
}

#[test]
fn pages_that_are_asked_for() {
    let len = 4096 * 20 + 1;
    assert_eq!(asked_pages(0, 1, len), Ok(0..1));
    assert_eq!(asked_pages(3, 16, len), Ok(3..19));
    assert_eq!(asked_pages(20, 16, len), Ok(20..21));
    for (first, pages) in [(21, 1), (0, 0), (0, 17), (u32::MAX, 1), (1, u32::MAX)] {
        assert!(asked_pages(first, pages, len).is_err(), "{pages} from {first}");
    }
}

#[test]
fn transfers_begin() {
    let begin = v1::PutBegin {
        transfer: vec![1; 16],
        cluster: vec![2; 16],
        chunk: Some(v1::ChunkId { set: 1, seq: 1 }),
        len: 5,
        term: 3,
        propagate: true,
        others: vec![v1::Node {
            id: 2,
            address: "host:1".to_string(),
            ..Default::default()
        }],
    };
    assert_eq!(
        put_begin(begin.clone()).map(|transfer| transfer.forward.len()),
        Ok(1)
    );
    let last = v1::PutBegin {
        propagate: false,
        ..begin.clone()
    };
    assert_eq!(put_begin(last).map(|transfer| transfer.forward.len()), Ok(0));
    for bad in [
        v1::PutBegin {
            transfer: vec![1; 15],
            ..begin.clone()
        },
        v1::PutBegin {
            cluster: vec![],
            ..begin.clone()
        },
        v1::PutBegin {
            chunk: None,
            ..begin.clone()
        },
        v1::PutBegin {
            len: 0,
            ..begin.clone()
        },
        v1::PutBegin {
            others: vec![v1::Node::default()],
            ..begin
        },
    ] {
        assert!(put_begin(bad).is_err());
    }
}
