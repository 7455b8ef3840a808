//! What an operation is: whether it changes anything, what it is called, who may ask for it. The executor and the figures
//! ask; what it does is in `namespace`.

use super::Op;

impl Op {
    /// Whether the operation can change the state (and therefore is recorded and answered exactly once).
    pub fn is_change(&self) -> bool {
        !matches!(
            self,
            Op::Lookup { .. }
                | Op::GetAttr { .. }
                | Op::ReadLink { .. }
                | Op::ReadDir { .. }
                | Op::GetXattr { .. }
                | Op::ListXattr { .. }
                | Op::GetExtents { .. }
                | Op::StatFs
                | Op::Acquire { .. }
                | Op::GetQuota { .. }
        )
    }

    /// What the operation is called in figures and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Lookup { .. } => "lookup",
            Op::GetAttr { .. } => "get_attr",
            Op::ReadLink { .. } => "read_link",
            Op::ReadDir { .. } => "read_dir",
            Op::GetXattr { .. } => "get_xattr",
            Op::ListXattr { .. } => "list_xattr",
            Op::GetExtents { .. } => "get_extents",
            Op::StatFs => "stat_fs",
            Op::Acquire { .. } => "acquire",
            Op::Make(_) => "make",
            Op::MakeTemp { .. } => "make_temp",
            Op::Link { .. } => "link",
            Op::Unlink(_) => "unlink",
            Op::Rmdir { .. } => "rmdir",
            Op::Rename(_) => "rename",
            Op::SetAttr { .. } => "set_attr",
            Op::SetXattr { .. } => "set_xattr",
            Op::RemoveXattr { .. } => "remove_xattr",
            Op::Commit(_) => "commit",
            Op::Allocate { .. } => "allocate",
            Op::CopyRange { .. } => "copy_range",
            Op::Release { .. } => "release",
            Op::AllocChunks { .. } => "alloc_chunks",
            Op::Purge { .. } => "purge",
            Op::EndSession { .. } => "end_session",
            Op::ForgetGarbage { .. } => "forget_garbage",
            Op::SetMissing { .. } => "set_missing",
            Op::GetQuota { .. } => "get_quota",
            Op::ReserveQuota { .. } => "reserve_quota",
            Op::AllocInos { .. } => "alloc_inos",
            Op::Ship(_) => "ship",
            Op::SetSetting { .. } => "set_setting",
            Op::Restore { .. } => "restore",
            Op::EmptyTrash { .. } => "empty_trash",
            Op::ExpireTrash { .. } => "expire_trash",
            Op::Discard { .. } => "discard",
            Op::SetQuota { .. } => "set_quota",
            Op::RemoveQuota { .. } => "remove_quota",
            Op::WalkQuota { .. } => "walk_quota",
            Op::Relocate(_) => "relocate",
            Op::Count { .. } => "count",
        }
    }

    /// Whether only the coordinator itself may ask for it.
    pub fn is_internal(&self) -> bool {
        matches!(
            self,
            Op::Purge { .. }
                | Op::EndSession { .. }
                | Op::ForgetGarbage { .. }
                | Op::SetMissing { .. }
                | Op::SetSetting { .. }
                | Op::EmptyTrash { .. }
                | Op::Count { .. }
        ) || self.minds_leases()
    }

    /// The coordinator's own work on inodes that clients may have cached: it waits for their leases like a client.
    pub fn minds_leases(&self) -> bool {
        matches!(
            self,
            Op::Restore { .. }
                | Op::ExpireTrash { .. }
                | Op::Discard { .. }
                | Op::SetQuota { .. }
                | Op::RemoveQuota { .. }
                | Op::WalkQuota { .. }
                | Op::Relocate(_)
        )
    }
}
