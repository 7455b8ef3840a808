//! Chunk ids that the session holds but has not used: writing needs no round trip to get one. They are used as long as
//! their set's members are those of when they came: a commit does not count the copy of a member that has joined since, which
//! could be one of an earlier time.

use crate::session::{Map, Session};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{ChunkId, NodeId, SetId};
use dfs_core::op::{Op, Reply};
use parking_lot::Mutex;
use std::ops::Range;

/// Ids asked for at a time.
const RANGE: u32 = 256;
/// Most ranges kept: sets that cannot take data for a while leave their ranges unused.
const RANGES_MAX: usize = 16;

struct Held {
    set: SetId,
    numbers: Range<u64>,
    members: Vec<NodeId>,
}

#[derive(Default)]
pub(crate) struct Stock {
    ranges: Mutex<Vec<Held>>,
    asking: tokio::sync::Mutex<()>,
}

impl Stock {
    /// A fresh id in a set that is none of `avoid`. `NoSpace` when no set can take data.
    pub async fn take(&self, session: &Session, avoid: &[SetId]) -> FsResult<ChunkId> {
        if let Some(id) = self.pop(&session.map(), avoid) {
            return Ok(id);
        }
        let _one_at_a_time = self.asking.lock().await;
        if let Some(id) = self.pop(&session.map(), avoid) {
            return Ok(id);
        }
        let map = session.map();
        match session
            .ask(Op::AllocChunks {
                count: RANGE,
                avoid: avoid.to_vec(),
            })
            .await?
        {
            Reply::ChunkRange { set, first, count } => {
                let mut ranges = self.ranges.lock();
                if ranges.len() >= RANGES_MAX {
                    ranges.remove(0);
                }
                let numbers = first + 1..first + u64::from(count);
                let members = members(&map, set);
                ranges.push(Held {
                    set,
                    numbers,
                    members,
                });
                Ok(ChunkId { set, seq: first })
            }
            _ => Err(FsError::Io),
        }
    }

    fn pop(&self, map: &Map, avoid: &[SetId]) -> Option<ChunkId> {
        let mut ranges = self.ranges.lock();
        ranges.retain(|held| held.members == members(map, held.set));
        let at = ranges.iter().position(|held| !avoid.contains(&held.set))?;
        let held = &mut ranges[at];
        let set = held.set;
        let id = held.numbers.next().map(|seq| ChunkId { set, seq });
        if held.numbers.is_empty() {
            ranges.remove(at);
        }
        id
    }

    /// The set's members have changed since its ids came.
    pub fn forget(&self, set: SetId) {
        self.ranges.lock().retain(|held| held.set != set);
    }

    /// The session that the ids belonged to has ended.
    pub fn clear(&self) {
        self.ranges.lock().clear();
    }
}

fn members(map: &Map, set: SetId) -> Vec<NodeId> {
    map.sets
        .get(&set)
        .map_or_else(Vec::new, |members| members.all.clone())
}
