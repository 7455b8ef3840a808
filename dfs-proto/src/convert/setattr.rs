//! Attribute changes, for the operations that carry them.

use super::error::{WireError, required};
use super::values::mode_bits;
use crate::v1;
use dfs_core::ids::Ino;
use dfs_core::op::{AttrChanges, Op, SetTime};
use dfs_core::types::Timestamp;

impl From<SetTime> for v1::SetTime {
    fn from(time: SetTime) -> Self {
        v1::SetTime {
            at: match time {
                SetTime::Now => None,
                SetTime::At(at) => Some(at.into()),
            },
        }
    }
}

impl TryFrom<v1::SetTime> for SetTime {
    type Error = WireError;

    fn try_from(time: v1::SetTime) -> Result<Self, WireError> {
        Ok(match time.at {
            None => SetTime::Now,
            Some(at) => SetTime::At(at.try_into()?),
        })
    }
}

impl From<AttrChanges> for v1::AttrChanges {
    fn from(changes: AttrChanges) -> Self {
        v1::AttrChanges {
            mode: changes.mode,
            uid: changes.uid,
            gid: changes.gid,
            size: changes.size,
            atime: changes.atime.map(Into::into),
            mtime: changes.mtime.map(Into::into),
            ctime: changes.ctime.map(Into::into),
            kill_suidgid: changes.kill_suidgid,
        }
    }
}

/// A size past the largest file is the core's to refuse (`EFBIG`).
impl TryFrom<v1::AttrChanges> for AttrChanges {
    type Error = WireError;

    fn try_from(changes: v1::AttrChanges) -> Result<Self, WireError> {
        Ok(AttrChanges {
            mode: changes
                .mode
                .map(|mode| mode_bits(mode, "AttrChanges.mode"))
                .transpose()?,
            uid: changes.uid,
            gid: changes.gid,
            size: changes.size,
            atime: changes.atime.map(SetTime::try_from).transpose()?,
            mtime: changes.mtime.map(SetTime::try_from).transpose()?,
            ctime: changes.ctime.map(Timestamp::try_from).transpose()?,
            kill_suidgid: changes.kill_suidgid,
        })
    }
}

pub(super) fn set_attr(message: v1::SetAttr) -> Result<Op, WireError> {
    let changes = required(message.changes, "SetAttr.changes")?.try_into()?;
    Ok(Op::SetAttr {
        ino: Ino(message.ino),
        changes,
    })
}
