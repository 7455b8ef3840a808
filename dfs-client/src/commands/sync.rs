//! `dfs sync PATH`: makes everything that the mount was given durable. For kernels that do not pass `sync` on.

use super::{CLEAN, Failure, finish, target};
use crate::ioctl::DFS_IOC_SYNC;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;

/// Syncs the mount that holds `path`.
pub fn run(path: &Path, json: bool) -> ExitCode {
    finish("sync", async { sync(path, json) })
}

fn sync(path: &Path, json: bool) -> Result<u8, Failure> {
    let mounted = target::mount_of(path)?;
    let what = mounted.mountpoint.display().to_string();
    let failed = |error| Failure::Io {
        what: what.clone(),
        error,
    };
    let root = std::fs::File::open(&mounted.mountpoint).map_err(failed)?;
    // SAFETY: this ioctl takes no argument.
    let answer = unsafe { libc::ioctl(root.as_raw_fd(), libc::c_ulong::from(DFS_IOC_SYNC) as _) };
    if answer < 0 {
        return Err(failed(std::io::Error::last_os_error()));
    }
    if json {
        say!("{}", serde_json::json!({ "mountpoint": what, "synced": true }));
    }
    Ok(CLEAN)
}
