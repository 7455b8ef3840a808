//! A blocking byte stream of a framed connection, over TCP or a Unix socket, with one deadline for all that is read.
//! Both ends use it: threads of the client and of the datanode. It knows no message.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::sendfile::sendfile;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub struct Wire {
    stream: Stream,
    deadline: Instant,
}

impl Wire {
    /// Takes a connected, blocking stream. What is written waits no longer than `write_limit` for room.
    pub fn tcp(stream: TcpStream, write_limit: Duration) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(write_limit))?;
        Ok(Wire::of(Stream::Tcp(stream)))
    }

    /// The same for a Unix socket.
    pub fn unix(stream: UnixStream, write_limit: Duration) -> io::Result<Wire> {
        stream.set_write_timeout(Some(write_limit))?;
        Ok(Wire::of(Stream::Unix(stream)))
    }

    fn of(stream: Stream) -> Wire {
        Wire {
            stream,
            deadline: Instant::now(),
        }
    }

    pub fn is_unix(&self) -> bool {
        matches!(self.stream, Stream::Unix(_))
    }

    /// What is read from now on must have come within `limit`; later it is `WouldBlock`.
    pub fn read_within(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }

    /// What is written from now on waits no longer than `limit` for room.
    pub fn write_within(&mut self, limit: Duration) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(limit)),
        }
    }

    /// Writes `len` bytes of the file from `offset` on without bringing them here. `UnexpectedEof` when it ends before.
    pub fn write_file(&mut self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        let (mut at, end) = (offset as i64, offset + len);
        while (at as u64) < end {
            let left = (end - at as u64) as usize;
            match sendfile(self.as_fd(), file, Some(&mut at), left) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether an idle connection is as it should be: nothing has come, and the other side has not ended it.
    pub fn is_quiet(&self) -> bool {
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO) == Ok(0)
    }

    /// Another handle of the same connection, to end it from elsewhere.
    pub fn closer(&self) -> io::Result<Closer> {
        Ok(Closer(match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        }))
    }

    /// Writes both, in one system call where that is possible.
    pub fn write_both(&mut self, head: &[u8], payload: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < head.len() {
            let slices = [IoSlice::new(&head[written..]), IoSlice::new(payload)];
            match self.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.write_all(&payload[written - head.len()..])
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Ends a connection: whoever reads from it or writes to it fails.
pub struct Closer(Stream);

impl Closer {
    pub fn close(&self) {
        // One that the other side has ended needs no end.
        let _ = match &self.0 {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match &mut self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.read(buf)
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.read(buf)
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write(buf),
            Stream::Unix(stream) => stream.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_vectored(bufs),
            Stream::Unix(stream) => stream.write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
