//! Chunk ids that the session holds but has not used: writing needs no round trip to get one.

use crate::session::Session;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{ChunkId, SetId};
use dfs_core::op::{Op, Reply};
use parking_lot::Mutex;
use std::ops::Range;

/// Ids asked for at a time.
const RANGE: u32 = 256;
/// Most ranges kept: sets that cannot take data for a while leave their ranges unused.
const RANGES_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Stock {
    ranges: Mutex<Vec<(SetId, Range<u64>)>>,
    asking: tokio::sync::Mutex<()>,
}

impl Stock {
    /// A fresh id in a set that is none of `avoid`. `NoSpace` when no set can take data.
    pub async fn take(&self, session: &Session, avoid: &[SetId]) -> FsResult<ChunkId> {
        if let Some(id) = self.pop(avoid) {
            return Ok(id);
        }
        let _one_at_a_time = self.asking.lock().await;
        if let Some(id) = self.pop(avoid) {
            return Ok(id);
        }
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
                ranges.push((set, first + 1..first + u64::from(count)));
                Ok(ChunkId { set, seq: first })
            }
            _ => Err(FsError::Io),
        }
    }

    fn pop(&self, avoid: &[SetId]) -> Option<ChunkId> {
        let mut ranges = self.ranges.lock();
        let at = ranges.iter().position(|(set, _)| !avoid.contains(set))?;
        let (set, range) = &mut ranges[at];
        let id = range.next().map(|seq| ChunkId { set: *set, seq });
        if range.is_empty() {
            ranges.remove(at);
        }
        id
    }

    /// The session that the ids belonged to has ended.
    pub fn clear(&self) {
        self.ranges.lock().clear();
    }
}
