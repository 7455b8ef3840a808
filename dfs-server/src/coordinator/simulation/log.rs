//! The replicated log as etcd gives it: a leader key under a lease, and appends that take effect only while that
//! key has the revision of the one who appends, behind the record before, where none is yet. With one coordinator
//! it is the embedded log, whose last record a crash may tear.

use super::world::{SEC, Time};
use dfs_core::ids::{Index, Term};
use dfs_core::record::{Record, RecordError};
use std::collections::BTreeMap;

/// How long the leader's key lives without a keepalive.
pub const TTL: Time = 2 * SEC;
/// The same of a coordinator's own entry.
const LIVES: Time = 4 * SEC;

struct Leader {
    coordinator: usize,
    revision: u64,
    expires: Time,
}

#[derive(Default)]
pub struct Log {
    records: Vec<Vec<u8>>,
    /// Records that were here and were trimmed.
    pub trimmed: u64,
    /// The newest checkpoint of each coordinator that lives, and until when it counts as living.
    registry: BTreeMap<usize, (Index, Time)>,
    leader: Option<Leader>,
    revision: u64,
    /// No majority until then: nobody is answered, and no lease runs out.
    pub lost_until: Time,
    /// A rule broken on purpose: whoever appends is believed.
    pub unfenced: bool,
    /// The embedded log: nobody else can lead.
    pub alone: bool,
}

#[derive(Clone, Debug)]
pub enum LogRequest {
    Campaign,
    KeepAlive {
        revision: u64,
    },
    Append {
        revision: u64,
        index: Index,
        bytes: Vec<u8>,
    },
    Read {
        revision: u64,
        from: Index,
    },
    Follow {
        from: Index,
    },
    Trim {
        revision: u64,
        up_to: Index,
    },
    /// This coordinator lives and has a good checkpoint.
    Note {
        checkpoint: Index,
    },
}

#[derive(Clone, Debug)]
pub enum LogReply {
    /// The key is ours under this revision.
    Won {
        revision: u64,
    },
    /// Somebody else has it, or we have it no more.
    Lost,
    Alive,
    Appended,
    Records(Vec<Record>),
    /// What was asked for is gone from the log, which begins after this.
    Trimmed(Index),
    /// The checkpoints of the others that live.
    Peers(Vec<Index>),
}

impl Log {
    /// One request, done whole or not at all; `None` without a majority.
    pub fn serve(&mut self, now: Time, from: usize, request: &LogRequest) -> Option<LogReply> {
        if now < self.lost_until {
            return None;
        }
        self.expire(now);
        Some(match request {
            LogRequest::Campaign => self.campaign(now, from),
            LogRequest::KeepAlive { revision } => match &mut self.leader {
                Some(leader) if leader.revision == *revision => {
                    leader.expires = now + TTL;
                    LogReply::Alive
                }
                _ => LogReply::Lost,
            },
            LogRequest::Append {
                revision,
                index,
                bytes,
            } => self.append(*revision, *index, bytes),
            LogRequest::Read { revision, from } => {
                if self.leads(*revision) {
                    self.cut_torn_tail();
                    self.read(*from)
                } else {
                    LogReply::Lost
                }
            }
            LogRequest::Follow { from } => self.read(*from),
            LogRequest::Trim { revision, up_to } => self.trim(*revision, *up_to),
            LogRequest::Note { checkpoint } => self.note(now, from, *checkpoint),
        })
    }

    /// The last record stays: the next one is compared with it.
    fn trim(&mut self, revision: u64, up_to: Index) -> LogReply {
        if !self.leads(revision) {
            return LogReply::Lost;
        }
        let end = up_to.0.min(self.last().0.0.saturating_sub(1));
        let count = end.saturating_sub(self.trimmed);
        self.records.drain(..count as usize);
        self.trimmed += count;
        LogReply::Trimmed(Index(self.trimmed))
    }

    fn note(&mut self, now: Time, from: usize, checkpoint: Index) -> LogReply {
        self.registry.insert(from, (checkpoint, now + LIVES));
        let others = self
            .registry
            .iter()
            .filter(|(other, (_, until))| **other != from && *until > now);
        LogReply::Peers(others.map(|(_, (checkpoint, _))| *checkpoint).collect())
    }

    /// The majority is back: a new leader among the log's members gives every lease its whole time again.
    pub fn restore(&mut self, now: Time) {
        if let Some(leader) = &mut self.leader {
            leader.expires = now + TTL;
        }
    }

    fn expire(&mut self, now: Time) {
        if !self.alone && self.leader.as_ref().is_some_and(|leader| leader.expires <= now) {
            self.leader = None;
        }
    }

    fn campaign(&mut self, now: Time, from: usize) -> LogReply {
        match &self.leader {
            Some(leader) if leader.coordinator != from => LogReply::Lost,
            // A new life of the same coordinator takes over its old key under a new revision.
            _ => {
                self.revision += 1;
                self.leader = Some(Leader {
                    coordinator: from,
                    revision: self.revision,
                    expires: now + TTL,
                });
                LogReply::Won {
                    revision: self.revision,
                }
            }
        }
    }

    pub fn leads(&self, revision: u64) -> bool {
        self.leader
            .as_ref()
            .is_some_and(|leader| leader.revision == revision)
    }

    fn append(&mut self, revision: u64, index: Index, bytes: &[u8]) -> LogReply {
        let Some(place) = (index.0 - 1)
            .checked_sub(self.trimmed)
            .map(|place| place as usize)
        else {
            return LogReply::Lost;
        };
        if self.records.get(place).is_some_and(|held| held == bytes) {
            return LogReply::Appended;
        }
        let leads = self.leads(revision) || self.unfenced;
        if !leads || place != self.records.len() {
            return LogReply::Lost;
        }
        self.records.push(bytes.to_vec());
        LogReply::Appended
    }

    /// A crash in the middle of an append: the first part of the record is on the disk.
    pub fn tear(&mut self, bytes: &[u8], kept: usize) {
        self.records.push(bytes[..kept.min(bytes.len() - 1)].to_vec());
    }

    fn cut_torn_tail(&mut self) {
        let torn =
            |bytes: &Vec<u8>| matches!(Record::decode(bytes), Err(RecordError::Torn | RecordError::Empty));
        if self.records.last().is_some_and(torn) {
            self.records.pop();
        }
    }

    fn read(&self, from: Index) -> LogReply {
        let Some(skipped) = from.0.saturating_sub(1).checked_sub(self.trimmed) else {
            return LogReply::Trimmed(Index(self.trimmed));
        };
        let records = self.records.iter().skip(skipped as usize);
        let decode = |bytes: &Vec<u8>| Record::decode(bytes).expect("what was appended whole decodes");
        LogReply::Records(records.map(decode).collect())
    }

    pub fn last(&self) -> (Index, Term) {
        let index = Index(self.trimmed + self.records.len() as u64);
        let last = self.records.last().map(|bytes| Record::decode(bytes));
        (
            index,
            last.and_then(Result::ok).map_or(Term(0), |record| record.term),
        )
    }
}
