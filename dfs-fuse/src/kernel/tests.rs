//! Byte-exact encodings of requests and answers, and what happens to broken requests. No kernel needed.

use std::time::Duration;

use super::abi::{self, op};
use super::answer::*;
use super::parse::{Refused, operation};
use super::request::*;

/// Builds a request's body from numbers of their own width.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn u32(mut self, values: &[u32]) -> Self {
        values.iter().for_each(|v| self.0.extend(v.to_ne_bytes()));
        self
    }
    fn u64(mut self, values: &[u64]) -> Self {
        values.iter().for_each(|v| self.0.extend(v.to_ne_bytes()));
        self
    }
    fn text(mut self, text: &[u8]) -> Self {
        self.0.extend(text);
        self
    }
    fn parse(&self, opcode: u32) -> Result<Operation<'_>, Refused> {
        operation(opcode, &self.0, true)
    }
}

fn body() -> Body {
    Body::default()
}

fn encoded(answer: &impl Answer, room: usize) -> Vec<u8> {
    let mut frame = Frame::new();
    answer.encode(&mut frame, room);
    frame.as_slice().to_vec()
}

/// Little-endian dump of an answer as 32-bit words, which shows every field.
fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|w| u32::from_ne_bytes(*w))
        .collect()
}

#[test]
fn a_head_is_read_and_lengths_are_checked() {
    let mut bytes = body()
        .u32(&[56, op::GETATTR])
        .u64(&[6, 7])
        .u32(&[1, 2, 3, 1])
        .u64(&[8, 9])
        .0;
    let header = Header::parse(&bytes).unwrap();
    let expected = Header {
        len: 56,
        opcode: op::GETATTR,
        unique: 6,
        node: 7,
        uid: 1,
        gid: 2,
        pid: 3,
        extensions: 1,
    };
    assert_eq!(header, expected);
    assert_eq!(header.body(&bytes).unwrap(), 8u64.to_ne_bytes());
    assert!(header.body(&bytes[..48]).is_err());
    let greedy = Header {
        extensions: 9,
        ..header
    };
    assert!(greedy.body(&bytes).is_err());
    bytes.truncate(39);
    assert!(Header::parse(&bytes).is_err());
}

#[test]
fn setattr_names_exactly_the_fields_that_are_valid() {
    let request = |valid: u32| {
        body()
            .u32(&[valid, 0])
            .u64(&[11, 12, 13, (-5i64) as u64, 21, 22])
            .u32(&[31, 32, 33, 0o644, 0, 41, 42, 0])
    };
    let some = request(0b1001_1111_1111 & !(1 << 6 | 1 << 7));
    let Ok(Operation::SetAttr(set)) = some.parse(op::SETATTR) else {
        panic!()
    };
    let expected = SetAttr {
        handle: None,
        mode: Some(0o644),
        uid: Some(41),
        gid: Some(42),
        size: Some(12),
        atime: Some(SetTime::At(Timestamp {
            seconds: -5,
            nanoseconds: 31,
        })),
        mtime: Some(SetTime::Now),
        ctime: None,
        lock_owner: None,
        kill_suidgid: true,
    };
    assert_eq!(set, expected);
    let none = request(0);
    assert_eq!(
        none.parse(op::SETATTR),
        Ok(Operation::SetAttr(SetAttr::default()))
    );
    let rest = request(1 << 6 | 1 << 9 | 1 << 10);
    let expected = SetAttr {
        handle: Some(11),
        lock_owner: Some(13),
        ctime: Some(Timestamp {
            seconds: 22,
            nanoseconds: 33,
        }),
        ..SetAttr::default()
    };
    assert_eq!(rest.parse(op::SETATTR), Ok(Operation::SetAttr(expected)));
}

#[test]
fn names_and_payloads_are_borrowed_from_the_request() {
    let rename = body().u64(&[9]).u32(&[2, 0]).text(b"old\0new\0");
    let expected = Rename {
        name: b"old",
        new_parent: 9,
        new_name: b"new",
        flags: 2,
    };
    assert_eq!(rename.parse(op::RENAME2), Ok(Operation::Rename(expected)));
    let plain = body().u64(&[9]).text(b"old\0new\0");
    assert_eq!(
        plain.parse(op::RENAME),
        Ok(Operation::Rename(Rename { flags: 0, ..expected }))
    );
    let symlink = body().text(b"name\0/a/target\0");
    assert_eq!(
        symlink.parse(op::SYMLINK),
        Ok(Operation::Symlink {
            name: b"name",
            target: b"/a/target"
        })
    );
    let write = body()
        .u64(&[3, 4096])
        .u32(&[5, 7])
        .u64(&[77])
        .u32(&[0o2000, 0])
        .text(b"hello");
    let expected = Write {
        handle: 3,
        offset: 4096,
        data: b"hello",
        flags: 0o2000,
        lock_owner: Some(77),
        from_cache: true,
        kill_suidgid: true,
    };
    assert_eq!(write.parse(op::WRITE), Ok(Operation::Write(expected)));
    let xattr = body().u32(&[2, 1, 1, 0]).text(b"user.a\0vv");
    let expected = SetXattr {
        name: b"user.a",
        value: b"vv",
        flags: 1,
        acl_kill_sgid: true,
    };
    assert_eq!(xattr.parse(op::SETXATTR), Ok(Operation::SetXattr(expected)));
    let narrow = body().u32(&[2, 1]).text(b"user.a\0vv");
    let expected = SetXattr {
        acl_kill_sgid: false,
        ..expected
    };
    assert_eq!(
        operation(op::SETXATTR, &narrow.0, false),
        Ok(Operation::SetXattr(expected))
    );
}

#[test]
fn locks_forgets_and_the_newer_operations_are_understood() {
    let lock = body().u64(&[1, 2, 0, u64::MAX >> 1]).u32(&[1, 99, 1, 0]);
    let file_lock = FileLock {
        start: 0,
        end: u64::MAX >> 1,
        kind: 1,
        pid: 99,
    };
    let expected = LockRequest {
        handle: 1,
        owner: 2,
        lock: file_lock,
        flock: true,
    };
    assert_eq!(lock.parse(op::SETLKW), Ok(Operation::WaitLock(expected)));
    assert_eq!(lock.parse(op::GETLK), Ok(Operation::GetLock(expected)));
    let forgets = body().u32(&[2, 0]).u64(&[5, 1, 6, 3]);
    let Ok(Operation::BatchForget(all)) = forgets.parse(op::BATCH_FORGET) else {
        panic!()
    };
    assert_eq!(all.iter().collect::<Vec<_>>(), [(5, 1), (6, 3)]);
    let copy = body().u64(&[1, 2, 3, 4, 5, 6, 7]);
    let Ok(Operation::CopyRange { copy, wide }) = copy.parse(op::COPY_FILE_RANGE_64) else {
        panic!()
    };
    assert!(wide);
    assert_eq!((copy.handle_in, copy.node_out, copy.length), (1, 3, 6));
    let statx = body().u32(&[1, 0]).u64(&[8]).u32(&[0x2000, 0xfff]);
    let expected = Statx {
        handle: Some(8),
        flags: 0x2000,
        mask: 0xfff,
    };
    assert_eq!(statx.parse(op::STATX), Ok(Operation::Statx(expected)));
    let tmpfile = body().u32(&[0o20200002, 0o600, 0o22, 0]).text(b"#1\0");
    let expected = Create {
        flags: 0o20200002,
        mode: 0o600,
        umask: 0o22,
        kill_suidgid: false,
    };
    assert_eq!(tmpfile.parse(op::TMPFILE), Ok(Operation::TmpFile(expected)));
    let release = body().u64(&[4]).u32(&[2, 2]).u64(&[6]);
    let expected = Release {
        handle: 4,
        flags: 2,
        lock_owner: 6,
        flock_unlock: true,
    };
    assert_eq!(release.parse(op::RELEASE), Ok(Operation::Release(expected)));
    assert_eq!(body().parse(op::SYNCFS), Ok(Operation::SyncFs));
}

#[test]
fn every_truncation_of_every_opcode_is_refused_or_harmless() {
    let long = body().u64(&[0x0101_0101_0101_0101; 12]).text(b"name\0other\0");
    for opcode in 0..=64 {
        for len in 0..=long.0.len() {
            let result = operation(opcode, &long.0[..len], true);
            if matches!(opcode, 0 | 7 | 19 | 37 | 48 | 49 | 54..=64) {
                assert_eq!(result, Err(Refused::Unknown), "opcode {opcode} length {len}");
            } else if len < 4 && !matches!(opcode, op::READLINK | op::STATFS | op::DESTROY | 41 | op::SYNCFS)
            {
                assert_eq!(result, Err(Refused::Malformed), "opcode {opcode} length {len}");
            }
        }
    }
    let huge_forget = body().u32(&[u32::MAX, 0]);
    assert_eq!(huge_forget.parse(op::BATCH_FORGET), Err(Refused::Malformed));
    let short_write = body()
        .u64(&[3, 4096])
        .u32(&[6, 0])
        .u64(&[0])
        .u32(&[0, 0])
        .text(b"hello");
    assert_eq!(short_write.parse(op::WRITE), Err(Refused::Malformed));
    assert_eq!(body().text(b"no end").parse(op::LOOKUP), Err(Refused::Malformed));
    assert_eq!(body().text(b"a/b\0").parse(op::LOOKUP), Err(Refused::Malformed));
    assert_eq!(body().text(b"\0").parse(op::LOOKUP), Err(Refused::Malformed));
}

fn attr() -> Attr {
    let time = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
    Attr {
        ino: 1,
        size: 2,
        blocks: 3,
        atime: time(4, 14),
        mtime: time(5, 15),
        ctime: time(6, 16),
        mode: 0o100644,
        nlink: 7,
        uid: 8,
        gid: 9,
        rdev: 0x0012_3456,
        blksize: 4096,
    }
}

const ATTR: [u32; 22] = [
    1,
    0,
    2,
    0,
    3,
    0,
    4,
    0,
    5,
    0,
    6,
    0,
    14,
    15,
    16,
    0o100644,
    7,
    8,
    9,
    0x0012_3456,
    4096,
    0,
];

#[test]
#[cfg(target_endian = "little")]
fn answers_have_the_kernels_layout() {
    let entry = Entry {
        node: 1,
        generation: 2,
        entry_valid: Duration::new(3, 4),
        attr_valid: Duration::new(5, 6),
        attr: attr(),
    };
    let entry_words = [&[1, 0, 2, 0, 3, 0, 5, 0, 4, 6][..], &ATTR].concat();
    assert_eq!(words(&encoded(&entry, 0)), entry_words);
    let attributes = Attributes {
        valid: Duration::new(1, 2),
        attr: attr(),
    };
    assert_eq!(
        words(&encoded(&attributes, 0)),
        [&[1, 0, 2, 0][..], &ATTR].concat()
    );
    let opened = Opened {
        handle: 9,
        flags: abi::fopen::KEEP_CACHE,
    };
    assert_eq!(words(&encoded(&opened, 0)), [9, 0, 2, 0]);
    let created = Created { entry, opened };
    assert_eq!(
        words(&encoded(&created, 0)),
        [&entry_words[..], &[9, 0, 2, 0]].concat()
    );
    let lock = FileLock {
        start: 1,
        end: 2,
        kind: 3,
        pid: 4,
    };
    assert_eq!(words(&encoded(&lock, 0)), [1, 0, 2, 0, 3, 4]);
    let full = Statistics {
        blocks: 1,
        bfree: 2,
        bavail: 3,
        files: 4,
        ffree: 5,
        bsize: 6,
        namelen: 7,
        frsize: 8,
    };
    assert_eq!(
        words(&encoded(&full, 0))[..13],
        [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 7, 8]
    );
    assert_eq!(encoded(&full, 0).len(), 80);
    assert_eq!(words(&encoded(&Copied(1 << 33 | 1), 8)), [1, 2]);
    assert_eq!(words(&encoded(&Copied(5), 4)), [5, 0]);
    assert!(encoded(&Done, 0).is_empty());
}

#[test]
#[cfg(target_endian = "little")]
fn statx_has_the_kernels_layout() {
    let birth = Some(Timestamp {
        seconds: 70,
        nanoseconds: 71,
    });
    let bytes = encoded(
        &Extended {
            valid: Duration::from_secs(1),
            attr: attr(),
            birth,
        },
        0,
    );
    assert_eq!(bytes.len(), 288);
    let words = words(&bytes);
    assert_eq!(words[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(words[8..16], [0xfff, 4096, 0, 0, 7, 8, 9, 0o100644]);
    assert_eq!(words[16..24], [1, 0, 2, 0, 3, 0, 0, 0]);
    assert_eq!(
        words[24..40],
        [4, 0, 14, 0, 70, 0, 71, 0, 6, 0, 16, 0, 5, 0, 15, 0]
    );
    // Device 0x234:0x156 in the kernel's encoding.
    assert_eq!(words[40..44], [0x234, 0x156, 0, 0]);
}

#[test]
#[cfg(target_endian = "little")]
fn listings_are_aligned_and_never_exceed_their_room() {
    let mut plain = Listing::new(72);
    assert!(plain.add(5, 6, 8, b"abc"));
    assert!(plain.add(7, 9, 4, b"12345678"));
    assert!(!plain.add(1, 1, 1, b"x"));
    let bytes = plain.as_slice();
    assert_eq!(words(&bytes[..24]), [5, 0, 6, 0, 3, 8]);
    assert_eq!(&bytes[24..32], b"abc\0\0\0\0\0");
    assert_eq!(words(&bytes[32..56]), [7, 0, 9, 0, 8, 4]);
    assert_eq!(&bytes[56..], b"12345678");
    let mut plus = Listing::new(160);
    let entry = Entry {
        node: 1,
        attr: attr(),
        ..Entry::default()
    };
    assert!(plus.add_plus(&entry, 2, b"n"));
    assert!(!plus.add_plus(&entry, 3, b"m"));
    assert_eq!(plus.as_slice().len(), 160);
    assert_eq!(words(&plus.as_slice()[128..152]), [1, 0, 2, 0, 1, 8]);
}

#[test]
fn a_head_of_an_answer_carries_its_whole_length() {
    let head = super::reply::head(7, -5, 100);
    assert_eq!(head[..4], 116u32.to_ne_bytes());
    assert_eq!(head[4..8], (-5i32).to_ne_bytes());
    assert_eq!(head[8..], 7u64.to_ne_bytes());
}
