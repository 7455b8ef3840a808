//! Arbitrary values of the core's types, as the round trips need them.

use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, Ino, NodeId, SetId};
use dfs_core::lock::{Lock, LockKind, LockType};
use dfs_core::op::*;
use dfs_core::types::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn ino() -> impl Strategy<Value = Ino> {
    (1..=u64::MAX).prop_map(Ino)
}

pub fn time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Timestamp { secs, nanos })
}

pub fn kind() -> impl Strategy<Value = FileKind> {
    use FileKind::*;
    prop::sample::select(vec![
        File,
        Directory,
        Symlink,
        Fifo,
        Socket,
        CharDevice,
        BlockDevice,
    ])
}

pub fn lease() -> impl Strategy<Value = LeaseMode> {
    prop::sample::select(vec![LeaseMode::None, LeaseMode::Shared, LeaseMode::Exclusive])
}

fn component(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| if byte == 0 || byte == b'/' { b'n' } else { byte });
    vec(byte, 1..=longest)
}

fn who() -> impl Strategy<Value = Credentials> {
    (any::<u32>(), any::<u32>()).prop_map(|(uid, gid)| Credentials { uid, gid })
}

fn expect() -> impl Strategy<Value = Option<(Ino, bool)>> {
    option::of((ino(), any::<bool>()))
}

pub fn attr() -> impl Strategy<Value = Attr> {
    let owner = (
        ino(),
        kind(),
        0..=0o7777u32,
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
    );
    let content = (0..=SIZE_MAX, any::<[u64; 4]>());
    (owner, content, [time(), time(), time(), time()]).prop_map(
        |(
            (ino, kind, mode, nlink, uid, gid, rdev),
            (size, [blocks, version, content_epoch, quota]),
            times,
        )| Attr {
            ino,
            kind,
            mode,
            nlink,
            uid,
            gid,
            rdev,
            size,
            blocks,
            atime: times[0],
            mtime: times[1],
            ctime: times[2],
            btime: times[3],
            version,
            content_epoch,
            quota: Ino(quota),
            xattrs: gid,
        },
    )
}

fn chunk_id() -> impl Strategy<Value = ChunkId> {
    (1..=u32::MAX, any::<u64>()).prop_map(|(set, seq)| ChunkId { set: SetId(set), seq })
}

/// In order, not overlapping; one in a few is allocated zeros.
pub fn extents() -> impl Strategy<Value = Vec<Extent>> {
    let piece = (
        0..1u64 << 40,
        1..=1u64 << 20,
        option::weighted(0.8, chunk_id()),
        0..=7u32 << 20,
    );
    vec(piece, 0..20).prop_map(|pieces| {
        let mut offset = 0;
        let mut extents = Vec::new();
        for (gap, len, chunk, chunk_offset) in pieces {
            offset += gap;
            extents.push(Extent {
                offset,
                len,
                chunk: chunk.unwrap_or(ChunkId::ZEROS),
                chunk_offset,
            });
            offset += len;
        }
        extents
    })
}

fn commit() -> impl Strategy<Value = Commit> {
    let nodes = || vec((1..=u32::MAX).prop_map(NodeId), 0..3);
    let chunk = (chunk_id(), 1..=8u32 << 20, any::<[u8; 32]>(), nodes(), nodes()).prop_map(
        |(id, len, sha256, missing, on_disk)| NewChunk {
            id,
            len,
            sha256,
            missing,
            on_disk,
        },
    );
    let file = (ino(), extents(), time(), option::of(time()), any::<bool>()).prop_map(
        |(ino, extents, mtime, atime, kill_suidgid)| FileCommit {
            ino,
            extents,
            mtime,
            atime,
            kill_suidgid,
        },
    );
    (vec(chunk, 0..4), vec(file, 0..4)).prop_map(|(chunks, files)| Commit { chunks, files })
}

fn changes() -> impl Strategy<Value = AttrChanges> {
    let set = || option::of(prop_oneof![Just(SetTime::Now), time().prop_map(SetTime::At)]);
    let numbers = (
        option::of(0..=0o7777u32),
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        option::of(any::<u64>()),
    );
    (numbers, set(), set(), option::of(time()), any::<bool>()).prop_map(
        |((mode, uid, gid, size), atime, mtime, ctime, kill_suidgid)| AttrChanges {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
            ctime,
            kill_suidgid,
        },
    )
}

fn allocate() -> impl Strategy<Value = AllocateMode> {
    prop_oneof![
        any::<bool>().prop_map(|keep_size| AllocateMode::Reserve { keep_size }),
        Just(AllocateMode::PunchHole),
        any::<bool>().prop_map(|keep_size| AllocateMode::ZeroRange { keep_size }),
    ]
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    (0..=SIZE_MAX, 0..=SIZE_MAX)
}

fn question() -> BoxedStrategy<Op> {
    prop_oneof![
        (ino(), component(4096)).prop_map(|(parent, name)| Op::Lookup { parent, name }),
        ino().prop_map(|ino| Op::GetAttr { ino }),
        ino().prop_map(|ino| Op::ReadLink { ino }),
        (ino(), any::<u64>(), 1..=PAGE_ENTRIES_MAX, any::<[bool; 2]>()).prop_map(
            |(ino, after, limit, flags)| {
                Op::ReadDir {
                    ino,
                    after,
                    limit,
                    attrs: flags[0],
                    alone: flags[1],
                }
            }
        ),
        (ino(), component(300)).prop_map(|(ino, name)| Op::GetXattr { ino, name }),
        ino().prop_map(|ino| Op::ListXattr { ino }),
        (ino(), range()).prop_map(|(ino, (offset, len))| Op::GetExtents { ino, offset, len }),
        Just(Op::StatFs),
        ino().prop_map(|ino| Op::GetQuota { ino }),
        (ino(), lease()).prop_map(|(ino, mode)| Op::Acquire { ino, mode }),
    ]
    .boxed()
}

fn make() -> impl Strategy<Value = Op> {
    let modes = (0..=0o7777u32, 0..=0o7777u32, any::<u32>());
    (
        ino(),
        component(4096),
        kind(),
        modes,
        vec(any::<u8>(), 0..8192),
        any::<bool>(),
        who(),
    )
        .prop_map(
            |(parent, name, kind, (mode, umask, rdev), target, exclusive, who)| {
                Op::Make(Make {
                    parent,
                    name,
                    kind,
                    mode,
                    umask,
                    rdev,
                    target,
                    exclusive,
                    who,
                })
            },
        )
}

fn name_change() -> BoxedStrategy<Op> {
    let modes = prop::sample::select(vec![
        RenameMode::Replace,
        RenameMode::NoReplace,
        RenameMode::Exchange,
    ]);
    prop_oneof![
        make(),
        (ino(), 0..=0o7777u32, 0..=0o7777u32, who()).prop_map(|(parent, mode, umask, who)| Op::MakeTemp {
            parent,
            mode,
            umask,
            who
        }),
        (ino(), ino(), component(255)).prop_map(|(ino, parent, name)| Op::Link { ino, parent, name }),
        (ino(), component(255), expect()).prop_map(|(parent, name, expect)| Op::Unlink(Unlink {
            parent,
            name,
            expect
        })),
        (ino(), component(255), any::<bool>()).prop_map(|(parent, name, held)| Op::Rmdir {
            parent,
            name,
            held
        }),
        (ino(), component(255), ino(), component(255), modes, expect()).prop_map(
            |(parent, name, new_parent, new_name, mode, expect)| {
                Op::Rename(Rename {
                    parent,
                    name,
                    new_parent,
                    new_name,
                    mode,
                    expect,
                })
            }
        ),
    ]
    .boxed()
}

fn inode_change() -> BoxedStrategy<Op> {
    let modes = prop::sample::select(vec![XattrMode::Any, XattrMode::Create, XattrMode::Replace]);
    prop_oneof![
        (ino(), changes()).prop_map(|(ino, changes)| Op::SetAttr { ino, changes }),
        (
            ino(),
            component(300),
            vec(any::<u8>(), 0..70_000),
            modes,
            any::<bool>()
        )
            .prop_map(|(ino, name, value, mode, kill_sgid)| Op::SetXattr {
                ino,
                name,
                value,
                mode,
                kill_sgid
            }),
        (ino(), component(300)).prop_map(|(ino, name)| Op::RemoveXattr { ino, name }),
        commit().prop_map(Op::Commit),
        (ino(), allocate(), range()).prop_map(|(ino, mode, (offset, len))| Op::Allocate {
            ino,
            mode,
            offset,
            len
        }),
        (ino(), 0..=SIZE_MAX, ino(), range()).prop_map(|(src, src_offset, dst, (dst_offset, len))| {
            Op::CopyRange {
                src,
                src_offset,
                dst,
                dst_offset,
                len,
            }
        }),
        vec(ino(), 0..100).prop_map(|inos| Op::Release { inos }),
        (1..=CHUNK_RANGE_MAX, vec(any::<u32>().prop_map(SetId), 0..10))
            .prop_map(|(count, avoid)| Op::AllocChunks { count, avoid }),
        (ino(), any::<u64>()).prop_map(|(quota, bytes)| Op::ReserveQuota { quota, bytes }),
        (1..=INO_RANGE_MAX).prop_map(|count| Op::AllocInos { count }),
        (vec(step(), 0..5), option::of(commit()))
            .prop_map(|(steps, commit)| Op::Ship(Ship { steps, commit })),
    ]
    .boxed()
}

fn step() -> impl Strategy<Value = Step> {
    let plain = name_change().prop_filter("made in the open", |op| !matches!(op, Op::MakeTemp { .. }));
    (time(), ino(), plain).prop_map(|(at, ino, op)| Step { at, ino, op })
}

/// Every operation that travels.
pub fn op() -> BoxedStrategy<Op> {
    prop_oneof![question(), name_change(), inode_change()].boxed()
}

/// Every operation that must not.
pub fn internal_op() -> BoxedStrategy<Op> {
    prop_oneof![
        any::<u32>().prop_map(|limit| Op::Purge { limit }),
        any::<u128>().prop_map(|session| Op::EndSession { session }),
        vec(chunk_id(), 0..3).prop_map(|chunks| Op::ForgetGarbage { chunks }),
        (chunk_id(), any::<u32>(), any::<bool>()).prop_map(|(chunk, node, missing)| Op::SetMissing {
            chunk,
            node: NodeId(node),
            missing
        }),
        (component(9), any::<u64>()).prop_map(|(name, value)| Op::SetSetting { name, value }),
        ino().prop_map(|ino| Op::Restore { ino, to: None }),
        (time(), any::<u32>()).prop_map(|(before, limit)| Op::EmptyTrash { before, limit }),
        ino().prop_map(|ino| Op::Discard { ino }),
        (ino(), any::<u64>()).prop_map(|(ino, age)| Op::ExpireTrash { inos: vec![ino], age }),
        (ino(), any::<[u64; 2]>()).prop_map(|(dir, [bytes, inodes])| Op::SetQuota { dir, bytes, inodes }),
        ino().prop_map(|dir| Op::RemoveQuota { dir }),
        any::<u32>().prop_map(|limit| Op::WalkQuota { limit }),
        any::<u32>().prop_map(|limit| Op::Count { limit }),
        Just(Op::Relocate(Relocate::default())),
    ]
    .boxed()
}

fn quota_usage() -> impl Strategy<Value = QuotaUsage> {
    any::<[u64; 6]>().prop_map(|numbers| QuotaUsage {
        limit_bytes: numbers[0],
        limit_inodes: numbers[1],
        used_bytes: numbers[2],
        used_inodes: numbers[3],
        available_bytes: numbers[4],
        available_inodes: numbers[5],
    })
}

fn entry() -> impl Strategy<Value = DirEntry> {
    (component(255), ino(), kind(), any::<u64>(), option::of(attr())).prop_map(
        |(name, ino, kind, cookie, attr)| DirEntry {
            name,
            ino,
            kind,
            cookie,
            attr,
        },
    )
}

fn usage() -> impl Strategy<Value = VolumeUsage> {
    any::<[u64; 4]>().prop_map(|[total_bytes, used_bytes, available_bytes, inodes]| VolumeUsage {
        total_bytes,
        used_bytes,
        available_bytes,
        inodes,
    })
}

/// Every reply that travels.
pub fn reply() -> BoxedStrategy<Reply> {
    prop_oneof![
        Just(Reply::Done),
        attr().prop_map(Reply::Attr),
        (attr(), any::<bool>()).prop_map(|(attr, created)| Reply::Entry { attr, created }),
        vec(any::<u8>(), 0..=SYMLINK_MAX).prop_map(Reply::Target),
        (vec(entry(), 0..6), any::<bool>()).prop_map(|(entries, end)| Reply::Page { entries, end }),
        vec(any::<u8>(), 0..=XATTR_VALUE_MAX).prop_map(Reply::Value),
        vec(component(255), 0..6).prop_map(Reply::Names),
        (extents(), option::of(any::<u64>())).prop_map(|(extents, next)| Reply::Extents { extents, next }),
        usage().prop_map(Reply::Usage),
        quota_usage().prop_map(Reply::Quota),
        any::<[u64; 2]>().prop_map(|[bytes, room]| Reply::Reserved { bytes, room }),
        (1..=1u64 << 60, 1..=INO_RANGE_MAX).prop_map(|(first, count)| Reply::InoRange {
            first: Ino(first),
            count
        }),
        option::of(Just(FsError::NoSpace)).prop_map(|refused| Reply::Shipped { refused }),
        (ino(), any::<bool>()).prop_map(|(ino, orphan)| Reply::Removed { ino, orphan }),
        (ino(), expect()).prop_map(|(moved, replaced)| Reply::Renamed { moved, replaced }),
        (any::<u64>(), attr()).prop_map(|(len, attr)| Reply::Copied { len, attr }),
        (1..=u32::MAX, 0..1u64 << 60, 1..=CHUNK_RANGE_MAX).prop_map(|(set, first, count)| {
            Reply::ChunkRange {
                set: SetId(set),
                first,
                count,
            }
        }),
    ]
    .boxed()
}

pub fn lock() -> impl Strategy<Value = Lock> {
    let typ = prop::sample::select(vec![LockType::Read, LockType::Write, LockType::Unlock]);
    let kind = prop::sample::select(vec![LockKind::Posix, LockKind::Flock]);
    (ino(), any::<u64>(), kind, typ, range(), any::<u32>()).prop_map(
        |(ino, owner, kind, typ, (start, more), pid)| Lock {
            ino,
            owner,
            kind,
            typ,
            start,
            end: start + more,
            pid,
        },
    )
}
