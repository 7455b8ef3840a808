//! Empties the trash: what is older than the retention, by the coordinator's clock, and the oldest of the rest early
//! when the datanodes are nearly full, so that deleting makes room.

use super::{pause, scan};
use crate::coordinator::Handle;
use crate::coordinator::clock::wall_clock;
use dfs_core::error::FsError;
use dfs_core::keys::{self, Key};
use dfs_core::op::{Op, Reply};
use dfs_core::rows::{SettingRow, TrashRow};
use dfs_core::types::{Timestamp, VolumeUsage};
use dfs_core::view::{View, ViewError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);
/// Inodes freed in one step: a few milliseconds of the executor.
const STEP: u32 = 128;
const BREATH: Duration = Duration::from_millis(5);
/// With less than one part in so many available, the trash gives way.
const SCARCE: u64 = 20;
/// Items looked at to find enough bytes.
const LOOK: usize = 16_384;
/// What was given up becomes free this much after the quarantine of its chunks; more is not given up before.
const SETTLE: Duration = Duration::from_secs(5);

pub async fn run(handle: Handle) {
    let mut given_up: Option<Instant> = None;
    loop {
        pause(INTERVAL).await;
        let Some(status) = handle.status().await else {
            return;
        };
        let settling = handle.settings.gc_delay.max(handle.settings.lease_term) + SETTLE;
        let need = match given_up {
            Some(when) if when.elapsed() < settling => 0,
            _ => shortage(&status.usage),
        };
        let read = scan::blocking(&handle.store, move |store| due(store, need)).await;
        let (old, scarce) = match read {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "the trash cannot be read");
                continue;
            }
        };
        if scarce.is_some() {
            tracing::warn!(
                bytes = need,
                "the volume is nearly full: the oldest of the trash is given up"
            );
            given_up = Some(Instant::now());
        }
        for before in [old, scarce].into_iter().flatten() {
            match empty(&handle, before).await {
                Ok(()) => {}
                Err(FsError::Interrupted) => return,
                Err(error) => tracing::error!(%error, "the trash was not emptied; it is tried again"),
            }
        }
    }
}

/// Bytes that are wanted beyond what is available.
fn shortage(usage: &VolumeUsage) -> u64 {
    (usage.total_bytes / SCARCE).saturating_sub(usage.available_bytes)
}

/// Until when what was removed goes: for its age, and for the lack of space.
fn due(view: &dyn View, need: u64) -> Result<(Option<Timestamp>, Option<Timestamp>), ViewError> {
    let key = keys::setting(b"trash_retention");
    let retention = match view.get(&key)? {
        Some(value) => SettingRow::decode(&key, &value)?.value,
        None => 0,
    };
    let now = wall_clock();
    let before = Timestamp {
        secs: now
            .secs
            .saturating_sub(i64::try_from(retention).unwrap_or(i64::MAX)),
        nanos: now.nanos,
    };
    let limit = if need > 0 { LOOK } else { 1 };
    let (rows, _) = scan::rows(view, &keys::prefix::trash(), limit, |key, value| match key {
        Key::Trash { since, ino } => {
            let row = TrashRow::decode(&keys::trash(since, ino), value)?;
            Ok(Some((since, row.bytes)))
        }
        _ => Ok(None),
    })?;
    let old = rows
        .first()
        .is_some_and(|(since, _)| *since < before)
        .then_some(before);
    let mut sum = 0;
    let mut last = None;
    for (since, bytes) in rows.into_iter().take_while(|_| need > 0) {
        sum += bytes;
        last = Some(Timestamp {
            nanos: since.nanos + 1,
            ..since
        });
        if sum >= need {
            break;
        }
    }
    Ok((old, last))
}

async fn empty(handle: &Handle, before: Timestamp) -> Result<(), FsError> {
    while handle.own(Op::EmptyTrash { before, limit: STEP }).await? == (Reply::Progress { more: true }) {
        pause(BREATH).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::ids::Ino;
    use dfs_core::rows::Origin;
    use dfs_core::types::FileKind;
    use dfs_core::view::MemoryView;

    #[test]
    fn the_oldest_go_for_their_age_and_as_many_as_are_needed() {
        let mut view = MemoryView::default();
        let now = wall_clock().secs;
        for (ino, age) in [(20, 500), (21, 50), (22, 5)] {
            let row = TrashRow {
                origin: Origin {
                    parent: Ino::ROOT,
                    name: b"n".to_vec(),
                },
                kind: FileKind::File,
                bytes: 100,
            };
            let since = Timestamp {
                secs: now - age,
                nanos: 7,
            };
            view.rows.insert(keys::trash(since, Ino(ino)), row.encode());
        }
        let retention = SettingRow { value: 100 };
        view.rows
            .insert(keys::setting(b"trash_retention"), retention.encode());
        let (old, scarce) = due(&view, 0).expect("whole");
        assert!(old.is_some_and(|before| before.secs >= now - 100) && scarce.is_none());
        let (_, scarce) = due(&view, 150).expect("whole");
        assert_eq!(
            scarce.map(|before| (before.secs, before.nanos)),
            Some((now - 50, 8))
        );
        view.rows.insert(
            keys::setting(b"trash_retention"),
            SettingRow { value: 1000 }.encode(),
        );
        assert_eq!(due(&view, 0).expect("whole"), (None, None));
    }

    #[test]
    fn a_twentieth_is_kept_free() {
        let usage = |available_bytes| VolumeUsage {
            total_bytes: 1000,
            available_bytes,
            ..VolumeUsage::default()
        };
        assert_eq!((shortage(&usage(50)), shortage(&usage(20))), (0, 30));
    }
}
