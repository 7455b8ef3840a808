//! One open /dev/fuse: reads requests, writes answers and notifications. A mount has one or more (clones);
//! an answer must leave by the descriptor that its request came in by. Knows bytes, no operations.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use super::abi;
use super::interrupt::Interrupts;
use super::reply::head;

pub const PATH: &str = "/dev/fuse";

pub struct Device {
    file: File,
    pub(super) interrupts: Arc<Interrupts>,
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Request(usize),
    /// The request was withdrawn, or a signal came: read again.
    Nothing,
    /// Unmounted or aborted.
    Ended,
}

impl Device {
    pub fn new(fd: OwnedFd, interrupts: Arc<Interrupts>) -> Self {
        Self {
            file: File::from(fd),
            interrupts,
        }
    }

    /// A further descriptor of the same connection with a queue of its own, so that answering threads do not
    /// contend for one.
    pub fn another(&self) -> io::Result<Self> {
        let file = open()?;
        let own: u32 = self.file.as_raw_fd() as u32;
        // SAFETY: the ioctl reads one u32 through the pointer, which lives across the call.
        let rc = unsafe { libc::ioctl(file.as_raw_fd(), abi::DEV_IOC_CLONE as _, &raw const own) };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            file,
            interrupts: self.interrupts.clone(),
        })
    }

    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Incoming> {
        match (&self.file).read(buffer) {
            Ok(0) => Ok(Incoming::Ended),
            Ok(len) => Ok(Incoming::Request(len)),
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOENT | libc::EINTR | libc::EAGAIN) => Ok(Incoming::Nothing),
                Some(libc::ENODEV | libc::ECONNABORTED) => Ok(Incoming::Ended),
                _ => Err(e),
            },
        }
    }

    /// Answers a request; `errno` is positive, or 0 for success.
    pub(super) fn answer(&self, unique: u64, errno: i32, body: &[IoSlice<'_>]) {
        self.interrupts.finish(unique);
        match self.send(unique, -errno, body) {
            // The caller was killed meanwhile, or the mount is gone: nobody waits for this answer.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ENOENT | libc::ENODEV | libc::ECONNABORTED)
                ) => {}
            Err(e) => {
                tracing::error!(unique, error = %e, "the kernel refused an answer");
                if errno == 0 {
                    let _ = self.send(unique, -libc::EIO, &[]);
                }
            }
            Ok(()) => {}
        }
    }

    /// One message, in one system call as the kernel demands. `error` as the protocol has it.
    pub(super) fn send(&self, unique: u64, error: i32, body: &[IoSlice<'_>]) -> io::Result<()> {
        /// Answers of up to three parts need no allocation.
        const FEW: usize = 4;
        let head = head(unique, error, body.iter().map(|s| s.len()).sum());
        let written = if body.len() < FEW {
            let mut parts = [IoSlice::new(&[]); FEW];
            parts[0] = IoSlice::new(&head);
            parts[1..=body.len()].copy_from_slice(body);
            (&self.file).write_vectored(&parts[..=body.len()])
        } else {
            let mut parts = Vec::with_capacity(body.len() + 1);
            parts.push(IoSlice::new(&head));
            parts.extend_from_slice(body);
            (&self.file).write_vectored(&parts)
        };
        written.map(drop)
    }
}

/// Opens the device that mount(2) and FUSE_DEV_IOC_CLONE want.
pub fn open() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(PATH)
}
