//! A mount in the background: this program starts itself once more in a session of its own and returns when that one
//! says that the mount is usable, or why it is not. Called by `mount` on both sides.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{Failure, log};

/// What the serving process writes when the mount is usable; anything else is why it failed.
const USABLE: &str = "usable";

/// Starts `dfs mount ARGS --ready-fd N` and waits for its word.
pub fn start(args: &[OsString], log_file: &Path) -> Result<(), Failure> {
    let (mut ready, theirs) = io::pipe()?;
    // Inherited by the serving process under this number.
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let log = log::open(log_file).map_err(|e| format!("cannot write the log {}: {e}", log_file.display()))?;
    // By its own path, so that ps(1) shows its name.
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg0("dfs")
        .arg("mount")
        .args(args)
        .arg(format!("--ready-fd={}", theirs.as_raw_fd()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // SAFETY: setsid is async-signal-safe and touches no memory of this process.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from)) };
    let mut child = command.spawn()?;
    drop(theirs);
    let mut word = String::new();
    ready.read_to_string(&mut word)?;
    match word.as_str() {
        USABLE => Ok(()),
        "" => {
            let status = child.wait()?;
            Err(format!(
                "the mount ended ({status}) before it was usable; see {}",
                log_file.display()
            )
            .into())
        }
        why => {
            child.wait()?;
            Err(why.to_string().into())
        }
    }
}

/// The serving process's end of the pipe.
pub struct Ready(File);

impl Ready {
    /// The descriptor that `start` passed on.
    pub fn from_number(number: RawFd) -> io::Result<Self> {
        // SAFETY: the number comes from `start`, which leaves this descriptor to this process alone.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(Ready(File::from(fd)))
    }

    /// Fails when nobody waits any more.
    pub fn usable(mut self) -> io::Result<()> {
        self.0.write_all(USABLE.as_bytes())
    }

    pub fn failed(mut self, why: &str) {
        // Whoever started this has gone; the log has the reason as well.
        let _ = self.0.write_all(why.as_bytes());
    }
}
