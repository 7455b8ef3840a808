//! What is on disks: the bytes of keys, rows, frames and records. A change here is a new version.

use crate::golden_space::keys_of_space;
use dfs_core::error::FsError;
use dfs_core::frame::{self, Frame};
use dfs_core::ids::*;
use dfs_core::keys::{self, Key};
use dfs_core::op::Reply;
use dfs_core::record::{Record, RecordError};
use dfs_core::rows::*;
use dfs_core::types::*;
use dfs_core::view::ViewError;
use proptest::prelude::*;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .map(|byte| (byte as char).to_digit(16).expect("a hex digit") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CHUNK: ChunkId = ChunkId {
    set: SetId(2),
    seq: 3,
};
pub const SESSION: SessionId = SessionId(0x0102);

/// Keys, their bytes, and what they parse to.
pub type Cases = Vec<(Vec<u8>, String, Key)>;

fn keys_of_files_and_chunks() -> Cases {
    vec![
        (
            keys::inode(Ino(1)),
            "690000000000000001".into(),
            Key::Inode(Ino(1)),
        ),
        (
            keys::dentry(Ino(1), b"a"),
            "64000000000000000100978112ca1bbdca61".into(),
            Key::Dentry {
                parent: Ino(1),
                hash: 0x0097_8112_ca1b_bdca,
                name: b"a".to_vec(),
            },
        ),
        (
            keys::xattr(Ino(1), b"user.a"),
            "780000000000000001757365722e61".into(),
            Key::Xattr {
                ino: Ino(1),
                name: b"user.a".to_vec(),
            },
        ),
        (
            keys::extent(Ino(1), 2, 3),
            "65000000000000000100000000000000020000000000000003".into(),
            Key::Extent {
                ino: Ino(1),
                content: 2,
                end: 3,
            },
        ),
        (
            keys::chunk(CHUNK),
            "63000000020000000000000003".into(),
            Key::Chunk(CHUNK),
        ),
        (
            keys::garbage(CHUNK),
            "67000000020000000000000003".into(),
            Key::Garbage(CHUNK),
        ),
        (
            keys::missing(CHUNK, NodeId(4)),
            "6d00000002000000000000000300000004".into(),
            Key::Missing {
                chunk: CHUNK,
                node: NodeId(4),
            },
        ),
    ]
}

fn keys_of_the_volume() -> Cases {
    let session = "00000000000000000000000000000102";
    vec![
        (
            keys::range(SESSION, SetId(2), 3),
            format!("72{session}000000020000000000000003"),
            Key::Range {
                session: SESSION,
                set: SetId(2),
                first: 3,
            },
        ),
        (
            keys::orphan(Ino(1)),
            "6f0000000000000001".into(),
            Key::Orphan(Ino(1)),
        ),
        (
            keys::held(SESSION, Ino(1)),
            format!("68{session}0000000000000001"),
            Key::Held {
                session: SESSION,
                ino: Ino(1),
            },
        ),
        (
            keys::purge(Ino(1), 2),
            "7000000000000000010000000000000002".into(),
            Key::Purge {
                ino: Ino(1),
                content: 2,
            },
        ),
        (
            keys::session(SESSION),
            format!("73{session}"),
            Key::Session(SESSION),
        ),
        (
            keys::reply(SESSION, OpId(5)),
            format!("61{session}0000000000000005"),
            Key::Reply {
                session: SESSION,
                op: OpId(5),
            },
        ),
        (keys::node(NodeId(4)), "6e00000004".into(), Key::Node(NodeId(4))),
        (keys::set(SetId(2)), "7400000002".into(), Key::Set(SetId(2))),
        (
            keys::counter(b"bytes"),
            "756279746573".into(),
            Key::Counter(b"bytes".to_vec()),
        ),
        (
            keys::chunk_seq(SetId(12)),
            "756368756e6b5f7365712f3132".into(),
            Key::Counter(b"chunk_seq/12".to_vec()),
        ),
        (keys::plan(7), "6c0000000000000007".into(), Key::Plan(7)),
    ]
}

#[test]
fn keys_have_these_bytes() {
    let (first, last) = keys::prefix::all();
    for (key, bytes, parsed) in [keys_of_files_and_chunks(), keys_of_the_volume(), keys_of_space()]
        .into_iter()
        .flatten()
    {
        assert_eq!(hex(&key), bytes);
        assert_eq!(keys::parse(&key), Some(parsed));
        assert!(first <= key && key < last);
        if ![b'd', b'x', b'u', b'v'].contains(&key[0]) {
            assert_eq!(keys::parse(&key[..key.len() - 1]), None);
            assert_eq!(keys::parse(&[&key[..], &[0]].concat()), None);
        }
    }
    assert_eq!((keys::parse(b""), keys::parse(b"?")), (None, None));
}

#[test]
fn owners_of_rows() {
    assert_eq!(keys::owner_inode(&keys::dentry(Ino(7), b"x")), Some(Ino(7)));
    assert_eq!(keys::owner_inode(&keys::extent(Ino(7), 0, 1)), Some(Ino(7)));
    assert_eq!(keys::owner_inode(&keys::xattr(Ino(7), b"x")), Some(Ino(7)));
    assert_eq!(keys::owner_inode(&keys::inode(Ino(7))), Some(Ino(7)));
    assert_eq!(keys::owner_inode(&keys::chunk(CHUNK)), None);
    assert_eq!(keys::owner_inode(b""), None);
}

#[test]
fn ranges_end_where_the_next_begins() {
    let (start, end) = keys::prefix::extents(Ino(u64::MAX), u64::MAX);
    let key = keys::extent(Ino(u64::MAX), u64::MAX, u64::MAX);
    assert!(start <= key && key < end);
    let (start, end) = keys::prefix::xattrs(Ino(0xff));
    assert!(start <= keys::xattr(Ino(0xff), b"\xff\xff") && keys::xattr(Ino(0x100), b"") >= end);
    let cookie = keys::cookie(keys::name_hash(b"a"), 3);
    assert_eq!(keys::split_cookie(cookie), (keys::name_hash(b"a"), 3));
    let (start, end) = keys::dentry_range(Ino(1), cookie);
    let key = keys::dentry(Ino(1), b"a");
    assert!(start <= key && key < end);
}

pub fn inode() -> InodeRow {
    let time = |secs| Timestamp { secs, nanos: 9 };
    InodeRow {
        kind: FileKind::Symlink,
        mode: 0o644,
        nlink: 2,
        uid: 3,
        gid: 4,
        rdev: 5,
        size: 6,
        blocks: 7,
        atime: time(-1),
        mtime: time(2),
        ctime: time(3),
        btime: time(4),
        version: 8,
        content_epoch: 9,
        parent: Ino(10),
        content: 11,
        xattrs: 12,
        target: b"t".to_vec(),
        quota: Ino(0),
        charged: 0,
        home: Ino(0),
        place: 0,
    }
}

/// Bytes as golden, back again, and no damage goes unseen or panics.
pub fn row<R: Row + PartialEq + std::fmt::Debug>(row: R, golden: &str) {
    let key = keys::inode(Ino(1));
    let bytes = row.encode();
    assert_eq!(hex(&bytes), golden);
    assert_eq!(R::decode(&key, &bytes).as_ref(), Ok(&row));
    let damaged = |bytes: &[u8]| matches!(R::decode(&key, bytes), Err(ViewError::Damaged { .. }));
    assert!(damaged(&[]) && damaged(&[&bytes[..], &[0]].concat()));
    assert!(
        damaged(&[&[200], &bytes[1..]].concat()),
        "a version of the future"
    );
    for len in 1..bytes.len() {
        assert!(damaged(&bytes[..len]));
    }
}

#[test]
fn rows_of_files_and_chunks_have_these_bytes() {
    row(inode(), "0102a403020304050607010904090609080908090a0b0c0174");
    row(
        DentryRow {
            ino: Ino(300),
            kind: FileKind::File,
        },
        "01ac0200",
    );
    row(XattrRow { value: vec![1, 2] }, "01020102");
    row(
        ExtentRow {
            len: 5,
            chunk: CHUNK,
            chunk_offset: 200,
        },
        "01050203c801",
    );
    let sha = "07".repeat(32);
    let chunk = ChunkRow {
        len: 5,
        live_bytes: 4,
        references: 3,
        sha256: [7; 32],
        missing: 1,
    };
    row(chunk, &format!("01050403{sha}01"));
    row(
        GarbageRow {
            since: Timestamp { secs: 1, nanos: 2 },
        },
        "010202",
    );
    row(
        MissingRow {
            since: Timestamp { secs: -1, nanos: 2 },
        },
        "010102",
    );
    row(RangeRow { count: 4096 }, "018020");
    row(
        OrphanRow {
            holders: vec![SessionId(1)],
            linkable: true,
            origin: None,
        },
        "01010101",
    );
    assert_eq!(hex(&HeldRow.encode()), "01");
}

#[test]
fn rows_of_the_volume_have_these_bytes() {
    row(
        PurgeRow {
            since: Timestamp { secs: 1, nanos: 2 },
        },
        "010202",
    );
    row(
        SessionRow {
            client: "c".into(),
            created: Timestamp { secs: 1, nanos: 2 },
            lapsed: false,
        },
        "0101630202",
    );
    row(
        SessionRow {
            client: "c".into(),
            created: Timestamp { secs: 1, nanos: 2 },
            lapsed: true,
        },
        "020163020201",
    );
    row(CounterRow { value: 128 }, "018001");
}

#[test]
fn rows_of_answers_have_these_bytes() {
    let removed = Reply::Removed {
        ino: Ino(5),
        orphan: true,
    };
    let key = OpId(7);
    for (answers, bytes) in [
        (vec![(key, Ok(Reply::Done))], "010000"),
        (vec![(key, Err(FsError::NotEmpty))], "010104"),
        (vec![(key, Ok(removed.clone()))], "0100090501"),
        (vec![(OpId(8), Ok(Reply::Done))], "0201080000"),
        (
            vec![(key, Ok(removed)), (OpId(300), Err(FsError::NotEmpty))],
            "02020700090501ac020104",
        ),
    ] {
        let row = RepliesRow(answers);
        let encoded = row.encode_under(key);
        assert_eq!(hex(&encoded), bytes);
        assert_eq!(RepliesRow::decode_under(key, &encoded), Ok(row));
    }
    assert!(RepliesRow::decode_under(key, &[3, 0]).is_err());
}

#[test]
fn rows_of_the_cluster_have_these_bytes() {
    let node = NodeRow {
        uuid: [9; 16],
        address: "h:1".into(),
        zone: "z".into(),
        state: NodeState::Draining,
        since: Timestamp { secs: 1, nanos: 2 },
    };
    let old = format!("01{}03683a31017a01", "09".repeat(16));
    let before = NodeRow {
        since: Timestamp::default(),
        ..node.clone()
    };
    assert_eq!(
        NodeRow::decode(&[], &unhex(&old)),
        Ok(before),
        "the first version"
    );
    row(node, &format!("02{}03683a31017a010202", "09".repeat(16)));
    let members = vec![NodeId(1), NodeId(2)];
    let set = SetRow::new(members.clone());
    assert_eq!(
        SetRow::decode(&[], &unhex("0101020102")),
        Ok(set),
        "the first version"
    );
    let moving = SetRow {
        epoch: 3,
        members,
        joining: vec![Joining {
            node: NodeId(2),
            replaces: Some(NodeId(1)),
            next: 5,
            until: 6,
            plan: 7,
        }],
        former: vec![Former {
            node: NodeId(4),
            since: Timestamp { secs: 1, nanos: 2 },
        }],
        joined: Vec::new(),
    };
    let second = "030201020102010105060701040202";
    assert_eq!(
        SetRow::decode(&[], &unhex(&format!("02{second}"))),
        Ok(moving.clone()),
        "the second version"
    );
    let joined = vec![Joined {
        node: NodeId(1),
        until: 4,
    }];
    row(SetRow { joined, ..moving }, &format!("03{second}010104"));
    row(
        PlanRow {
            kind: PlanKind::Drain,
            node: Some(NodeId(4)),
            state: PlanState::Done,
            begun: Timestamp { secs: 1, nanos: 2 },
            ended: Timestamp { secs: 2, nanos: 2 },
            moves: 3,
            moves_done: 3,
            chunks: 5,
            bytes: 128,
        },
        "0101010401020204020303058001",
    );
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let versioned = [&[1], &bytes[..]].concat();
        for bytes in [&bytes, &versioned] {
            let _ = InodeRow::decode(bytes, bytes);
            let _ = DentryRow::decode(bytes, bytes);
            let _ = XattrRow::decode(bytes, bytes);
            let _ = ExtentRow::decode(bytes, bytes);
            let _ = ChunkRow::decode(bytes, bytes);
            let _ = OrphanRow::decode(bytes, bytes);
            let _ = TrashRow::decode(bytes, bytes);
            let _ = QuotaRow::decode(bytes, bytes);
            let _ = SessionRow::decode(bytes, bytes);
            let _ = NodeRow::decode(bytes, bytes);
            let _ = SetRow::decode(bytes, bytes);
            let _ = RepliesRow::decode_under(OpId(1), bytes);
            let _ = keys::parse(bytes);
            let _ = Record::decode(bytes);
            let _ = Record::from_body(bytes);
        }
        let mut checker = dfs_core::check::Checker::new();
        checker.feed(&bytes, &versioned);
        checker.feed(&[&b"e"[..], &bytes].concat(), &versioned);
        checker.finish();
    }

    #[test]
    fn a_flipped_bit_in_a_record_is_seen(at in 0..10_000usize, bit in 0..8u8) {
        let mut bytes = Vec::new();
        record().encode(&mut bytes);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert!(Record::decode(&bytes).is_err());
    }
}

fn record() -> Record {
    Record {
        index: Index(1),
        term: Term(2),
        time: Timestamp { secs: 3, nanos: 4 },
        rows: vec![(vec![5], Some(vec![6, 7])), (vec![8], None)],
    }
}

#[test]
fn records_have_these_bytes() {
    let mut bytes = Vec::new();
    record().encode(&mut bytes);
    let body = "010102060402010501020607010800";
    assert_eq!(hex(&bytes[frame::HEADER_LEN..]), body);
    assert_eq!(hex(&bytes[..9]), "4446534c010f000000");
    assert_eq!(Record::decode(&bytes), Ok(record()));
    let size = bytes.len();
    for len in 1..size {
        assert_eq!(frame::next(&bytes[..len]), Frame::Torn, "{len}");
    }
    record().encode(&mut bytes);
    assert!(matches!(frame::next(&bytes), Frame::Whole { size: found, .. } if found == size));
    assert_eq!(Record::decode(&bytes[size..]), Ok(record()));
    assert_eq!(
        (frame::next(&[]), frame::next(&[0; 40])),
        (Frame::End, Frame::End)
    );
    assert_eq!(Record::decode(&[0; 40]), Err(RecordError::Empty));
    let mut late = vec![0; 40];
    late.push(1);
    assert!(matches!(frame::next(&late), Frame::Corrupt { .. }));
    assert_eq!(Record::from_body(&[9]), Err(RecordError::Version(9)));
}
