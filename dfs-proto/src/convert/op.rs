//! Operations: `dfs_core::op::Op` and its message. The client sends them, the coordinator receives them.

use super::error::{WireError, at_most, in_range, required, unknown};
use super::names::{REQUEST_TARGET_MAX, REQUEST_VALUE_MAX, bytes, entry_name, xattr_name};
use super::setattr::set_attr;
use super::ship::{ship, ship_to_wire};
use super::values::{file_kind, lease_mode, mode_bits};
use crate::v1;
use dfs_core::ids::{Ino, SetId};
use dfs_core::op::{
    AllocateMode, CHUNK_RANGE_MAX, INO_RANGE_MAX, Make, Op, PAGE_ENTRIES_MAX, RELEASE_MAX, Rename,
    RenameMode, Unlink, XattrMode,
};
use v1::op::Op as Wire;

/// Most sets that a client may ask to avoid: it meets few failures between two allocations.
pub const AVOID_MAX: usize = 256;

/// The message for an operation; `None` for the coordinator's own, which never travel.
pub fn op_to_wire(op: &Op) -> Option<v1::Op> {
    let op = question_to_wire(op)
        .or_else(|| naming_to_wire(op))
        .or_else(|| inode_to_wire(op))?;
    Some(v1::Op { op: Some(op) })
}

fn question_to_wire(op: &Op) -> Option<Wire> {
    Some(match op {
        Op::Lookup { parent, name } => Wire::Lookup(v1::Lookup {
            parent: parent.0,
            name: name.clone(),
        }),
        Op::GetAttr { ino } => Wire::GetAttr(v1::GetAttr { ino: ino.0 }),
        Op::ReadLink { ino } => Wire::ReadLink(v1::ReadLink { ino: ino.0 }),
        &Op::ReadDir {
            ino,
            after,
            limit,
            attrs,
            alone,
        } => Wire::ReadDir(v1::ReadDir {
            ino: ino.0,
            after,
            limit,
            attrs,
            alone,
        }),
        Op::GetXattr { ino, name } => Wire::GetXattr(v1::GetXattr {
            ino: ino.0,
            name: name.clone(),
        }),
        Op::ListXattr { ino } => Wire::ListXattr(v1::ListXattr { ino: ino.0 }),
        &Op::GetExtents { ino, offset, len } => Wire::GetExtents(v1::GetExtents {
            ino: ino.0,
            offset,
            len,
        }),
        Op::StatFs => Wire::StatFs(v1::StatFs {}),
        Op::GetQuota { ino } => Wire::GetQuota(v1::GetQuota { ino: ino.0 }),
        Op::Acquire { ino, mode } => Wire::Acquire(v1::Acquire {
            ino: ino.0,
            mode: v1::LeaseMode::from(*mode).into(),
        }),
        _ => return None,
    })
}

/// Changes of directories.
fn naming_to_wire(op: &Op) -> Option<Wire> {
    Some(match op {
        Op::Make(make) => Wire::Make(make_to_wire(make)),
        &Op::MakeTemp {
            parent,
            mode,
            umask,
            who,
        } => Wire::MakeTemp(v1::MakeTemp {
            parent: parent.0,
            mode,
            umask,
            who: Some(who.into()),
        }),
        Op::Link { ino, parent, name } => Wire::Link(v1::Link {
            ino: ino.0,
            parent: parent.0,
            name: name.clone(),
        }),
        Op::Unlink(unlink) => Wire::Unlink(v1::Unlink {
            parent: unlink.parent.0,
            name: unlink.name.clone(),
            expect: unlink.expect.map(expect_to_wire),
        }),
        Op::Rmdir { parent, name, held } => Wire::Rmdir(v1::Rmdir {
            parent: parent.0,
            name: name.clone(),
            held: *held,
        }),
        Op::Rename(rename) => Wire::Rename(rename_to_wire(rename)),
        _ => return None,
    })
}

/// Changes of one inode, and the session's own.
fn inode_to_wire(op: &Op) -> Option<Wire> {
    Some(match op {
        Op::SetAttr { ino, changes } => Wire::SetAttr(v1::SetAttr {
            ino: ino.0,
            changes: Some((*changes).into()),
        }),
        Op::SetXattr {
            ino,
            name,
            value,
            mode,
            kill_sgid,
        } => Wire::SetXattr(v1::SetXattr {
            ino: ino.0,
            name: name.clone(),
            value: value.clone(),
            mode: xattr_mode_to_wire(*mode).into(),
            kill_sgid: *kill_sgid,
        }),
        Op::RemoveXattr { ino, name } => Wire::RemoveXattr(v1::RemoveXattr {
            ino: ino.0,
            name: name.clone(),
        }),
        Op::Commit(commit) => Wire::Commit(commit.into()),
        &Op::Allocate {
            ino,
            mode,
            offset,
            len,
        } => {
            let (mode, keep_size) = allocate_mode_to_wire(mode);
            Wire::Allocate(v1::Allocate {
                ino: ino.0,
                offset,
                len,
                mode: mode.into(),
                keep_size,
            })
        }
        &Op::CopyRange {
            src,
            src_offset,
            dst,
            dst_offset,
            len,
        } => Wire::CopyRange(v1::CopyRange {
            src: src.0,
            src_offset,
            dst: dst.0,
            dst_offset,
            len,
        }),
        Op::Release { inos } => Wire::Release(v1::Release {
            inos: inos.iter().map(|ino| ino.0).collect(),
        }),
        Op::AllocChunks { count, avoid } => Wire::AllocChunks(v1::AllocChunks {
            count: *count,
            avoid: avoid.iter().map(|set| set.0).collect(),
        }),
        &Op::ReserveQuota { quota, bytes } => Wire::ReserveQuota(v1::ReserveQuota {
            quota: quota.0,
            bytes,
        }),
        Op::AllocInos { count } => Wire::AllocInos(v1::AllocInos { count: *count }),
        Op::Ship(shipment) => Wire::Ship(ship_to_wire(shipment)?),
        _ => return None,
    })
}

fn make_to_wire(make: &Make) -> v1::Make {
    v1::Make {
        parent: make.parent.0,
        name: make.name.clone(),
        kind: v1::FileKind::from(make.kind).into(),
        mode: make.mode,
        umask: make.umask,
        rdev: make.rdev,
        target: make.target.clone(),
        exclusive: make.exclusive,
        who: Some(make.who.into()),
    }
}

fn rename_to_wire(rename: &Rename) -> v1::Rename {
    let mode = match rename.mode {
        RenameMode::Replace => v1::RenameMode::Replace,
        RenameMode::NoReplace => v1::RenameMode::NoReplace,
        RenameMode::Exchange => v1::RenameMode::Exchange,
    };
    v1::Rename {
        parent: rename.parent.0,
        name: rename.name.clone(),
        new_parent: rename.new_parent.0,
        new_name: rename.new_name.clone(),
        mode: mode.into(),
        expect: rename.expect.map(expect_to_wire),
    }
}

fn expect_to_wire((ino, open): (Ino, bool)) -> v1::Expect {
    v1::Expect { ino: ino.0, open }
}

fn xattr_mode_to_wire(mode: XattrMode) -> v1::XattrMode {
    match mode {
        XattrMode::Any => v1::XattrMode::Any,
        XattrMode::Create => v1::XattrMode::Create,
        XattrMode::Replace => v1::XattrMode::Replace,
    }
}

fn allocate_mode_to_wire(mode: AllocateMode) -> (v1::allocate::Mode, bool) {
    match mode {
        AllocateMode::Reserve { keep_size } => (v1::allocate::Mode::Reserve, keep_size),
        AllocateMode::PunchHole => (v1::allocate::Mode::PunchHole, false),
        AllocateMode::ZeroRange { keep_size } => (v1::allocate::Mode::ZeroRange, keep_size),
    }
}

impl TryFrom<v1::Op> for Op {
    type Error = WireError;

    fn try_from(op: v1::Op) -> Result<Self, WireError> {
        Ok(match required(op.op, "Op.op")? {
            Wire::Lookup(m) => Op::Lookup {
                parent: Ino(m.parent),
                name: entry_name(m.name, "Lookup.name")?,
            },
            Wire::GetAttr(m) => Op::GetAttr { ino: Ino(m.ino) },
            Wire::ReadLink(m) => Op::ReadLink { ino: Ino(m.ino) },
            Wire::ReadDir(m) => read_dir(m)?,
            Wire::GetXattr(m) => Op::GetXattr {
                ino: Ino(m.ino),
                name: xattr_name(m.name, "GetXattr.name")?,
            },
            Wire::ListXattr(m) => Op::ListXattr { ino: Ino(m.ino) },
            Wire::GetExtents(m) => {
                no_overflow(m.offset, m.len, "GetExtents.len")?;
                Op::GetExtents {
                    ino: Ino(m.ino),
                    offset: m.offset,
                    len: m.len,
                }
            }
            Wire::StatFs(_) => Op::StatFs,
            Wire::Acquire(m) => Op::Acquire {
                ino: Ino(m.ino),
                mode: lease_mode(m.mode, "Acquire.mode")?,
            },
            Wire::Make(m) => make(m)?,
            Wire::MakeTemp(m) => make_temp(m)?,
            Wire::Link(m) => Op::Link {
                ino: Ino(m.ino),
                parent: Ino(m.parent),
                name: entry_name(m.name, "Link.name")?,
            },
            Wire::Unlink(m) => Op::Unlink(Unlink {
                parent: Ino(m.parent),
                name: entry_name(m.name, "Unlink.name")?,
                expect: m.expect.map(expect),
            }),
            Wire::Rmdir(m) => Op::Rmdir {
                parent: Ino(m.parent),
                name: entry_name(m.name, "Rmdir.name")?,
                held: m.held,
            },
            Wire::Rename(m) => rename(m)?,
            Wire::SetAttr(m) => set_attr(m)?,
            Wire::SetXattr(m) => set_xattr(m)?,
            Wire::RemoveXattr(m) => Op::RemoveXattr {
                ino: Ino(m.ino),
                name: xattr_name(m.name, "RemoveXattr.name")?,
            },
            Wire::Commit(m) => Op::Commit(m.try_into()?),
            Wire::Allocate(m) => allocate(m)?,
            Wire::CopyRange(m) => copy_range(m)?,
            Wire::Release(m) => {
                at_most(m.inos.len(), RELEASE_MAX, "Release.inos")?;
                Op::Release {
                    inos: m.inos.into_iter().map(Ino).collect(),
                }
            }
            Wire::AllocChunks(m) => alloc_chunks(m)?,
            Wire::GetQuota(m) => Op::GetQuota { ino: Ino(m.ino) },
            Wire::ReserveQuota(m) => Op::ReserveQuota {
                quota: Ino(m.quota),
                bytes: m.bytes,
            },
            Wire::AllocInos(m) => alloc_inos(m)?,
            Wire::Ship(m) => Op::Ship(ship(m)?),
        })
    }
}

fn read_dir(m: v1::ReadDir) -> Result<Op, WireError> {
    let sane = (1..=PAGE_ENTRIES_MAX).contains(&m.limit);
    in_range(sane, m.limit, "ReadDir.limit", "1 to PAGE_ENTRIES_MAX")?;
    Ok(Op::ReadDir {
        ino: Ino(m.ino),
        after: m.after,
        limit: m.limit,
        attrs: m.attrs,
        alone: m.alone,
    })
}

fn make(m: v1::Make) -> Result<Op, WireError> {
    Ok(Op::Make(Make {
        parent: Ino(m.parent),
        name: entry_name(m.name, "Make.name")?,
        kind: file_kind(m.kind, "Make.kind")?,
        mode: mode_bits(m.mode, "Make.mode")?,
        umask: mode_bits(m.umask, "Make.umask")?,
        rdev: m.rdev,
        target: bytes(m.target, REQUEST_TARGET_MAX, "Make.target")?,
        exclusive: m.exclusive,
        who: required(m.who, "Make.who")?.into(),
    }))
}

fn make_temp(m: v1::MakeTemp) -> Result<Op, WireError> {
    Ok(Op::MakeTemp {
        parent: Ino(m.parent),
        mode: mode_bits(m.mode, "MakeTemp.mode")?,
        umask: mode_bits(m.umask, "MakeTemp.umask")?,
        who: required(m.who, "MakeTemp.who")?.into(),
    })
}

fn rename(m: v1::Rename) -> Result<Op, WireError> {
    let field = "Rename.mode";
    let mode = match v1::RenameMode::try_from(m.mode).map_err(|_| unknown(m.mode, field))? {
        v1::RenameMode::Replace => RenameMode::Replace,
        v1::RenameMode::NoReplace => RenameMode::NoReplace,
        v1::RenameMode::Exchange => RenameMode::Exchange,
    };
    Ok(Op::Rename(Rename {
        parent: Ino(m.parent),
        name: entry_name(m.name, "Rename.name")?,
        new_parent: Ino(m.new_parent),
        new_name: entry_name(m.new_name, "Rename.new_name")?,
        mode,
        expect: m.expect.map(expect),
    }))
}

fn expect(m: v1::Expect) -> (Ino, bool) {
    (Ino(m.ino), m.open)
}

fn set_xattr(m: v1::SetXattr) -> Result<Op, WireError> {
    let field = "SetXattr.mode";
    let mode = match v1::XattrMode::try_from(m.mode).map_err(|_| unknown(m.mode, field))? {
        v1::XattrMode::Any => XattrMode::Any,
        v1::XattrMode::Create => XattrMode::Create,
        v1::XattrMode::Replace => XattrMode::Replace,
    };
    Ok(Op::SetXattr {
        ino: Ino(m.ino),
        name: xattr_name(m.name, "SetXattr.name")?,
        value: bytes(m.value, REQUEST_VALUE_MAX, "SetXattr.value")?,
        mode,
        kill_sgid: m.kill_sgid,
    })
}

fn allocate(m: v1::Allocate) -> Result<Op, WireError> {
    no_overflow(m.offset, m.len, "Allocate.len")?;
    let field = "Allocate.mode";
    let keep_size = m.keep_size;
    let mode = match v1::allocate::Mode::try_from(m.mode).map_err(|_| unknown(m.mode, field))? {
        v1::allocate::Mode::Reserve => AllocateMode::Reserve { keep_size },
        v1::allocate::Mode::PunchHole => AllocateMode::PunchHole,
        v1::allocate::Mode::ZeroRange => AllocateMode::ZeroRange { keep_size },
    };
    Ok(Op::Allocate {
        ino: Ino(m.ino),
        mode,
        offset: m.offset,
        len: m.len,
    })
}

fn copy_range(m: v1::CopyRange) -> Result<Op, WireError> {
    no_overflow(m.src_offset, m.len, "CopyRange.len from src_offset")?;
    no_overflow(m.dst_offset, m.len, "CopyRange.len from dst_offset")?;
    Ok(Op::CopyRange {
        src: Ino(m.src),
        src_offset: m.src_offset,
        dst: Ino(m.dst),
        dst_offset: m.dst_offset,
        len: m.len,
    })
}

fn alloc_inos(m: v1::AllocInos) -> Result<Op, WireError> {
    let sane = (1..=INO_RANGE_MAX).contains(&m.count);
    in_range(sane, m.count, "AllocInos.count", "1 to INO_RANGE_MAX")?;
    Ok(Op::AllocInos { count: m.count })
}

fn alloc_chunks(m: v1::AllocChunks) -> Result<Op, WireError> {
    let sane = (1..=CHUNK_RANGE_MAX).contains(&m.count);
    in_range(sane, m.count, "AllocChunks.count", "1 to CHUNK_RANGE_MAX")?;
    at_most(m.avoid.len(), AVOID_MAX, "AllocChunks.avoid")?;
    Ok(Op::AllocChunks {
        count: m.count,
        avoid: m.avoid.into_iter().map(SetId).collect(),
    })
}

/// The core compares such an end with the largest file's; here it only has to be a number.
fn no_overflow(offset: u64, len: u64, field: &'static str) -> Result<(), WireError> {
    in_range(
        offset.checked_add(len).is_some(),
        len,
        field,
        "a length whose end is below 2^64",
    )
}
