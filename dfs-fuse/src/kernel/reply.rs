//! The promise to answer one request, once, from any thread. Made by the session, consumed by the file system.
//! One that is dropped unanswered answers EIO, so no caller waits for ever on a forgotten request.

use std::io::IoSlice;
use std::marker::PhantomData;
use std::sync::Arc;

use super::abi;
use super::answer::{Answer, Frame, Listing};
use super::device::Device;

/// An error number as errno(3) has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// Kinds of answers whose size the data decides.
pub enum Data {}
pub enum Directory {}
pub enum Xattr {}
pub enum IoctlOutput {}

/// More slices than this are gathered into one: writev(2) takes 1024 (IOV_MAX), one is the head.
const MAX_SLICES: usize = 1000;

pub struct Reply<K> {
    device: Arc<Device>,
    unique: u64,
    /// What the request said about the size of its answer.
    room: usize,
    answered: bool,
    kind: PhantomData<fn(K)>,
}

impl<K> Reply<K> {
    pub(super) fn new(device: Arc<Device>, unique: u64, room: usize) -> Self {
        Self {
            device,
            unique,
            room,
            answered: false,
            kind: PhantomData,
        }
    }

    /// Bytes that the caller has room for (READ, READDIR, GETXATTR, LISTXATTR, IOCTL).
    pub fn room(&self) -> usize {
        self.room
    }

    pub fn error(mut self, errno: Errno) {
        self.write(errno, &[]);
    }

    fn write(&mut self, errno: Errno, body: &[IoSlice<'_>]) {
        self.answered = true;
        self.device.answer(self.unique, errno.0, body);
    }

    fn bytes(mut self, bytes: &[u8]) {
        self.write(Errno(0), &[IoSlice::new(bytes)]);
    }
}

impl<K: Answer> Reply<K> {
    pub fn ok(self, answer: K) {
        let mut frame = Frame::new();
        answer.encode(&mut frame, self.room);
        self.bytes(frame.as_slice());
    }

    pub fn send(self, result: Result<K, Errno>) {
        match result {
            Ok(answer) => self.ok(answer),
            Err(errno) => self.error(errno),
        }
    }
}

impl Reply<Data> {
    /// Content of READ or READLINK; anything beyond the caller's room is an error of the file system.
    pub fn data(self, bytes: &[u8]) {
        self.slices(&[IoSlice::new(bytes)]);
    }

    /// The same from several buffers, none of which is copied.
    pub fn slices(mut self, slices: &[IoSlice<'_>]) {
        let total: usize = slices.iter().map(|s| s.len()).sum();
        if total > self.room {
            tracing::error!(
                unique = self.unique,
                total,
                room = self.room,
                "answer longer than asked for"
            );
            return self.write(Errno(libc::EIO), &[]);
        }
        if slices.len() > MAX_SLICES {
            return self.bytes(&slices.iter().flat_map(|s| s.iter().copied()).collect::<Vec<u8>>());
        }
        self.write(Errno(0), slices);
    }
}

impl Reply<Directory> {
    pub fn listing(self, listing: &Listing) {
        self.bytes(listing.as_slice());
    }
}

impl Reply<Xattr> {
    /// A value, or a list of names each ended by NUL: its size if only that was asked, ERANGE if it does not fit.
    pub fn value(self, value: &[u8]) {
        match self.room {
            0 => self.size(value.len()),
            room if value.len() > room => self.error(Errno(libc::ERANGE)),
            _ => self.bytes(value),
        }
    }

    fn size(self, size: usize) {
        let mut frame = Frame::new();
        frame.u32(u32::try_from(size).unwrap_or(u32::MAX)).u32(0);
        self.bytes(frame.as_slice());
    }
}

impl Reply<IoctlOutput> {
    /// Result of the call and what is copied back to the caller.
    pub fn output(mut self, result: i32, output: &[u8]) {
        if output.len() > self.room {
            return self.write(Errno(libc::EIO), &[]);
        }
        let mut frame = Frame::new();
        frame.u32(result as u32).u32(0).u32(0).u32(0);
        self.write(Errno(0), &[IoSlice::new(frame.as_slice()), IoSlice::new(output)]);
    }
}

impl<K> Drop for Reply<K> {
    fn drop(&mut self) {
        if !self.answered {
            tracing::error!(unique = self.unique, "a request was dropped unanswered");
            self.write(Errno(libc::EIO), &[]);
        }
    }
}

/// Head of an answer or notification of `body` further bytes.
pub(super) fn head(unique: u64, error: i32, body: usize) -> [u8; abi::OUT_HEADER] {
    let mut head = [0; abi::OUT_HEADER];
    head[..4].copy_from_slice(&((abi::OUT_HEADER + body) as u32).to_ne_bytes());
    head[4..8].copy_from_slice(&error.to_ne_bytes());
    head[8..].copy_from_slice(&unique.to_ne_bytes());
    head
}
