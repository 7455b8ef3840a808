//! True figures of the volume.

use super::{Caller, StatFs, Vfs};
use dfs_core::error::{FsError, FsResult};
use dfs_core::op::{Op, Reply};
use dfs_core::types::{NAME_MAX, VolumeUsage};
use std::time::{Duration, Instant};

const BLOCK: u64 = 4096;
/// Inodes are not limited: as many as numbers that `statfs` can show without surprising anyone.
const FREE_INODES: u64 = 1 << 40;
/// Programs ask often; the figures move slowly.
const AGE_MAX: Duration = Duration::from_secs(1);

pub(super) type Figures = (Instant, StatFs);

impl Vfs {
    pub fn statfs(&self, caller: &Caller<'_>) -> FsResult<StatFs> {
        if let Some((taken, figures)) = *self.figures.lock()
            && taken.elapsed() < AGE_MAX
        {
            return Ok(figures);
        }
        match self.session.call(Op::StatFs, self.patience(caller))? {
            Reply::Usage(usage) => {
                let figures = figures(usage);
                *self.figures.lock() = Some((Instant::now(), figures));
                Ok(figures)
            }
            _ => Err(FsError::Io),
        }
    }
}

fn figures(usage: VolumeUsage) -> StatFs {
    StatFs {
        blocks: usage.total_bytes / BLOCK,
        bfree: usage.total_bytes.saturating_sub(usage.used_bytes) / BLOCK,
        bavail: usage.available_bytes / BLOCK,
        files: usage.inodes + FREE_INODES,
        ffree: FREE_INODES,
        bsize: BLOCK as u32,
        namelen: NAME_MAX as u32,
    }
}
