//! True figures of the volume.

use super::{Caller, StatFs, Vfs};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{NAME_MAX, QuotaUsage, VolumeUsage};
use std::time::{Duration, Instant};

const BLOCK: u64 = 4096;
/// Inodes are not limited: as many as numbers that `statfs` can show without surprising anyone.
const FREE_INODES: u64 = 1 << 40;
/// Programs ask often; the figures move slowly.
const AGE_MAX: Duration = Duration::from_secs(1);

pub(super) type Figures = (Instant, StatFs);

impl Vfs {
    /// Figures of the volume, or of the quota that the inode is in.
    pub fn statfs(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<StatFs> {
        let volume = self.volume_figures(caller)?;
        let inode = self.inode(ino);
        let quota = inode.state.lock().attr.map(|attr| attr.quota);
        if quota == Some(Ino(0)) {
            return Ok(volume);
        }
        match self
            .session
            .call(Op::GetQuota { ino: inode.ino }, self.patience(caller))
        {
            Ok(Reply::Quota(quota)) => Ok(within(volume, quota)),
            Err(FsError::NoAttribute | FsError::Stale) => Ok(volume),
            Ok(_) => Err(FsError::Io),
            Err(error) => Err(error),
        }
    }

    fn volume_figures(&self, caller: &Caller<'_>) -> FsResult<StatFs> {
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

/// The quota's figures where they are smaller than the volume's.
fn within(volume: StatFs, quota: QuotaUsage) -> StatFs {
    let mut figures = volume;
    if quota.limit_bytes / BLOCK < volume.blocks {
        figures.blocks = quota.limit_bytes / BLOCK;
        figures.bfree = quota.limit_bytes.saturating_sub(quota.used_bytes) / BLOCK;
    }
    figures.bavail = volume.bavail.min(quota.available_bytes / BLOCK);
    if quota.limit_inodes != u64::MAX {
        figures.files = quota.limit_inodes;
        figures.ffree = quota.available_inodes;
    }
    figures
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
