//! Long slots go to the disk past the system's page cache, from aligned buffers of ours: copying into fresh pages of the
//! cache cost nearly half of a sequential write's processor time, for content that is rarely read soon. `put` feeds one
//! for each chunk. A file system that refuses it is written to through the cache.

use dfs_core::chunk::header::SLOT_ALIGN;
use parking_lot::Mutex;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Disks and file systems ask for no more; slots begin at multiples of it and are padded to one.
const ALIGN: usize = SLOT_ALIGN as usize;
/// Bytes of one write: large enough that calls do not count, small enough that receiving and writing overlap.
const BUFFER: usize = 1 << 20;
/// Buffers kept for the next chunk: as many chunks as usually come at one time. More are made and given back.
const POOL_MAX: usize = 16;

/// Opens a segment for writing past the cache; none where the file system refuses.
pub fn open(path: &Path) -> Option<Arc<File>> {
    let opened = File::options()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path);
    match opened {
        Ok(file) => Some(Arc::new(file)),
        Err(error) => {
            tracing::debug!(segment = %path.display(), %error, "written through the system's cache");
            None
        }
    }
}

/// `BUFFER` aligned bytes, somewhere in a longer allocation.
struct Buffer {
    bytes: Box<[u8]>,
    skip: usize,
}

impl Buffer {
    fn new() -> Buffer {
        let bytes = vec![0; BUFFER + ALIGN].into_boxed_slice();
        let skip = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Buffer { bytes, skip }
    }

    fn all(&mut self) -> &mut [u8] {
        &mut self.bytes[self.skip..self.skip + BUFFER]
    }
}

/// Buffers that nobody uses.
#[derive(Default)]
pub struct Pool(Mutex<Vec<Buffer>>);

/// A slot that is written page by page. The pages with the header go last: the header names the content's checksums.
pub struct Direct {
    pool: Arc<Pool>,
    /// None only while it is dropped.
    buffer: Option<Buffer>,
    file: Arc<File>,
    /// Takes what `file` refuses.
    cached: Arc<File>,
    slot: u64,
    /// Where the buffer begins in the slot, and how much of it is filled.
    at: u64,
    filled: usize,
    /// Bytes of the pages with the header.
    head: usize,
    /// Those pages, when they have left the buffer.
    first: Option<Box<[u8]>>,
}

impl Direct {
    /// For the slot at `slot` whose header will have `header` bytes.
    pub fn begin(pool: &Arc<Pool>, file: Arc<File>, cached: Arc<File>, slot: u64, header: usize) -> Direct {
        let mut buffer = pool.0.lock().pop().unwrap_or_else(Buffer::new);
        buffer.all()[..header].fill(0);
        Direct {
            pool: pool.clone(),
            buffer: Some(buffer),
            file,
            cached,
            slot,
            at: 0,
            filled: header,
            head: header.next_multiple_of(ALIGN),
            first: None,
        }
    }

    /// Takes the next bytes of the content.
    pub fn push(&mut self, mut content: &[u8]) -> io::Result<()> {
        while !content.is_empty() {
            if self.filled == BUFFER {
                self.write_out()?;
            }
            let Some(buffer) = &mut self.buffer else {
                return Err(io::Error::other("a chunk after its end"));
            };
            let part = content.len().min(BUFFER - self.filled);
            buffer.all()[self.filled..self.filled + part].copy_from_slice(&content[..part]);
            self.filled += part;
            content = &content[part..];
        }
        Ok(())
    }

    /// Writes all that came, without a header, so that it can be read back.
    pub fn settle(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.write_first(&[])
    }

    /// Ends the slot. Durable after the next sync.
    pub fn end(mut self, header: &[u8]) -> io::Result<()> {
        if self.first.is_none()
            && let Some(buffer) = &mut self.buffer
        {
            // All of it is still here: one write.
            buffer.all()[..header.len()].copy_from_slice(header);
            return self.write_buffer(0);
        }
        self.write_out()?;
        self.write_first(header)
    }

    /// Empties the buffer; the slot's first pages stay for its header.
    fn write_out(&mut self) -> io::Result<()> {
        if self.first.is_some() {
            return self.write_buffer(0);
        }
        let Some(buffer) = &mut self.buffer else {
            return Ok(());
        };
        if self.filled < self.head {
            buffer.all()[self.filled..self.head].fill(0);
        }
        self.first = Some(buffer.all()[..self.head].into());
        self.write_buffer(self.head)
    }

    /// Writes the buffer's pages from byte `from` on. Behind the content there are zeros up to the end of its last page.
    fn write_buffer(&mut self, from: usize) -> io::Result<()> {
        let Some(buffer) = &mut self.buffer else {
            return Ok(());
        };
        let (begin, end) = (self.at, self.filled.next_multiple_of(ALIGN));
        buffer.all()[self.filled..end].fill(0);
        let pages = buffer.all().get(from..end).unwrap_or_default();
        write(
            &mut self.file,
            &self.cached,
            pages,
            self.slot + begin + from as u64,
        )?;
        self.at += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    fn write_first(&mut self, header: &[u8]) -> io::Result<()> {
        let (Some(first), Some(buffer)) = (&self.first, &mut self.buffer) else {
            return Ok(());
        };
        let page = &mut buffer.all()[..self.head];
        page.copy_from_slice(first);
        page[..header.len()].copy_from_slice(header);
        write(&mut self.file, &self.cached, page, self.slot)
    }
}

/// Writes pages past the cache, from the first refusal on through it.
fn write(file: &mut Arc<File>, cached: &Arc<File>, pages: &[u8], at: u64) -> io::Result<()> {
    match file.write_all_at(pages, at) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) && !Arc::ptr_eq(file, cached) => {
            *file = cached.clone();
            file.write_all_at(pages, at)
        }
        written => written,
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        let mut pool = self.pool.0.lock();
        if pool.len() < POOL_MAX {
            pool.extend(self.buffer.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(len: usize, slot: u64, step: usize, settle: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let cached = Arc::new(File::create_new(&path).unwrap());
        cached
            .set_len(slot + (len as u64 + 4096).next_multiple_of(4096))
            .unwrap();
        let file = open(&path).unwrap_or_else(|| cached.clone());
        let pool = Arc::new(Pool::default());
        // A buffer that was used has bytes of another chunk in it.
        let mut used = Buffer::new();
        used.all().fill(0xee);
        pool.0.lock().push(used);
        let content: Vec<u8> = (0..len).map(|at| (at * 7 + at / 4096) as u8).collect();
        let header = [0xaa; 1024];
        let mut direct = Direct::begin(&pool, file, cached, slot, header.len());
        content.chunks(step).for_each(|part| direct.push(part).unwrap());
        if settle {
            direct.settle().unwrap();
            let got = std::fs::read(&path).unwrap();
            assert_eq!(got[slot as usize..][..1024], [0; 1024], "{len} bytes at {slot}");
            assert!(
                got[slot as usize + 1024..][..len] == content,
                "{len} bytes at {slot}"
            );
        }
        direct.end(&header).unwrap();
        let got = std::fs::read(&path).unwrap();
        let (before, got) = got.split_at(slot as usize);
        assert!(before.iter().all(|byte| *byte == 0));
        assert_eq!(got[..1024], header, "{len} bytes at {slot}");
        let (here, behind) = got[1024..].split_at(len);
        assert!(here == content, "{len} bytes at {slot}");
        assert!(behind.iter().all(|byte| *byte == 0), "{len} bytes at {slot}");
        assert_eq!(pool.0.lock().len(), 1, "the buffer is given back");
    }

    #[test]
    fn content_of_every_shape_is_whole_with_its_header_before_it() {
        let mib = 1 << 20;
        let lens = [
            1,
            3071,
            3072,
            3073,
            mib - 1025,
            mib - 1024,
            mib - 1023,
            mib,
            2 * mib - 1024,
        ];
        for len in lens {
            for settle in [false, true] {
                written(len, 4096, mib, settle);
                written(len, 3 * 4096, 65_536, settle);
            }
        }
    }

    #[test]
    fn a_place_that_is_not_aligned_is_written_all_the_same() {
        written(3 << 20, 100, 1 << 20, false);
        written(3 << 20, 100, 1 << 20, true);
    }
}
