//! Small reads at random places of files that memory cannot hold: only the pages that are wanted come, asked for by the
//! reading thread itself on a framed connection, as in `quick`. Nothing of them is kept here, the kernel keeps its pages.
//! It is an attempt: whatever is not at once as it should be is read by blocks, which know all the ways out.

use super::Data;
use super::fetch::blocks_of;
use super::levels::Served;
use crate::channel::{Exchange, InUse, Peer};
use crate::figures;
use crate::observe::request;
use crate::profile::Times;
use bytes::Bytes;
use dfs_core::chunk::pages::{PAGE_SIZE, page_crcs};
use dfs_core::ids::ChunkId;
use dfs_proto::v1;
use dfs_proto::v1::framed_request::Body;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;

/// A longer read takes a good part of its block, and what a block costs more is little.
const LEN_MAX: u32 = 16 << 10;
/// As for quick reads of blocks: longer is for those who can ask a second member.
const LIMIT: Duration = Duration::from_millis(60);

/// Pages that were asked for.
pub(super) struct PageRead {
    data: Arc<Data>,
    chunk: ChunkId,
    offset: u32,
    len: u32,
    exchange: Exchange,
    peer: Arc<Peer>,
    began: Instant,
    _in_use: InUse,
}

impl Data {
    /// Asks the best member for the pages that hold `len` bytes from `offset` on; none when this is not the time for it:
    /// also when one of their blocks is here or on its way.
    pub(super) fn ask_pages(self: &Arc<Self>, chunk: ChunkId, offset: u32, len: u32) -> Option<PageRead> {
        let (first, last) = blocks_of(offset, len);
        let known = |block| self.cache.contains(&(chunk, block)) || self.fetches.contains(&(chunk, block));
        if len > LEN_MAX || (first..=last).any(known) {
            return None;
        }
        let _runtime = self.runtime.enter();
        let peer = self.best_reader(chunk).filter(|peer| peer.takes_pages())?;
        let mut exchange = peer.framed(&self.runtime)?;
        let pages = pages_of(offset, len);
        let get = v1::FramedGetPages {
            cluster: self.session.map().cluster.clone(),
            chunk: Some(chunk.into()),
            first_page: pages.start,
            pages: pages.len() as u32,
        };
        let request = request::transfer(self.session.id(), chunk);
        // An idle connection may have been ended meanwhile.
        exchange.ask(request, Body::GetPages(get), &[]).ok()?;
        Some(PageRead {
            data: self.clone(),
            chunk,
            offset,
            len,
            _in_use: peer.begin(),
            exchange,
            peer,
            began: Instant::now(),
        })
    }
}

impl PageRead {
    /// Takes the answer: what was wanted, or nothing, and then it is to be read by blocks.
    pub fn settle(mut self) -> Option<Bytes> {
        let begun = Instant::now();
        let mut on_disk = Duration::ZERO;
        let taken = self.take(&mut on_disk);
        figures::waited("datanodes", self.began, String::new);
        figures::spent(&Times::at_datanode(begun.elapsed(), on_disk));
        let Some(content) = taken else {
            tracing::debug!(chunk = %self.chunk, member = self.peer.address(), "a read of pages ended");
            return None;
        };
        self.exchange.end();
        self.peer.succeeded();
        self.peer.answered_in(self.began.elapsed());
        Served::count(&self.data.served.datanodes, &content);
        let figures = self.data.session.figures();
        figures.downloads.since(self.began);
        figures.page_reads.inc();
        let from = (self.offset % PAGE_SIZE) as usize;
        Some(content.slice(from..from + self.len as usize))
    }

    /// All the pages, as their checksums say.
    fn take(&mut self, on_disk: &mut Duration) -> Option<Bytes> {
        let reply = self.exchange.answer(LIMIT).ok()?;
        *on_disk = Duration::from_micros(reply.disk_us.into());
        if reply.code == Code::Unimplemented as u32 {
            self.peer.knows_no_pages();
        }
        let group = reply.pages.filter(|_| reply.code == 0)?;
        let pages = pages_of(self.offset, self.len);
        let (bytes, least) = (
            reply.payload as usize,
            (self.offset % PAGE_SIZE + self.len) as usize,
        );
        let whole = bytes >= least && bytes.div_ceil(PAGE_SIZE as usize) == pages.len();
        if !whole || group.first_page != pages.start || group.crcs.len() != pages.len() {
            return None;
        }
        let content = self.exchange.payload(bytes).ok()?;
        let mut crcs = Vec::with_capacity(pages.len());
        page_crcs(&content, &mut crcs);
        (crcs == group.crcs).then(|| content.into())
    }
}

fn pages_of(offset: u32, len: u32) -> std::ops::Range<u32> {
    offset / PAGE_SIZE..(offset + len.max(1)).div_ceil(PAGE_SIZE)
}
