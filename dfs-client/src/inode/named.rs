//! Which inodes an operation names: what was done to them here, or that they were made here, must be told before it.

use dfs_core::ids::Ino;
use dfs_core::op::Op;

/// What an operation builds on.
pub(crate) enum Needs {
    /// That these exist.
    Births(Vec<Ino>),
    /// What content that was written to these came after.
    Content(Vec<Ino>),
    /// Where the content of these ends.
    Sizes(Vec<Ino>),
    /// All that was done to these.
    Changes(Vec<Ino>),
    /// All that was done: it meets inodes that it does not name.
    Everything,
}

/// Nothing for shipments, which are that telling, and for what concerns the session alone.
pub(crate) fn needs(op: &Op) -> Needs {
    match op {
        Op::GetAttr { ino }
        | Op::ReadLink { ino }
        | Op::GetXattr { ino, .. }
        | Op::ListXattr { ino }
        | Op::Acquire { ino, .. }
        | Op::GetQuota { ino } => Needs::Births(vec![*ino]),
        Op::GetExtents { ino, .. } => Needs::Sizes(vec![*ino]),
        // Content may come before a name, never after it.
        Op::Commit(commit) => Needs::Content(commit.files.iter().map(|file| file.ino).collect()),
        Op::Lookup { parent, .. } | Op::MakeTemp { parent, .. } => Needs::Changes(vec![*parent]),
        Op::ReadDir { ino, .. }
        | Op::SetAttr { ino, .. }
        | Op::SetXattr { ino, .. }
        | Op::RemoveXattr { ino, .. }
        | Op::Allocate { ino, .. } => Needs::Changes(vec![*ino]),
        Op::Make(make) => Needs::Changes(vec![make.parent]),
        Op::Link { .. } | Op::Unlink(_) | Op::Rmdir { .. } | Op::Rename(_) => Needs::Everything,
        Op::CopyRange { src, dst, .. } => Needs::Changes(vec![*src, *dst]),
        Op::Release { inos } => Needs::Changes(inos.clone()),
        _ => Needs::Births(Vec::new()),
    }
}
