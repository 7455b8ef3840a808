//! Page tables of slots: reading pages with them, for readers at random places, and comparing a whole table with the
//! content that it describes, for checks and for opening after a crash. Of wire and clients it knows nothing.

use super::super::{Pages, StoreError};
use super::Inner;
use super::index::Place;
use dfs_core::chunk::BLOCK_SIZE;
use dfs_core::chunk::header::{Layout, decode_table, table_at};
use dfs_core::chunk::pages::{
    PAGE_SIZE, PAGES_OF_BLOCK, combine_blocks, first_bad_block_of_pages, page_count,
};
use dfs_core::ids::ChunkId;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

impl Inner {
    pub(super) fn read_pages(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Pages, StoreError> {
        let place = self.trusted(chunk)?;
        let end = first.saturating_add(count).min(page_count(place.len()));
        let pages = first.min(end)..end;
        match place.layout() {
            _ if pages.is_empty() => Ok(Pages {
                first: pages.start,
                payload: Default::default(),
                crcs: Vec::new(),
            }),
            Layout::Blocks => self.pages_of_blocks(chunk, place, pages),
            Layout::Pages => self.pages_of_table(chunk, place, pages),
        }
    }

    /// From a slot without a table: the blocks are read whole, and checked here.
    fn pages_of_blocks(&self, chunk: ChunkId, place: Place, pages: Range<u32>) -> Result<Pages, StoreError> {
        let blocks = blocks_of(&pages);
        let header = self.header(chunk, place)?;
        let read = self.read_blocks(&header, place, blocks.start, blocks.len() as u32)?;
        let mut crcs = Vec::new();
        if let Some(bad) = first_bad_block_of_pages(read.first, &read.payload, &read.crcs, &mut crcs) {
            let reason = format!("block {bad} does not match its CRC-32C");
            return Err(StoreError::Corrupt { chunk, reason });
        }
        let skipped = (pages.start - blocks.start * PAGES_OF_BLOCK) as usize;
        let from = skipped * PAGE_SIZE as usize;
        let to = read.payload.len().min(from + pages.len() * PAGE_SIZE as usize);
        Ok(Pages {
            first: pages.start,
            // A copy: a slice would keep the whole blocks until it is sent.
            payload: read.payload[from..to].to_vec().into(),
            crcs: crcs[skipped..skipped + pages.len()].to_vec(),
        })
    }

    fn pages_of_table(&self, chunk: ChunkId, place: Place, pages: Range<u32>) -> Result<Pages, StoreError> {
        let segment = self.segment(place.segment)?;
        let file = self.file(&segment)?;
        let failed = |e: io::Error| self.read_error(chunk, place, &e);
        let blocks = blocks_of(&pages);
        let known = (blocks.end * PAGES_OF_BLOCK).min(page_count(place.len()));
        let table = table_at(place.len()) as usize;
        // The header and the table up to what is wanted, in one read.
        let mut head = vec![0; table + 4 * known as usize];
        file.read_exact_at(&mut head, place.offset()).map_err(failed)?;
        let header = super::read::decoded(chunk, place, &segment.uuid, &head)?;
        let first_known = blocks.start * PAGES_OF_BLOCK;
        let crcs = decode_table(&head[table + 4 * first_known as usize..]);
        let covered = (blocks.end * BLOCK_SIZE).min(place.len()) - blocks.start * BLOCK_SIZE;
        let said = &header.crcs[blocks.start as usize..blocks.end as usize];
        if !combine_blocks(&crcs, covered as usize).eq(said.iter().copied()) {
            return Err(StoreError::Corrupt {
                chunk,
                reason: "its page table does not match its blocks".into(),
            });
        }
        let from = pages.start * PAGE_SIZE;
        let to = (pages.end * PAGE_SIZE).min(place.len());
        let mut payload = vec![0; (to - from) as usize];
        file.read_exact_at(&mut payload, place.content() + u64::from(from))
            .map_err(failed)?;
        let wanted = (pages.start - first_known) as usize;
        Ok(Pages {
            first: pages.start,
            payload: payload.into(),
            crcs: crcs[wanted..wanted + pages.len()].to_vec(),
        })
    }
}

/// The blocks that hold the pages, of which there is at least one.
fn blocks_of(pages: &Range<u32>) -> Range<u32> {
    pages.start / PAGES_OF_BLOCK..pages.end.div_ceil(PAGES_OF_BLOCK)
}

/// Whether the slot at `offset` of a chunk of `len` bytes has the page table `pages`.
pub fn table_matches(file: &File, offset: u64, len: u32, pages: &[u32]) -> io::Result<bool> {
    let mut table = vec![0; 4 * page_count(len) as usize];
    file.read_exact_at(&mut table, offset + u64::from(table_at(len)))?;
    Ok(decode_table(&table) == pages)
}
