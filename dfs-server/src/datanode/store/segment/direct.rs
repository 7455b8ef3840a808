//! Long slots go to the disk past the system's page cache: copying into fresh pages of the cache cost nearly half of a
//! sequential write's processor time, for content that is rarely read soon. Content that came in aligned memory goes as it
//! is, other content by way of a buffer. `put` feeds one for each chunk. A file system that refuses it is written to
//! through the cache.

use crate::datanode::buffers::{ALIGN, Buffer, Buffers, LEN};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

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

/// A slot that is written page by page. The pages with the header go last: the header names the content's checksums.
pub struct Direct {
    buffer: Buffer,
    file: Arc<File>,
    /// Takes what `file` refuses.
    cached: Arc<File>,
    slot: u64,
    /// Bytes of the pages that the header is in.
    head: usize,
    /// Where the buffer begins in the slot, and how much of it is filled.
    at: u64,
    filled: usize,
    /// The header's pages, once they are not in the buffer: with what content they have.
    first: Option<Box<[u8]>>,
}

impl Direct {
    /// For the slot at `slot` whose header will have `header` bytes.
    pub fn begin(
        buffers: &Arc<Buffers>,
        file: Arc<File>,
        cached: Arc<File>,
        slot: u64,
        header: usize,
    ) -> Direct {
        let mut buffer = buffers.take();
        buffer.as_mut()[..header].fill(0);
        Direct {
            buffer,
            file,
            cached,
            slot,
            head: header.next_multiple_of(ALIGN),
            at: 0,
            filled: header,
            first: None,
        }
    }

    /// Takes the next bytes of the content.
    pub fn push(&mut self, content: &[u8]) -> io::Result<()> {
        let mut content = self.push_pages(content)?;
        while !content.is_empty() {
            if self.filled == LEN {
                self.write_out()?;
            }
            let part = content.len().min(LEN - self.filled);
            self.buffer.as_mut()[self.filled..self.filled + part].copy_from_slice(&content[..part]);
            self.filled += part;
            content = &content[part..];
        }
        Ok(())
    }

    /// Writes the whole pages of content that is aligned as the slot is at this place, from where it is. Gives the rest.
    fn push_pages<'a>(&mut self, content: &'a [u8]) -> io::Result<&'a [u8]> {
        let whole = content.len() - content.len() % ALIGN;
        let aligned = content.as_ptr().align_offset(ALIGN) == 0 && self.filled.is_multiple_of(ALIGN);
        // What is short goes with the header, in one write.
        if !aligned || whole < LEN / 2 {
            return Ok(content);
        }
        self.write_out()?;
        let (pages, rest) = content.split_at(whole);
        write(&mut self.file, &self.cached, pages, self.slot + self.at)?;
        self.at += whole as u64;
        Ok(rest)
    }

    /// Writes all that came, without a header, so that it can be read back.
    pub fn settle(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.write_first(&[])
    }

    /// Ends the slot. Durable after the next sync.
    pub fn end(mut self, header: &[u8]) -> io::Result<()> {
        if self.first.is_none() {
            // All of it is still here: one write.
            self.buffer.as_mut()[..header.len()].copy_from_slice(header);
            return self.write_buffer(0);
        }
        self.write_out()?;
        self.write_first(header)
    }

    /// Empties the buffer; the header's pages stay for the header.
    fn write_out(&mut self) -> io::Result<()> {
        if self.first.is_some() {
            return self.write_buffer(0);
        }
        let head = self.head;
        if self.filled < head {
            self.buffer.as_mut()[self.filled..head].fill(0);
        }
        self.first = Some(self.buffer.as_ref()[..head].into());
        self.write_buffer(head)
    }

    /// Writes the buffer's pages from byte `from` on. Behind the content there are zeros up to the end of its last page.
    fn write_buffer(&mut self, from: usize) -> io::Result<()> {
        let (begin, end) = (self.at, self.filled.next_multiple_of(ALIGN));
        self.buffer.as_mut()[self.filled..end].fill(0);
        let pages = self.buffer.as_ref().get(from..end).unwrap_or_default();
        if !pages.is_empty() {
            write(
                &mut self.file,
                &self.cached,
                pages,
                self.slot + begin + from as u64,
            )?;
        }
        self.at += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    fn write_first(&mut self, header: &[u8]) -> io::Result<()> {
        let Some(first) = &self.first else {
            return Ok(());
        };
        let pages = &mut self.buffer.as_mut()[..first.len()];
        pages.copy_from_slice(first);
        pages[..header.len()].copy_from_slice(header);
        write(&mut self.file, &self.cached, pages, self.slot)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Content of `len` bytes in parts of `step`, in memory that begins `skew` bytes behind a page.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        len: usize,
        slot: u64,
        header: usize,
        step: usize,
        skew: usize,
        settle: bool,
    }

    fn written(case: Case) {
        let Case {
            len, slot, header, ..
        } = case;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let cached = Arc::new(File::create_new(&path).unwrap());
        cached
            .set_len(slot + (len + header).next_multiple_of(ALIGN) as u64)
            .unwrap();
        let file = open(&path).unwrap_or_else(|| cached.clone());
        let buffers = Arc::new(Buffers::default());
        // A buffer that was used has bytes of another chunk in it.
        buffers.take().as_mut().fill(0xee);
        let memory: Vec<u8> = (0..len + 2 * ALIGN)
            .map(|at| (at * 7 + at / 4096) as u8)
            .collect();
        let content = &memory[memory.as_ptr().align_offset(ALIGN) + case.skew..][..len];
        let mut direct = Direct::begin(&buffers, file, cached, slot, header);
        content
            .chunks(case.step)
            .for_each(|part| direct.push(part).unwrap());
        if case.settle {
            direct.settle().unwrap();
            let got = std::fs::read(&path).unwrap();
            assert!(
                got[slot as usize..][..header].iter().all(|byte| *byte == 0),
                "{case:?}"
            );
            assert!(got[slot as usize + header..][..len] == *content, "{case:?}");
        }
        direct.end(&vec![0xaa; header]).unwrap();
        let got = std::fs::read(&path).unwrap();
        let (before, got) = got.split_at(slot as usize);
        assert!(before.iter().all(|byte| *byte == 0));
        assert!(got[..header].iter().all(|byte| *byte == 0xaa), "{case:?}");
        let (here, behind) = got[header..].split_at(len);
        assert!(here == content, "{case:?}");
        assert!(behind.iter().all(|byte| *byte == 0), "{case:?}");
        assert_eq!(buffers.kept(), 1, "the buffer is given back");
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
            2 * mib + 700_001,
        ];
        for len in lens {
            for (header, skew) in [(1024, 0), (4096, 0), (4096, 1), (12_288, 0)] {
                for (slot, step, settle) in [
                    (4096, mib, false),
                    (4096, mib, true),
                    (3 * 4096, 65_536, false),
                    (3 * 4096, 65_536, true),
                ] {
                    written(Case {
                        len,
                        slot,
                        header,
                        step,
                        skew,
                        settle,
                    });
                }
            }
        }
    }

    #[test]
    fn a_place_that_is_not_aligned_is_written_all_the_same() {
        for (header, settle) in [(1024, false), (1024, true), (4096, false), (4096, true)] {
            written(Case {
                len: 3 << 20,
                slot: 100,
                header,
                step: 1 << 20,
                skew: 0,
                settle,
            });
        }
    }
}
