//! The guard of a mount: a process of its own that ends the connection when the daemon has ended without doing so.
//! A thread of a killed daemon that sleeps in the kernel for a notification keeps /dev/fuse open, and may wait for a
//! call that only this daemon could answer: then neither ends. `serve` starts the guard and ends it; `main` runs it by
//! its name. Must not touch the mount: that could wait for the dead daemon.

use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use nix::fcntl::{OFlag, openat};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;

use crate::kernel::mount;

/// What ps(1) shows; the argument is the daemon's process id.
pub const NAME: &str = "dfs-guard";
const CONNECTIONS: &str = "/sys/fs/fuse/connections";
/// The kernel sends this at the daemon's end.
const ENDED: Signal = Signal::SIGUSR1;
/// The daemon is looked at so often, so far apart, when the signal has come: it comes just before the end can be seen.
const LOOKS: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// `FSCONFIG_CMD_CREATE`, and the flag of fsopen(2) and fsmount(2) that closes at exec.
const CREATE: libc::c_uint = 6;
const CLOSE_AT_EXEC: libc::c_uint = 1;

/// The daemon's side.
pub struct Guard(Child);

impl Guard {
    /// To be called by the main thread: the kernel tells the guard when the thread ends that started it.
    pub fn start(mountpoint: &Path) -> io::Result<Self> {
        let gone = || io::Error::other(format!("nothing is mounted on {}", mountpoint.display()));
        let mounted = mount::find(mountpoint)?.ok_or_else(gone)?;
        let minor = mounted.device.split(':').nth(1).ok_or_else(gone)?;
        let abort = open_abort(minor)?;
        // By the link, which is right also when the program has been replaced since.
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(std::process::id().to_string())
            .current_dir("/")
            .process_group(0)
            .stdin(abort)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Guard(child))
    }

    /// After an orderly end: nothing is left of the guard when this returns.
    pub fn end(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The kernel's file that ends this connection. Once open it means this one and never a later one of the same number.
fn open_abort(minor: &str) -> io::Result<File> {
    let path = Path::new(CONNECTIONS).join(minor).join("abort");
    match OpenOptions::new().write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let connections = connections()?;
            let path = format!("{minor}/abort");
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            Ok(openat(&connections, path.as_str(), flags, Mode::empty())?.into())
        }
        other => other,
    }
}

/// The kernel's list of connections, mounted nowhere: the usual place has it only when somebody mounted it there.
fn connections() -> io::Result<OwnedFd> {
    let kind = CString::new("fusectl")?;
    // SAFETY: the string outlives the call, which returns a new descriptor or -1.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOSE_AT_EXEC) })?;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes no key and no value.
    let made = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_fd().as_raw_fd(),
            CREATE,
            none,
            none,
            0,
        )
    };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the context is open; the call returns a new descriptor or -1.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOSE_AT_EXEC, 0) })
}

fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(returned as i32) })
}

/// The guard itself, started as `dfs-guard DAEMON` with the connection's abort file as its standard input.
pub fn run(args: &[OsString]) -> ExitCode {
    let daemon = args.first().and_then(|arg| arg.to_str()?.parse().ok());
    match daemon.map_or(Err(io::ErrorKind::InvalidInput.into()), guard) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NAME}: {error}; `dfs mount` starts this program by itself");
            ExitCode::FAILURE
        }
    }
}

fn guard(daemon: u32) -> io::Result<()> {
    prctl::set_name(&CString::new(NAME)?)?;
    // Whoever ends the daemon may signal this one too, which must then still be there.
    SigSet::all().thread_block()?;
    // SAFETY: this process uses no descriptor but the first three.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    let abort = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    prctl::set_pdeathsig(ENDED)?;
    // The daemon may have ended before the kernel was asked.
    if !ended(daemon) {
        wait(daemon)?;
    }
    (&abort).write_all(b"1")
}

fn wait(daemon: u32) -> io::Result<()> {
    loop {
        SigSet::from(ENDED).wait()?;
        for _ in 0..LOOKS {
            if ended(daemon) {
                return Ok(());
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}

/// Has its main thread ended? Another thread may stay behind for ever, and the process with it.
fn ended(daemon: u32) -> bool {
    if parent_id() != daemon {
        return true;
    }
    let stat = std::fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/stat")).unwrap_or_default();
    // The name before the state may contain anything, also parentheses.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, None | Some('Z' | 'X'))
}
