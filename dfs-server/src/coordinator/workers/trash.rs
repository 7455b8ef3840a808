//! Empties the trash: what is older than the retention, and the oldest of the rest early when the datanodes are nearly
//! full, so that deleting makes room. Wall clocks jump: how old something is, leaders count by their monotonic clocks.

use super::{pause, scan};
use crate::coordinator::Handle;
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
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
/// Items looked at in one round, and to find enough bytes.
const LOOK: usize = 16_384;
/// What was given up becomes free this much after the quarantine of its chunks; more is not given up before.
const SETTLE: Duration = Duration::from_secs(5);
/// The durable age is ahead of the count by one part in so many of the retention, within these bounds, in seconds. So
/// much longer things stay, and so often it is written; a new leader gives up the most.
const AHEAD_PART: u64 = 16;
const AHEAD: std::ops::RangeInclusive<u64> = 4..=60;

/// The trash's age as this reign counts it: never more than what was durable all the while since the last look, so
/// that nothing that came meanwhile has an age from the past.
pub struct Count {
    age: Duration,
    looked: Instant,
}

impl Count {
    /// The last leader was behind the durable age by no more than the most.
    pub fn begin(durable: u64, now: Instant) -> Count {
        Count {
            age: Duration::from_secs(durable.saturating_sub(*AHEAD.end())),
            looked: now,
        }
    }

    pub fn look(&mut self, durable: u64, now: Instant) -> u64 {
        let age = self.age + now.duration_since(self.looked);
        self.age = age.min(Duration::from_secs(durable));
        self.looked = now;
        self.age.as_secs()
    }

    /// What is to be durable now, if that must change.
    pub fn write(&self, durable: u64, retention: u64) -> Option<u64> {
        let ahead = (retention / AHEAD_PART).clamp(*AHEAD.start(), *AHEAD.end());
        let age = self.age.as_secs();
        (durable < age + ahead / 2).then_some(age + ahead)
    }
}

/// What a round found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Older than the retention.
    pub old: Vec<Ino>,
    /// Where the next round goes on.
    next: Option<Vec<u8>>,
    /// For the lack of space: until when what was removed goes.
    scarce: Option<Timestamp>,
    pub any: bool,
}

#[derive(Clone, Copy)]
pub struct Settings {
    pub retention: u64,
    pub durable: u64,
}

pub async fn run(handle: Handle) {
    let mut given_up: Option<Instant> = None;
    let mut count = None;
    let mut after = None;
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
        match round(&handle, need, &mut count, &mut after).await {
            Ok(true) => given_up = Some(Instant::now()),
            Ok(false) => {}
            Err(FsError::Interrupted) => return,
            Err(error) => tracing::error!(%error, "the trash was not emptied; it is tried again"),
        }
    }
}

/// Whether something was given up for its space.
async fn round(
    handle: &Handle,
    need: u64,
    count: &mut Option<Count>,
    after: &mut Option<Vec<u8>>,
) -> Result<bool, FsError> {
    let settings = scan::blocking(&handle.store, |store| settings(store));
    let settings = settings.await.map_err(|error| unreadable(&error))?;
    let Settings { retention, durable } = settings;
    let count = count.get_or_insert_with(|| Count::begin(durable, Instant::now()));
    let age = count.look(durable, Instant::now());
    let from = after.take();
    let found = scan::blocking(&handle.store, move |store| {
        due(store, from, need, (retention, age))
    })
    .await;
    let found = found.map_err(|error| unreadable(&error))?;
    *after = found.next;
    // An empty trash that is off does not age.
    if (retention > 0 || found.any)
        && let Some(value) = count.write(durable, retention)
    {
        let name = b"trash_age".to_vec();
        handle.own(Op::SetSetting { name, value }).await?;
    }
    for part in found.old.chunks(STEP as usize) {
        let age = limit((retention, age)).unwrap_or_default();
        let inos = part.to_vec();
        handle.own(Op::ExpireTrash { inos, age }).await?;
        pause(BREATH).await;
    }
    let Some(before) = found.scarce else {
        return Ok(false);
    };
    tracing::warn!(
        bytes = need,
        "the volume is nearly full: the oldest of the trash is given up"
    );
    empty(handle, before).await.map(|()| true)
}

fn unreadable(error: &ViewError) -> FsError {
    tracing::error!(%error, "the trash cannot be read");
    FsError::Io
}

pub fn settings(view: &dyn View) -> Result<Settings, ViewError> {
    let value = |name: &[u8]| {
        let key = keys::setting(name);
        let row = view.get(&key)?;
        row.map_or(Ok(0), |value| Ok(SettingRow::decode(&key, &value)?.value))
    };
    Ok(Settings {
        retention: value(b"trash_retention")?,
        durable: value(b"trash_age")?,
    })
}

/// What came at this age or before is to go; without a retention that is all.
pub fn limit((retention, age): (u64, u64)) -> Option<u64> {
    match retention {
        0 => Some(u64::MAX),
        _ => age.checked_sub(retention),
    }
}

/// Bytes that are wanted beyond what is available.
fn shortage(usage: &VolumeUsage) -> u64 {
    (usage.total_bytes / SCARCE).saturating_sub(usage.available_bytes)
}

pub fn due(view: &dyn View, from: Option<Vec<u8>>, need: u64, ages: (u64, u64)) -> Result<Found, ViewError> {
    let read = |key: Key, value: &[u8]| match key {
        Key::Trash { since, ino } => {
            let row = TrashRow::decode(&keys::trash(since, ino), value)?;
            Ok(Some((since, ino, row)))
        }
        _ => Ok(None),
    };
    let whole = keys::prefix::trash();
    let range = (from.unwrap_or_else(|| whole.0.clone()), whole.1.clone());
    let (rows, next) = scan::rows(view, &range, LOOK, read)?;
    let limit = limit(ages);
    let is_old = |row: &TrashRow| limit.is_some_and(|limit| row.age <= limit);
    let mut found = Found {
        any: !rows.is_empty(),
        next,
        ..Found::default()
    };
    found.old = rows
        .iter()
        .filter(|(.., row)| is_old(row))
        .map(|(_, ino, _)| *ino)
        .collect();
    if need == 0 {
        return Ok(found);
    }
    let mut sum = 0;
    for (since, _, row) in scan::rows(view, &whole, LOOK, read)?.0 {
        sum += row.bytes;
        found.scarce = Some(Timestamp {
            nanos: since.nanos + 1,
            ..since
        });
        if sum >= need {
            break;
        }
    }
    Ok(found)
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
    use dfs_core::rows::Origin;
    use dfs_core::types::FileKind;
    use dfs_core::view::MemoryView;

    #[test]
    fn the_oldest_go_for_their_age_and_as_many_as_are_needed() {
        let mut view = MemoryView::default();
        // The wall clock was wrong when the first two were removed.
        for (ino, secs, age) in [(20, 9000, 500), (21, 1, 900), (22, 1000, 1000)] {
            let row = TrashRow {
                origin: Origin {
                    parent: Ino::ROOT,
                    name: b"n".to_vec(),
                },
                kind: FileKind::File,
                bytes: 100,
                age,
            };
            let since = Timestamp { secs, nanos: 7 };
            view.rows.insert(keys::trash(since, Ino(ino)), row.encode());
        }
        let old = |ages| due(&view, None, 0, ages).expect("whole").old;
        assert_eq!(old((600, 1099)), []);
        assert_eq!(old((600, 1100)), [Ino(20)]);
        assert_eq!(old((2000, 1100)), []);
        assert_eq!(old((0, 0)).len(), 3, "no retention is no trash");
        let scarce = due(&view, None, 150, (2000, 1100)).expect("whole").scarce;
        assert_eq!(scarce.map(|before| (before.secs, before.nanos)), Some((1000, 8)));
    }

    #[test]
    fn the_count_is_never_ahead_of_what_was_durable() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut count = Count::begin(1000, now);
        // What came to the trash while 1000 was durable is not older than that, however late the look.
        assert_eq!((count.look(1000, at(5)), count.look(1000, at(5000))), (945, 1000));
        assert_eq!(count.write(1000, 3600), Some(1060));
        assert_eq!(
            (count.look(1060, at(5029)), count.write(1060, 3600)),
            (1029, None)
        );
        assert_eq!(
            (count.look(1060, at(5031)), count.write(1060, 3600)),
            (1031, Some(1091))
        );
        assert_eq!(count.write(1031, 1), Some(1035));
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
