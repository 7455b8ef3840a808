//! Reads a segment file from its first slot to its end: what is live, what is dead, and what is neither. Opening
//! the store calls it; it changes nothing.

use dfs_core::chunk::header::{HEADER_MAX, Header, SLOT_ALIGN, Slot, decode, slot_len};
use dfs_core::chunk::segment::FIRST_SLOT;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A live slot.
pub struct Live {
    pub offset: u64,
    pub header: Header,
}

/// What a segment file contains.
#[derive(Default)]
pub struct Contents {
    pub live: Vec<Live>,
    /// Offset and length of dead slots.
    pub dead: Vec<(u64, u64)>,
    /// Runs `[from, to)` between slots that are no slots: a sealed segment has none.
    pub gaps: Vec<(u64, u64)>,
    /// Where the last slot ends.
    pub end: u64,
}

/// Scans a segment up to `limit` (the seal's end, or the file's).
pub fn scan(file: &File, uuid: &[u8; 16], limit: u64) -> io::Result<Contents> {
    let mut contents = Contents {
        end: FIRST_SLOT,
        ..Contents::default()
    };
    let mut at = FIRST_SLOT;
    let mut page = vec![0; HEADER_MAX];
    while at < limit {
        let got = read_up_to(file, &mut page, at)?;
        let size = match decode(&page[..got], uuid, at) {
            Some(Slot::Live(header)) => {
                let size = slot_len(header.layout, header.len);
                contents.live.push(Live { offset: at, header });
                size
            }
            Some(Slot::Dead { len }) => {
                contents.dead.push((at, len));
                len
            }
            None => {
                at = next_data(file, at + SLOT_ALIGN, limit)?;
                continue;
            }
        };
        if at > contents.end {
            contents.gaps.push((contents.end, at));
        }
        at = at.saturating_add(size);
        contents.end = at;
    }
    Ok(contents)
}

/// The next place at or after `at` where something was written; `limit` when nothing was.
fn next_data(file: &File, at: u64, limit: u64) -> io::Result<u64> {
    if at >= limit {
        return Ok(limit);
    }
    match lseek(file, at as i64, Whence::SeekData) {
        Ok(found) => Ok((found as u64 / SLOT_ALIGN * SLOT_ALIGN).max(at)),
        Err(nix::Error::ENXIO) => Ok(limit),
        Err(e) => Err(e.into()),
    }
}

/// Reads until `page` is full or the file ends.
pub fn read_up_to(file: &File, page: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < page.len() {
        match file.read_at(&mut page[got..], at + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}
