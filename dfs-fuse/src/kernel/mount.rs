//! Attaches and detaches a connection: mount(2) for root, fusermount3 for everybody else.
//! Called by `dfs mount`, `dfs umount` and tests. Serves nothing itself.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};

use super::device;
use super::fusermount;
use super::init::MAX_WRITE;
use super::mountinfo::{self, Mounted};

pub const FSTYPE: &str = "fuse.dfs";
/// One large request of read-ahead in flight while another is consumed.
const READ_AHEAD_KIB: u32 = 4096;

/// How a file system is to be attached.
#[derive(Debug, Clone)]
pub struct Attach {
    /// Shown as the device by mount(8) and df(1).
    pub source: String,
    pub mountpoint: PathBuf,
    pub flags: MsFlags,
    pub allow_other: bool,
    pub default_permissions: bool,
}

impl Attach {
    /// Mounts; the kernel's first request waits on the returned descriptor.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        if nix::unistd::geteuid().is_root() {
            self.mount_as_root()
        } else {
            fusermount::mount(self)
        }
    }

    fn mount_as_root(&self) -> io::Result<OwnedFd> {
        let device =
            device::open().map_err(|e| explain(e, "cannot open /dev/fuse; is the fuse module loaded?"))?;
        let uid = nix::unistd::geteuid();
        let gid = nix::unistd::getegid();
        let mut options = format!(
            "fd={},rootmode=40000,user_id={uid},group_id={gid},max_read={MAX_WRITE}",
            device.as_raw_fd()
        );
        self.push_permissions(&mut options);
        nix::mount::mount(
            Some(self.source.as_str()),
            &self.mountpoint,
            Some(FSTYPE),
            self.flags,
            Some(options.as_str()),
        )?;
        Ok(device.into())
    }

    pub(super) fn push_permissions(&self, options: &mut String) {
        if self.default_permissions {
            let _ = write!(options, ",default_permissions");
        }
        if self.allow_other {
            let _ = write!(options, ",allow_other");
        }
    }
}

/// Changes a mount's VFS flags in place (`remount,ro`); the serving process goes on.
pub fn remount(mountpoint: &Path, flags: MsFlags) -> io::Result<()> {
    nix::mount::mount(
        None::<&str>,
        mountpoint,
        None::<&str>,
        flags | MsFlags::MS_REMOUNT,
        None::<&str>,
    )?;
    Ok(())
}

/// How hard to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detach {
    /// Fails while files are open below it.
    Clean,
    /// Out of the tree now, gone when the last user has left.
    Lazy,
    /// Ends all requests with an error first, for a server that does not answer.
    Force,
}

pub fn unmount(mountpoint: &Path, detach: Detach) -> io::Result<()> {
    let flags = match detach {
        Detach::Clean => MntFlags::UMOUNT_NOFOLLOW,
        Detach::Lazy => MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
        Detach::Force => MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_FORCE,
    };
    match umount2(mountpoint, flags) {
        Err(Errno::EPERM) if !nix::unistd::geteuid().is_root() => {
            fusermount::unmount(mountpoint, detach != Detach::Clean)
        }
        // Its requests have been ended, but somebody still stands in it.
        Err(Errno::EBUSY) if detach == Detach::Force => {
            Ok(umount2(mountpoint, flags | MntFlags::MNT_DETACH)?)
        }
        other => Ok(other?),
    }
}

/// Unmounts cleanly, or lazily when it is in use.
pub fn unmount_somehow(mountpoint: &Path) -> io::Result<()> {
    unmount(mountpoint, Detach::Clean).or_else(|_| unmount(mountpoint, Detach::Lazy))
}

/// The dfs mount exactly at `mountpoint`, if there is one.
pub fn find(mountpoint: &Path) -> io::Result<Option<Mounted>> {
    Ok(mountinfo::at(mountpoint)?.filter(|m| m.fstype == FSTYPE))
}

/// Lets the kernel read further ahead than INIT allows (its own default caps that one). Root only.
pub fn raise_read_ahead(mounted: &Mounted) -> io::Result<()> {
    std::fs::write(
        format!("/sys/class/bdi/{}/read_ahead_kb", mounted.device),
        READ_AHEAD_KIB.to_string(),
    )
}

/// Refuses a mountpoint that nothing should be mounted on, in words that say which.
pub fn check_mountpoint(path: &Path, nonempty: bool) -> io::Result<PathBuf> {
    let shown = path.display();
    let absolute = mountinfo::absolute(path).map_err(|e| explain(e, &format!("mountpoint {shown}")))?;
    refuse_mounted(&absolute)?;
    let kind =
        std::fs::symlink_metadata(&absolute).map_err(|e| explain(e, &format!("mountpoint {shown}")))?;
    let absolute = if kind.is_symlink() {
        let target = absolute
            .canonicalize()
            .map_err(|e| explain(e, &format!("mountpoint {shown}")))?;
        refuse_mounted(&target)?;
        target
    } else {
        absolute
    };
    let refuse = |why: &str| Err(io::Error::other(format!("mountpoint {shown} {why}")));
    if !absolute.is_dir() {
        return refuse("is not a directory");
    }
    if !nonempty && std::fs::read_dir(&absolute)?.next().is_some() {
        return refuse("is not empty; what is in it would be hidden (-o nonempty mounts all the same)");
    }
    Ok(absolute)
}

fn refuse_mounted(absolute: &Path) -> io::Result<()> {
    match mountinfo::at(absolute)? {
        Some(other) if other.fstype.starts_with("fuse") => Err(io::Error::other(format!(
            "{} is mounted already ({} on {}); `dfs umount` it first",
            absolute.display(),
            OsString::from(&other.source).to_string_lossy(),
            other.fstype,
        ))),
        _ => Ok(()),
    }
}

fn explain(error: io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
