//! Callbacks on extended attributes.

use dfs_client::vfs::{Caller, Vfs};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::XattrMode;

use crate::kernel::answer::Done;
use crate::kernel::request::SetXattr;

const BOTH: i32 = libc::XATTR_CREATE | libc::XATTR_REPLACE;

pub fn setxattr(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, set: &SetXattr<'_>) -> FsResult<Done> {
    let mode = match set.flags as i32 {
        0 => XattrMode::Any,
        libc::XATTR_CREATE => XattrMode::Create,
        libc::XATTR_REPLACE => XattrMode::Replace,
        BOTH => {
            // Nothing can satisfy both: Linux says which of the two fails.
            return vfs.getxattr(caller, ino, set.name).and(Err(FsError::Exists));
        }
        _ => return Err(FsError::Invalid),
    };
    vfs.setxattr(caller, ino, set.name, set.value, mode, set.acl_kill_sgid)
        .map(|()| Done)
}

pub fn removexattr(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, name: &[u8]) -> FsResult<Done> {
    vfs.removexattr(caller, ino, name).map(|()| Done)
}

/// All names, each ended by NUL. `trusted` ones are for root only, as on local file systems.
pub fn list(vfs: &Vfs, caller: &Caller<'_>, ino: Ino) -> FsResult<Vec<u8>> {
    let names = vfs.listxattr(caller, ino)?;
    Ok(names
        .iter()
        .filter(|name| caller.uid == 0 || !name.starts_with(b"trusted."))
        .flat_map(|name| name.iter().copied().chain([0]))
        .collect())
}
