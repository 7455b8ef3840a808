//! One file of the log: preallocated, named by its first record's index, frames one after another, zeros to the
//! end. `FileLog` owns segments; tests walk them. It tells a torn tail from damage and decides nothing else.

use super::LogError;
use dfs_core::frame::{self, Frame};
use dfs_core::ids::{Index, Term};
use dfs_core::record::{Record, RecordError};
use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Size of a segment: a growing file makes `fdatasync` slower by its metadata, so the space is taken at once;
/// large enough that a new file is rare, small enough that trimming frees space soon.
pub const SEGMENT_LEN: u64 = 64 << 20;
/// Zeros written ahead of the frames. A frame that is written over zeros changes no metadata of the file, so its `fdatasync`
/// flushes the disk and does not commit the file system's journal: half a millisecond instead of one and a half.
const ZEROS: u64 = 256 << 10;
/// Frames longer than this are not preceded by zeros, which would double the traffic.
const ZEROED_MAX: u64 = 64 << 10;
const PREFIX: &str = "segment-";
const SUFFIX: &str = ".log";

/// A segment file that is known to be good up to `used`.
pub struct Segment {
    pub path: PathBuf,
    pub first: Index,
    /// Bytes of whole frames.
    pub used: u64,
    /// Preallocated bytes.
    pub len: u64,
    /// Written zeros reach to here.
    pub zeroed: u64,
}

/// Places and terms of a segment's records.
pub type Heads = Vec<(Index, Term)>;

/// What is done with each record's body: whether to go on.
type Visit<'a> = dyn FnMut(&[u8]) -> Result<ControlFlow<()>, RecordError> + 'a;

/// How the frames of a segment end.
pub enum Tail {
    /// In zeros, or at the end of the file.
    Clean,
    /// In bytes that were never acknowledged: no whole frame follows them.
    Torn,
}

/// The error for a failed system call on `path`.
pub fn io(doing: &'static str, path: &Path, error: std::io::Error) -> LogError {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => LogError::Full(path.to_owned()),
        _ => LogError::Io {
            doing,
            path: path.to_owned(),
            error,
        },
    }
}

/// Makes names in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| io("sync directory", dir, error))
}

impl Segment {
    /// The path of the segment that begins with `first`.
    pub fn path(dir: &Path, first: Index) -> PathBuf {
        dir.join(format!("{PREFIX}{:020}{SUFFIX}", first.0))
    }

    /// The first index in a segment's file name; `None` for other files.
    pub fn parse_name(name: &str) -> Option<Index> {
        name.strip_prefix(PREFIX)?
            .strip_suffix(SUFFIX)?
            .parse()
            .ok()
            .map(Index)
    }

    /// Makes an empty segment of `len` bytes. A segment that does not fit the disk leaves no file behind.
    pub fn create(dir: &Path, first: Index, len: u64) -> Result<(Segment, File), LogError> {
        let path = Segment::path(dir, first);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| io("create", &path, error))?;
        let made = allocate(&file, &path, len)
            .and_then(|()| file.sync_all().map_err(|error| io("sync", &path, error)))
            .and_then(|()| sync_dir(dir));
        match made {
            Ok(()) => Ok((
                Segment {
                    path,
                    first,
                    used: 0,
                    len,
                    zeroed: 0,
                },
                file,
            )),
            Err(error) => {
                if let Err(left) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), error = %left, "an unfinished log segment stays");
                }
                Err(error)
            }
        }
    }

    /// Opens a segment and walks its frames: each record must have the index that follows. With it come the places and
    /// terms of the records; their rows are read by whoever needs them.
    pub fn open(path: PathBuf, first: Index) -> Result<(Segment, File, Tail, Heads), LogError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| io("open", &path, error))?;
        let bytes = std::fs::read(&path).map_err(|error| io("read", &path, error))?;
        let mut ends = Vec::new();
        let (used, tail) = walk(&path, &bytes, first, &mut |body| {
            ends.push(Record::head(body)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((
            Segment {
                path,
                first,
                used,
                len: bytes.len() as u64,
                zeroed: used,
            },
            file,
            tail,
            ends,
        ))
    }

    /// Visits the segment's records.
    pub fn read(&self, visit: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), LogError> {
        let mut bytes = vec![0; self.used as usize];
        File::open(&self.path)
            .and_then(|file| file.read_exact_at(&mut bytes, 0))
            .map_err(|error| io("read", &self.path, error))?;
        let mut visit = |body: &[u8]| Record::from_body(body).map(&mut *visit);
        walk(&self.path, &bytes, self.first, &mut visit).map(|_| ())
    }

    /// Writes the next frame behind the others, not yet durable.
    pub fn write(&mut self, file: &File, bytes: &[u8]) -> std::io::Result<()> {
        let end = self.used + bytes.len() as u64;
        if end > self.zeroed && bytes.len() as u64 <= ZEROED_MAX {
            let zeros = (self.len - self.used).min(ZEROS);
            file.write_all_at(&vec![0; zeros as usize], self.used)?;
            self.zeroed = self.used + zeros;
        }
        file.write_all_at(bytes, self.used)
    }

    /// Cuts what follows the last whole frame, keeping a copy beside, and takes the space again.
    pub fn cut(&mut self, file: &File) -> Result<(), LogError> {
        let bytes = std::fs::read(&self.path).map_err(|error| io("read", &self.path, error))?;
        let torn = &bytes[self.used as usize..];
        let written = torn.len() - torn.iter().rev().take_while(|byte| **byte == 0).count();
        let copy = self.path.with_extension("torn");
        std::fs::write(&copy, &torn[..written]).map_err(|error| io("write", &copy, error))?;
        tracing::warn!(
            file = %self.path.display(), offset = self.used, bytes = written, copy = %copy.display(),
            "the log ended in a record that was never acknowledged; it is cut off"
        );
        file.set_len(self.used)
            .map_err(|error| io("cut", &self.path, error))?;
        self.len = self.len.max(SEGMENT_LEN);
        allocate(file, &self.path, self.len)?;
        file.sync_all().map_err(|error| io("sync", &self.path, error))
    }
}

fn allocate(file: &File, path: &Path, len: u64) -> Result<(), LogError> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the call touches no memory of ours.
    let result = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len as libc::off_t) };
    match result {
        0 => Ok(()),
        code => Err(io("preallocate", path, std::io::Error::from_raw_os_error(code))),
    }
}

/// Walks the frames of `bytes`, which begin with record `first`: the length of the whole ones and how they end.
fn walk(path: &Path, bytes: &[u8], first: Index, visit: &mut Visit<'_>) -> Result<(u64, Tail), LogError> {
    let mut at = 0;
    let mut index = first;
    let corrupt = |at: usize, index: Index, reason: String| LogError::Corrupt {
        file: path.to_owned(),
        offset: at as u64,
        index: index.0,
        reason,
    };
    loop {
        match frame::next(&bytes[at..]) {
            // Length and checksum of nothing are zero: a header whose end never reached the disk looks like this.
            Frame::Whole { body: [], .. } => {
                return broken_at(path, bytes, at, index, "an empty frame");
            }
            Frame::Whole { body, size } => {
                let unreadable = |error: RecordError| corrupt(at, index, error.to_string());
                let (found, _) = Record::head(body).map_err(unreadable)?;
                if found != index {
                    return Err(corrupt(at, index, format!("record {} is here", found.0)));
                }
                if visit(body).map_err(unreadable)?.is_break() {
                    return Ok((at as u64, Tail::Clean));
                }
                at += size;
                index = index.next();
            }
            Frame::End => return Ok((at as u64, Tail::Clean)),
            Frame::Torn => return broken_at(path, bytes, at, index, "it is cut off"),
            Frame::Corrupt { reason } => return broken_at(path, bytes, at, index, reason),
        }
    }
}

/// A frame that does not verify is torn when nothing whole follows it, else the log is damaged.
fn broken_at(
    path: &Path,
    bytes: &[u8],
    at: usize,
    index: Index,
    reason: &str,
) -> Result<(u64, Tail), LogError> {
    match whole_frame_after(&bytes[at..], index) {
        None => Ok((at as u64, Tail::Torn)),
        Some(later) => Err(LogError::Corrupt {
            file: path.to_owned(),
            offset: at as u64,
            index: index.0,
            reason: format!("{reason}; record {} follows it", later.0),
        }),
    }
}

/// A whole record later than `index` behind the broken frame that begins `bytes`. Each record is synced before
/// the next is written, so one that follows shows that the broken one was once durable.
fn whole_frame_after(bytes: &[u8], index: Index) -> Option<Index> {
    let magic = frame::MAGIC.to_le_bytes();
    let mut at = 1;
    while at + frame::HEADER_LEN <= bytes.len() {
        let found = bytes[at..]
            .windows(magic.len())
            .position(|window| window == magic)?;
        at += found;
        if let Frame::Whole { body, .. } = frame::next(&bytes[at..])
            && let Ok(record) = Record::from_body(body)
            && record.index > index
        {
            return Some(record.index);
        }
        at += 1;
    }
    None
}
