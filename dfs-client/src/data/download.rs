//! Fetching blocks from the members of a replica set: the least loaded healthy one first; another when it is
//! frozen, fails, or sends what does not match its checksums; and another beside it when it is far slower than usual.

use super::Data;
use super::fetch::{Fetch, Source};
use crate::channel::{Backoff, InUse, MESSAGE_MAX, Peer};
use crate::observe::request;
use bytes::Bytes;
use dfs_core::chunk::{BLOCK_SIZE, crc32c};
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, NodeId};
use dfs_proto::v1;
use dfs_proto::v1::chunks_client::ChunksClient;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Streaming;

/// A member that answers pings and sends nothing for so long has a disk that does not work.
const SILENCE: Duration = Duration::from_secs(20);
/// Between rounds over all members.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(1);
/// Rounds in which every member said that it has no good copy: more would say the same.
const HOPELESS: u32 = 3;
/// A member is slower than usual by far after so many times its usual answer, within these bounds.
const HEDGE_TIMES: u32 = 4;
const HEDGE_LEAST: Duration = Duration::from_millis(60);
const HEDGE_MOST: Duration = Duration::from_secs(1);
const HEDGE_UNKNOWN: Duration = Duration::from_millis(250);
/// Second members asked at one time by a mount: when everything is slow, asking more makes it slower.
pub(super) const HEDGES: usize = 4;

enum Trouble {
    Failed(String),
    /// The copy does not match its checksums.
    Bad(String),
    /// The member has no copy.
    Absent(String),
}

struct Member {
    node: v1::Node,
    peer: Arc<Peer>,
}

/// The next group of a member's stream.
type Answer = (
    Member,
    Result<(Streaming<v1::BlockGroup>, v1::BlockGroup), Trouble>,
);

/// The blocks that are wanted: consecutive ones, of which the first `done` have come.
struct Wanted {
    chunk: ChunkId,
    first: u32,
    fetches: Vec<Arc<Fetch>>,
    done: usize,
}

impl Wanted {
    fn is_done(&self) -> bool {
        self.done >= self.fetches.len()
    }
}

/// How a round over all members ended.
enum Round {
    Done,
    Failed,
    /// Every member has a bad copy or none.
    AllBad,
}

impl Data {
    /// Brings `fetches`, consecutive blocks from `first` on, to completion.
    pub(super) async fn download(self: Arc<Self>, chunk: ChunkId, first: u32, fetches: Vec<Arc<Fetch>>) {
        let mut wanted = Wanted {
            chunk,
            first,
            fetches,
            done: 0,
        };
        let mut reasons = Vec::new();
        let begun = Instant::now();
        let mut pause = Backoff::new(PAUSE, PAUSE_MOST, Some(Instant::now() + self.timeout));
        let mut hopeless = 0;
        loop {
            reasons.clear();
            match self.round(&mut wanted, &mut reasons).await {
                Round::Done => {
                    self.session.figures().downloads.since(begun);
                    return;
                }
                Round::AllBad => hopeless += 1,
                Round::Failed => hopeless = 0,
            }
            if hopeless == HOPELESS || !pause.wait().await {
                break;
            }
        }
        tracing::error!(%chunk, first, ?reasons, "no member has a readable copy");
        for (number, fetch) in (first..).zip(&wanted.fetches).skip(wanted.done) {
            self.fetches.remove(&(chunk, number));
            fetch.complete(Err(FsError::Io), Source::Nobody);
        }
    }

    /// Asks the members, best first, until all blocks are here or none is left to ask.
    async fn round(&self, wanted: &mut Wanted, reasons: &mut Vec<String>) -> Round {
        let mut members = self.readers(wanted.chunk).into_iter();
        let mut asked: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        let mut patience = Some(HEDGE_UNKNOWN);
        let mut second = None;
        let mut all_bad = members.len() > 0;
        while !wanted.is_done() {
            if asked.is_empty() {
                let Some(member) = members.next() else {
                    return if all_bad { Round::AllBad } else { Round::Failed };
                };
                patience = Some(patience_with(&member.peer));
                asked.push(self.begin(member, wanted));
            }
            let answer = match patience.filter(|_| second.is_none() && members.len() > 0) {
                Some(patience) => tokio::time::timeout(patience, asked.next()).await,
                None => Ok(asked.next().await),
            };
            let Ok(answer) = answer else {
                // Far slower than usual: whichever of the two answers first goes on.
                second = self.hedges.try_acquire().ok();
                match second.as_ref().and_then(|_| members.next()) {
                    Some(member) => asked.push(self.begin(member, wanted)),
                    None => patience = None,
                }
                continue;
            };
            let Some((member, next)) = answer else { continue };
            let accepted = next.and_then(|(stream, group)| self.accept(wanted, group).map(|()| stream));
            match accepted {
                Ok(stream) => {
                    asked.clear();
                    second = None;
                    patience = Some(patience_with(&member.peer));
                    if wanted.is_done() {
                        member.peer.succeeded();
                    } else {
                        asked.push(Box::pin(go_on(member, stream)));
                    }
                }
                Err(trouble) => {
                    all_bad &= !matches!(trouble, Trouble::Failed(_));
                    reasons.push(self.note(&member, wanted.chunk, trouble));
                }
            }
        }
        Round::Done
    }

    /// The members to ask, best first.
    fn readers(&self, chunk: ChunkId) -> Vec<Member> {
        let map = self.session.map();
        let members = map.members(chunk.set).into_iter();
        let mut readers: Vec<Member> = members
            .filter_map(|node| {
                let peer = self.pool.peer(&node.address).ok()?;
                Some(Member { node, peer })
            })
            .collect();
        let spread = readers.len().max(1) as u64;
        readers.sort_by_key(|Member { node, peer }| {
            let turn = (chunk.seq + u64::from(node.id)) % spread;
            let filled = !map.is_joining(chunk.set, NodeId(node.id));
            (!(node.alive && peer.is_healthy()), !filled, peer.load(), turn)
        });
        readers
    }

    /// The member to ask first, if it answers.
    pub(super) fn best_reader(&self, chunk: ChunkId) -> Option<Arc<Peer>> {
        let best = self.readers(chunk).into_iter().next()?;
        (best.node.alive && best.peer.is_healthy()).then_some(best.peer)
    }

    fn note(&self, Member { node, peer }: &Member, chunk: ChunkId, trouble: Trouble) -> String {
        match trouble {
            Trouble::Failed(reason) => {
                peer.failed();
                format!("{}: {reason}", node.address)
            }
            Trouble::Absent(reason) if !self.session.map().is_full_member(chunk.set, NodeId(node.id)) => {
                format!("{}: {reason}", node.address)
            }
            Trouble::Bad(reason) | Trouble::Absent(reason) => {
                tracing::warn!(%chunk, member = node.address, reason, "a bad copy; another member is asked");
                let chunk = Some(chunk.into());
                self.session.report_bad_copy(v1::BadCopy {
                    chunk,
                    node: node.id,
                    reason: reason.clone(),
                });
                format!("{}: {reason}", node.address)
            }
        }
    }

    /// Asks a member for what is still wanted: its first group.
    fn begin(&self, member: Member, wanted: &Wanted) -> BoxFuture<'static, Answer> {
        let request = v1::GetRequest {
            cluster: self.session.map().cluster.clone(),
            chunk: Some(wanted.chunk.into()),
            first_block: wanted.first + wanted.done as u32,
            blocks: (wanted.fetches.len() - wanted.done) as u32,
            repair: false,
        };
        let request = request::with(request, &request::transfer(self.session.id(), wanted.chunk));
        let peer = member.peer.clone();
        let first = async move {
            let mut client = ChunksClient::new(peer.channel()).max_decoding_message_size(MESSAGE_MAX);
            let mut stream = client.get(request).await?.into_inner();
            let group = stream.message().await?;
            Ok((stream, group))
        };
        Box::pin(answered(member, first))
    }

    fn accept(&self, wanted: &mut Wanted, group: v1::BlockGroup) -> Result<(), Trouble> {
        let expected = wanted.first + wanted.done as u32;
        let disk_time = Duration::from_micros(group.disk_us.into());
        let blocks = group.payload.len().div_ceil(BLOCK_SIZE as usize);
        if group.first_block != expected || blocks != group.crcs.len() || blocks == 0 {
            return Err(Trouble::Bad("blocks out of order".to_string()));
        }
        for (content, crc) in group.payload.chunks(BLOCK_SIZE as usize).zip(&group.crcs) {
            let number = wanted.first + wanted.done as u32;
            if crc32c(content) != *crc {
                return Err(Trouble::Bad(format!(
                    "block {number} does not match its checksum"
                )));
            }
            let Some(fetch) = wanted.fetches.get(wanted.done) else {
                break;
            };
            // Copied, so that a block in the cache does not keep its whole message in memory.
            let content = Bytes::copy_from_slice(content);
            self.take_from_datanode((wanted.chunk, number), content, disk_time, fetch);
            wanted.done += 1;
        }
        Ok(())
    }
}

/// When a peer that lets a reader wait is slower than usual by far.
fn patience_with(peer: &Peer) -> Duration {
    peer.usual_answer().map_or(HEDGE_UNKNOWN, |usual| {
        (usual * HEDGE_TIMES).clamp(HEDGE_LEAST, HEDGE_MOST)
    })
}

/// The next group of a stream that has begun.
async fn go_on(member: Member, mut stream: Streaming<v1::BlockGroup>) -> Answer {
    answered(member, async move {
        let group = stream.message().await?;
        Ok((stream, group))
    })
    .await
}

/// What a member answers, waited for while it answers pings.
async fn answered(
    member: Member,
    work: impl Future<Output = Result<(Streaming<v1::BlockGroup>, Option<v1::BlockGroup>), tonic::Status>>,
) -> Answer {
    let waiting = Waiting::begin(&member.peer);
    let work = member.peer.while_alive(tokio::time::timeout(SILENCE, work)).await;
    drop(waiting);
    let next = match work {
        Err(frozen) => Err(Trouble::Failed(frozen.to_string())),
        Ok(Err(_)) => Err(Trouble::Failed("slow".to_string())),
        Ok(Ok(Err(status))) => Err(failed(status)),
        Ok(Ok(Ok((_, None)))) => Err(Trouble::Bad("fewer blocks than metadata says".to_string())),
        Ok(Ok(Ok((stream, Some(group))))) => Ok((stream, group)),
    };
    (member, next)
}

/// A wait for a peer: its length is noted however it ends, also when another member was quicker.
struct Waiting {
    began: Instant,
    in_use: InUse,
}

impl Waiting {
    fn begin(peer: &Arc<Peer>) -> Waiting {
        Waiting {
            began: Instant::now(),
            in_use: peer.begin(),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.in_use.peer().answered_in(self.began.elapsed());
    }
}

fn failed(status: tonic::Status) -> Trouble {
    match status.code() {
        tonic::Code::DataLoss => Trouble::Bad(status.message().to_string()),
        tonic::Code::NotFound => Trouble::Absent(status.message().to_string()),
        _ => Trouble::Failed(format!("{:?}: {}", status.code(), status.message())),
    }
}
