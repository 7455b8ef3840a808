//! `dfs umount`: makes what was written durable, then detaches the mount. Its client ends by itself afterwards.
//! Also called by `mount_program` for umount(8).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use clap::Args;
use dfs_client::ioctl::DFS_IOC_SYNC;

use super::Failure;
use crate::kernel::mount::{self, Detach};
use crate::kernel::mountinfo;

/// Unmount a volume
#[derive(Args)]
pub struct Umount {
    pub mountpoint: PathBuf,
    /// Take it out of the tree now; it ends when its last user has left
    #[arg(short, long, conflicts_with = "force")]
    pub lazy: bool,
    /// End all calls in progress with an error first, for a mount that does not answer; unwritten data is lost
    #[arg(short, long)]
    pub force: bool,
}

impl Umount {
    pub fn run(self) -> Result<(), Failure> {
        let shown = self.mountpoint.display();
        let mountpoint = self
            .find()?
            .ok_or_else(|| format!("no dfs is mounted on {shown}"))?;
        let detach = match (self.lazy, self.force) {
            (true, _) => Detach::Lazy,
            (_, true) => Detach::Force,
            _ => Detach::Clean,
        };
        if detach == Detach::Clean
            && let Err(error) = sync(&mountpoint)
        {
            eprintln!("dfs: warning: {shown}: what was written last is not durable: {error}");
        }
        mount::unmount(&mountpoint, detach).map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => {
                format!(
                    "{shown} is in use (`fuser -vm {shown}` says by whom); --lazy detaches it all the same"
                )
            }
            _ => format!("cannot unmount {shown}: {error}"),
        })?;
        Ok(())
    }

    /// The mount by its own path, or by that of a symbolic link to it.
    fn find(&self) -> io::Result<Option<PathBuf>> {
        let direct = mountinfo::absolute(&self.mountpoint)?;
        if mount::find(&direct)?.is_some() {
            return Ok(Some(direct));
        }
        let target = direct.canonicalize()?;
        Ok(mount::find(&target)?.map(|_| target))
    }
}

fn sync(mountpoint: &Path) -> io::Result<()> {
    let root = File::open(mountpoint)?;
    // SAFETY: this ioctl takes no argument.
    let rc = unsafe { libc::ioctl(root.as_raw_fd(), libc::c_ulong::from(DFS_IOC_SYNC) as _) };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
