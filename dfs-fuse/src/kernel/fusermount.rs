//! Mounting as an ordinary user through the set-user-id program fusermount3, which passes the open device back over a
//! socket. Called by `mount` only.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::MsFlags;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::init::MAX_WRITE;
use super::mount::Attach;

const PROGRAM: &str = "fusermount3";

pub fn mount(attach: &Attach) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    // The child inherits its end under this number.
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let child = Command::new(PROGRAM)
        .arg("-o")
        .arg(options(attach))
        .arg("--")
        .arg(&attach.mountpoint)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map_err(missing)?;
    drop(theirs);
    let device = receive(&ours);
    let output = child.wait_with_output()?;
    match device? {
        Some(device) if output.status.success() => Ok(device),
        _ => Err(failed(&output)),
    }
}

pub fn unmount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let mut command = Command::new(PROGRAM);
    command.arg("-u");
    if lazy {
        command.arg("-z");
    }
    let output = command.arg("--").arg(mountpoint).output().map_err(missing)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(&output))
    }
}

fn options(attach: &Attach) -> String {
    let mut options = String::from(if attach.flags.contains(MsFlags::MS_RDONLY) {
        "ro"
    } else {
        "rw"
    });
    for (flag, name) in [
        (MsFlags::MS_NOEXEC, "noexec"),
        (MsFlags::MS_NOATIME, "noatime"),
        (MsFlags::MS_SYNCHRONOUS, "sync"),
        (MsFlags::MS_DIRSYNC, "dirsync"),
    ] {
        if attach.flags.contains(flag) {
            options.push(',');
            options.push_str(name);
        }
    }
    // Commas separate options, so those of a list of hosts are escaped.
    let source = attach.source.replace('\\', "\\\\").replace(',', "\\,");
    options.push_str(&format!(
        ",nosuid,nodev,subtype=dfs,fsname={source},max_read={MAX_WRITE}"
    ));
    attach.push_permissions(&mut options);
    options
}

/// The descriptor sent over the socket; `None` when the program closed it without one.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0; 1];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(&fd) = fds.first()
        {
            // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(None)
}

fn missing(error: io::Error) -> io::Error {
    let advice = format!("{PROGRAM}: {error}; install Debian's fuse3, or mount as root");
    io::Error::new(error.kind(), advice)
}

fn failed(output: &Output) -> io::Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let said = if said.is_empty() {
        "it gave no reason"
    } else {
        said
    };
    io::Error::other(format!("{PROGRAM} failed: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_escape_the_commas_of_a_list_of_hosts() {
        let attach = Attach {
            source: "dfs://a,b/default".into(),
            mountpoint: "/mnt".into(),
            flags: MsFlags::MS_RDONLY | MsFlags::MS_NOATIME,
            allow_other: true,
            default_permissions: true,
        };
        let expected = "ro,noatime,nosuid,nodev,subtype=dfs,fsname=dfs://a\\,b/default,max_read=1048576,\
            default_permissions,allow_other";
        assert_eq!(options(&attach), expected);
    }
}
