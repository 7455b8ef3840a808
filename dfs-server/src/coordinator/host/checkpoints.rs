//! Checkpoints of one volume, made by leaders and followers alike when the log has grown enough, told to the other
//! coordinators, and, where the volume is led, the trimming of its log.

use super::super::authority::{LogSpace, Peer};
use super::super::checkpoint::{self, CheckpointError};
use super::super::executor::Event;
use super::super::limits::{CHECKPOINT_BYTES, CHECKPOINT_BYTES_MOST, CHECKPOINT_PART};
use super::super::state::Store;
use super::Hosted;
use dfs_core::ids::{Index, VolumeId};
use std::sync::atomic::Ordering;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);
/// The same while the logs' space is tight: writers are slowed down until records are trimmed.
const TIGHT_INTERVAL: Duration = Duration::from_millis(200);
/// Growth after which a checkpoint is made while the logs' space is tight.
const TIGHT_BYTES: u64 = 1 << 20;
/// A failed checkpoint (a full disk, mostly) is tried again after this.
const RETRY: Duration = Duration::from_secs(30);

/// Works as long as the store is open here.
pub async fn run(hosted: Hosted, volume: VolumeId, store: Store) {
    let mut good = verified(&hosted, volume, Vec::new()).await;
    let mut told = None;
    let mut trimmed = Index(0);
    loop {
        let newest = good.first().copied().unwrap_or_default();
        if told != Some(newest) {
            match hosted.authority().note_checkpoint(volume, newest).await {
                Ok(()) => told = Some(newest),
                Err(error) => tracing::debug!(%error, "the others are not told of a checkpoint yet"),
            }
        }
        if let Some(handle) = hosted.led_here(volume) {
            let peers = hosted.authority().peers().borrow().clone();
            let up_to = trim_to(&good, theirs(&peers, volume));
            // A stopped executor trims nothing; the next leader may.
            if up_to > trimmed && handle.inbox.send(Event::Trim(up_to)).await.is_ok() {
                trimmed = up_to;
            }
        }
        let tight = hosted.authority().log_space().tight;
        tokio::time::sleep(if tight { TIGHT_INTERVAL } else { INTERVAL }).await;
        match step(&hosted, volume, &store).await {
            Ok(true) => good = verified(&hosted, volume, good).await,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "no checkpoint was made; the log is kept");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// How far the log may be forgotten: below the older of two checkpoints of one's own and, when other coordinators
/// live, no further than the newest that one of them has.
pub fn trim_to(good: &[Index], theirs: impl Iterator<Item = Index>) -> Index {
    let older = good.get(1).copied().unwrap_or_default();
    theirs.max().map_or(older, |theirs| theirs.min(older))
}

/// The newest checkpoint of each.
fn theirs(peers: &[Peer], volume: VolumeId) -> impl Iterator<Item = Index> + '_ {
    let newest = move |peer: &Peer| peer.checkpoints.get(&volume).copied().unwrap_or_default();
    peers.iter().map(newest)
}

/// The checkpoints that verify whole, newest first; those of `known` did before.
async fn verified(hosted: &Hosted, volume: VolumeId, known: Vec<Index>) -> Vec<Index> {
    let dir = hosted.dir(volume);
    match tokio::task::spawn_blocking(move || checkpoint::verified(&dir, &known)).await {
        Ok(Ok(good)) => good,
        Ok(Err(error)) => {
            tracing::error!(%error, "the checkpoints cannot be looked at");
            Vec::new()
        }
        Err(error) => {
            tracing::error!(%error, "the checkpoint's thread failed");
            Vec::new()
        }
    }
}

/// How much the log may grow beyond a checkpoint of `len` bytes before the next one.
fn growth(logs: LogSpace, len: u64) -> u64 {
    match (logs.tight, logs.scarce) {
        (true, _) => TIGHT_BYTES,
        (false, true) => CHECKPOINT_BYTES,
        (false, false) => (len / CHECKPOINT_PART).clamp(CHECKPOINT_BYTES, CHECKPOINT_BYTES_MOST),
    }
}

/// Makes a checkpoint when it is time: whether it did.
async fn step(hosted: &Hosted, volume: VolumeId, store: &Store) -> Result<bool, CheckpointError> {
    let logs = hosted.authority().log_space();
    if hosted.0.disk_low.load(Ordering::Relaxed) && !logs.low {
        // Writing one now would take the space that deletions need.
        return Ok(false);
    }
    let dir = hosted.dir(volume);
    let newest = checkpoint::newest(&dir)?;
    let records = store.applied()?.0.saturating_sub(newest.0);
    let grown = store.grown();
    let bytes = growth(logs, checkpoint::newest_len(&dir)?);
    let enough = records >= hosted.settings().checkpoint_records || grown >= bytes;
    // Two are needed before anything is trimmed: then they cannot wait for work.
    let urgent = logs.low && records > 0;
    if !enough && !urgent {
        return Ok(false);
    }
    let store = store.clone();
    let work = tokio::task::spawn_blocking(move || {
        let path = checkpoint::write(&dir, &store.moment()?)?;
        store.shrink_grown(grown);
        tracing::info!(path = %path.display(), "a checkpoint was made");
        Ok(true)
    });
    work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the checkpoint's thread failed");
        Ok(false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(checkpoint: Option<u64>) -> Peer {
        let volume = VolumeId(3);
        Peer {
            coordinator: uuid::Uuid::nil(),
            address: String::new(),
            checkpoints: checkpoint
                .map(|index| (volume, Index(index)))
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn a_large_volume_makes_fewer_checkpoints_where_the_log_has_room() {
        let room = LogSpace::default();
        assert_eq!(growth(room, 0), CHECKPOINT_BYTES);
        assert_eq!(growth(room, 1 << 30), 512 << 20);
        assert_eq!(growth(room, 1 << 40), CHECKPOINT_BYTES_MOST);
        let scarce = LogSpace { scarce: true, ..room };
        assert_eq!(growth(scarce, 1 << 30), CHECKPOINT_BYTES);
        let tight = LogSpace {
            tight: true,
            ..scarce
        };
        assert_eq!(growth(tight, 1 << 30), TIGHT_BYTES);
    }

    #[test]
    fn the_log_is_kept_until_enough_checkpoints_exist() {
        let volume = VolumeId(3);
        let good = [Index(200), Index(100)];
        let trim_to = |good: &[Index], peers: &[Peer]| trim_to(good, theirs(peers, volume));
        assert_eq!(trim_to(&[], &[]), Index(0));
        assert_eq!(trim_to(&good[..1], &[]), Index(0));
        assert_eq!(trim_to(&good, &[]), Index(100));
        assert_eq!(trim_to(&good, &[peer(None)]), Index(0));
        assert_eq!(trim_to(&good, &[peer(None), peer(Some(40))]), Index(40));
        assert_eq!(trim_to(&good, &[peer(Some(500))]), Index(100));
    }
}
