//! Two copies of one chunk found at opening: a crash came between a replacement and the removal of what it
//! replaced. One that verifies stays; the newer when both do.

use super::Inner;
use super::index::Place;
use dfs_core::ids::ChunkId;

impl Inner {
    /// `newer` is in the index already; `older` was found before it.
    pub(super) fn settle_duplicate(&self, chunk: ChunkId, older: Place, newer: Place) {
        let keep_older = self.check(chunk, newer).is_err() && self.check(chunk, older).is_ok();
        let (kept, dropped) = if keep_older {
            (older, newer)
        } else {
            (newer, older)
        };
        self.index.write().insert(chunk, kept);
        tracing::warn!(%chunk, "two copies found, one dropped");
        if let Err(e) = self.kill(dropped.segment, &[dropped]) {
            self.report(format!("a second copy of chunk {chunk} stays: {e}"));
        }
    }
}
