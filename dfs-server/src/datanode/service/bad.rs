//! Which damaged copies the heartbeat tells the coordinator of: new ones at once, all of them again after a while,
//! since a report can be lost and a repair can fail.

use super::ChunkService;
use dfs_core::ids::ChunkId;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Copies of one heartbeat; 12 KiB.
const TOLD_MAX: usize = 1024;
/// The coordinator has each looked at, which reads the whole chunk.
const AGAIN: Duration = Duration::from_secs(15);

#[derive(Default)]
pub struct Told(Mutex<(BTreeSet<ChunkId>, Option<Instant>)>);

impl ChunkService {
    /// The damaged copies that the next heartbeat names.
    pub fn bad_to_tell(&self) -> Vec<ChunkId> {
        let bad = self.0.store.bad(TOLD_MAX);
        let mut told = self.0.told.0.lock();
        let (known, at) = &mut *told;
        let again = at.is_none_or(|at| at.elapsed() >= AGAIN);
        let tell: Vec<ChunkId> = bad
            .iter()
            .filter(|chunk| again || !known.contains(chunk))
            .copied()
            .collect();
        *known = bad.into_iter().collect();
        if again {
            *at = Some(Instant::now());
        }
        tell
    }
}
