//! The quick way of a small read: the reading thread itself asks the best member on a framed connection and takes the
//! answer, without a task in between; what is read ahead goes the same way on threads of its own. It is an attempt:
//! whatever is not at once as it should be is left to `download`, which knows all the ways out. Whoever waits for the same
//! blocks is served by it as well.

use super::Data;
use super::fetch::Fetch;
use crate::channel::{Exchange, InUse, Peer};
use crate::figures;
use crate::observe::request;
use crate::profile::Times;
use bytes::Bytes;
use dfs_core::chunk::{BLOCK_SIZE, crc32c};
use dfs_core::ids::ChunkId;
use dfs_proto::v1::framed_request::Body;
use dfs_proto::{frames, v1};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than this takes a slow disk, a full queue or a frozen peer: those are not for a thread that waits. Far below
/// the second within which a read must have found another member.
const LIMIT: Duration = Duration::from_millis(60);

/// Runs of blocks that are fetched ahead at one time: with a MiB each and 10 ms to an answer, 800 MiB a second.
pub(super) const AHEAD: usize = 8;

/// Blocks that were asked for and have not come. Dropped, they go the long way.
pub(super) struct Quick {
    data: Arc<Data>,
    chunk: ChunkId,
    /// The first block that has not come, and its fetch and those behind it.
    first: u32,
    fetches: Vec<Arc<Fetch>>,
    exchange: Option<(Exchange, Arc<Peer>)>,
    began: Instant,
    _in_use: InUse,
}

impl Data {
    /// Asks the best member for consecutive blocks; gives them back when this is not the time for the quick way. Whoever
    /// gets a `Quick` must settle it before waiting for anybody else, who may wait for it.
    pub(super) fn ask_quickly(
        self: &Arc<Self>,
        chunk: ChunkId,
        first: u32,
        fetches: Vec<Arc<Fetch>>,
    ) -> Result<Quick, Vec<Arc<Fetch>>> {
        let many = fetches.len() > frames::BLOCKS_MAX as usize;
        let kept =
            |at: usize| (self.disk.as_ref()).is_some_and(|disk| disk.contains(&(chunk, first + at as u32)));
        if many || (0..fetches.len()).any(kept) {
            return Err(fetches);
        }
        let _runtime = self.runtime.enter();
        let Some(peer) = self.best_reader(chunk) else {
            return Err(fetches);
        };
        let Some(mut exchange) = peer.framed(&self.runtime) else {
            return Err(fetches);
        };
        let get = v1::GetRequest {
            cluster: self.session.map().cluster.clone(),
            chunk: Some(chunk.into()),
            first_block: first,
            blocks: fetches.len() as u32,
            repair: false,
        };
        let request = request::transfer(self.session.id(), chunk);
        match exchange.ask(request, Body::Get(get), &[]) {
            Ok(()) => Ok(Quick {
                data: self.clone(),
                chunk,
                first,
                fetches,
                _in_use: peer.begin(),
                exchange: Some((exchange, peer)),
                began: Instant::now(),
            }),
            // An idle connection that the server has ended meanwhile.
            Err(_) => Err(fetches),
        }
    }
}

impl Data {
    /// Brings consecutive blocks that nobody waits for yet: in runs that fit a frame, each by a thread of its own, in the
    /// order in which a reader will want them.
    pub(super) async fn bring_ahead(self: Arc<Self>, chunk: ChunkId, first: u32, fetches: Vec<Arc<Fetch>>) {
        let (mut first, mut left) = (first, fetches);
        while !left.is_empty() {
            let rest = left.split_off(left.len().min(frames::BLOCKS_MAX as usize));
            let run = std::mem::replace(&mut left, rest);
            let (at, len) = (first, run.len() as u32);
            first += len;
            let Ok(permit) = self.ahead.clone().acquire_owned().await else {
                self.runtime.spawn(self.clone().bring(chunk, at, run));
                continue;
            };
            let data = self.clone();
            self.runtime.spawn_blocking(move || {
                match data.ask_quickly(chunk, at, run) {
                    Ok(quick) => quick.settle(),
                    Err(run) => drop(data.runtime.spawn(data.clone().bring(chunk, at, run))),
                }
                drop(permit);
            });
        }
    }
}

impl Quick {
    /// Takes the answer. What did not come, or not as its checksums say, goes the long way.
    pub fn settle(mut self) {
        let Some((mut exchange, peer)) = self.exchange.take() else {
            return;
        };
        let begun = Instant::now();
        let mut on_disk = Duration::ZERO;
        let taken = self.take(&mut exchange, &mut on_disk);
        figures::waited("datanodes", self.began, String::new);
        // What it waited for others that it had asked is said by those.
        figures::spent(&Times::at_datanode(begun.elapsed(), on_disk));
        match taken {
            Some(()) => {
                exchange.end();
                peer.succeeded();
                peer.answered_in(self.began.elapsed());
                let figures = self.data.session.figures();
                figures.downloads.since(self.began);
                figures.quick_reads.inc();
            }
            None => {
                tracing::debug!(chunk = %self.chunk, member = peer.address(), "the quick way of a read ended")
            }
        }
    }

    fn take(&mut self, exchange: &mut Exchange, on_disk: &mut Duration) -> Option<()> {
        let reply = exchange.answer(LIMIT).ok()?;
        *on_disk = Duration::from_micros(reply.disk_us.into());
        let group = reply.group.filter(|_| reply.code == 0)?;
        let blocks = self.fetches.len();
        let bytes = reply.payload as usize;
        let whole = bytes.div_ceil(BLOCK_SIZE as usize) == blocks && group.crcs.len() == blocks;
        if !whole || group.first_block != self.first {
            return None;
        }
        let mut left = bytes;
        for crc in group.crcs {
            let content = exchange.payload(left.min(BLOCK_SIZE as usize)).ok()?;
            if crc32c(&content) != crc {
                return None;
            }
            left -= content.len();
            let fetch = self.fetches.remove(0);
            let key = (self.chunk, self.first);
            self.data
                .take_from_datanode(key, Bytes::from(content), *on_disk, &fetch);
            self.first += 1;
        }
        Some(())
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        let fetches = std::mem::take(&mut self.fetches);
        if !fetches.is_empty() {
            let long = self.data.clone().bring(self.chunk, self.first, fetches);
            self.data.runtime.spawn(long);
        }
    }
}
