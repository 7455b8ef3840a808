//! etcd's space: how much is used, and making room. History is compacted, each member defragmented in turn, and the
//! alarm cleared that makes a full etcd refuse writes. The authority watches with it; which records may go is
//! decided elsewhere.

use super::connection::{Etcd, kv};
use super::error::{EtcdError, Verdict, judge};
use etcd_client::{AlarmAction, AlarmType};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Time for one question, and for one member's defragmentation: it copies what is in use.
const ASKING: Duration = Duration::from_secs(5);
const DEFRAGMENTING: Duration = Duration::from_secs(120);
/// How often the space is looked at, and how often while writers are slowed down because of it.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_TIGHT: Duration = Duration::from_millis(200);
/// Pause between two rounds of defragmenting: a member answers nothing meanwhile.
const REST: Duration = Duration::from_secs(5);
/// How long those that lead nothing leave a full etcd to those that do.
const OTHERS_WAIT: Duration = Duration::from_secs(5);
/// A key without meaning, and how often it is written after a compaction: the first write may still belong to it.
const NUDGE: &str = "/dfs/space";
const NUDGES: u32 = 3;
/// Percent of the quota: in use, above which checkpoints and trims are asked for, and above which only work that
/// frees space is taken; of the file, above which it is defragmented when half of it is free.
const TIGHT: u64 = 50;
const LOW: u64 = 80;
const FRAGMENTED: u64 = 60;

/// How full etcd is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// The largest member's file, bytes.
    pub size: u64,
    /// Of it in use, bytes.
    pub used: u64,
    /// etcd refuses writes.
    pub full: bool,
    /// Records should be trimmed.
    pub tight: bool,
    /// Only work that frees space should be taken.
    pub low: bool,
    /// What may be added before it is low, bytes; and how much of it must be left for writers to be in no haste.
    pub room: u64,
    pub easy: u64,
}

/// Asks every member; those that do not answer are left out.
pub async fn look(etcd: &Etcd) -> Result<Space, EtcdError> {
    let doing = "look at etcd's space";
    let mut space = Space::default();
    let mut last = None;
    for endpoint in 0..etcd.endpoints() {
        let asked = async {
            let mut client = etcd.client(endpoint).await?;
            client.status().await
        };
        match tokio::time::timeout(ASKING, asked).await {
            Ok(Ok(status)) => {
                space.size = space.size.max(status.db_size() as u64);
                space.used = space.used.max(status.raft_used_db_size() as u64);
            }
            Ok(Err(error)) => last = Some(error.to_string()),
            Err(_) => last = Some("no answer".into()),
        }
    }
    if space.size == 0 {
        let last = last.unwrap_or_default();
        return Err(EtcdError::Unreachable { doing, last });
    }
    let alarms = etcd
        .call(doing, Instant::now() + ASKING, |mut client| async move {
            client.alarm(AlarmAction::Get, AlarmType::Nospace, None).await
        })
        .await?;
    space.full = alarms
        .alarms()
        .iter()
        .any(|alarm| alarm.alarm() == AlarmType::Nospace);
    Ok(space)
}

/// Forgets all history: what is there now stays, what was replaced or deleted can be freed. Returns up to which
/// revision.
pub async fn compact_now(etcd: &Etcd) -> Result<i64, EtcdError> {
    let doing = "compact etcd's history";
    let deadline = Instant::now() + ASKING;
    let found = etcd
        .call(doing, deadline, |client| async move {
            kv(&client).get("/dfs/", None).await
        })
        .await?;
    let revision = found.header().map_or(0, |header| header.revision());
    let asked = etcd.call(doing, deadline, |client| async move {
        kv(&client).compact(revision, None).await
    });
    match asked.await {
        // Somebody else was faster.
        Ok(_) | Err(EtcdError::Compacted { .. }) => Ok(revision),
        Err(error) => Err(error),
    }
}

/// Writes next to nothing: etcd gives pages free, and counts them, with the writes that follow a compaction. Returns
/// the revision.
async fn nudge(etcd: &Etcd) -> Result<i64, EtcdError> {
    let doing = "have etcd count its free space";
    let put = etcd
        .call(doing, Instant::now() + ASKING, |client| async move {
            kv(&client).put(NUDGE, "", None).await
        })
        .await?;
    Ok(put.header().map_or(0, |header| header.revision()))
}

/// Makes room of all that is deleted: compacts, defragments one member after the other, and clears the alarm.
pub async fn reclaim(etcd: &Etcd) -> Result<(), EtcdError> {
    compact_now(etcd).await?;
    for endpoint in 0..etcd.endpoints() {
        defragment(etcd, endpoint).await;
    }
    let doing = "clear etcd's alarm";
    let alarms = etcd
        .call(doing, Instant::now() + ASKING, |mut client| async move {
            client.alarm(AlarmAction::Get, AlarmType::Nospace, None).await
        })
        .await?;
    for alarm in alarms.alarms() {
        let member = alarm.member_id();
        etcd.call(doing, Instant::now() + ASKING, |mut client| async move {
            let mut options = etcd_client::AlarmOptions::new();
            options.with_member(member);
            client
                .alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options))
                .await
        })
        .await?;
    }
    Ok(())
}

/// A member that fails keeps its free pages; the next time does it.
async fn defragment(etcd: &Etcd, endpoint: usize) {
    let asked = async {
        let mut client = etcd.client(endpoint).await?;
        client.defragment().await
    };
    let name = etcd.name(endpoint);
    match tokio::time::timeout(DEFRAGMENTING, asked).await {
        Ok(Ok(_)) => tracing::info!(member = name, "defragmented"),
        Ok(Err(error)) => match judge("defragment a member of etcd", error) {
            Verdict::Final(error) => tracing::warn!(member = name, %error, "not defragmented"),
            Verdict::Again(reason) => tracing::warn!(member = name, reason, "not defragmented"),
        },
        Err(_) => tracing::warn!(member = name, "not defragmented in time"),
    }
}

/// Looks again and again, makes room when that helps, and tells. Runs until it is cancelled. Who leads a volume
/// does it at once; the others when etcd stays full, since then nobody may be able to lead.
pub async fn keep(etcd: Etcd, quota: u64, leads: impl Fn() -> bool, tell: watch::Sender<Space>) {
    let mut full_since: Option<Instant> = None;
    let mut maker = Maker::default();
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        let space = match look(&etcd).await {
            Ok(space) => judge_space(space, quota),
            Err(error) => {
                tracing::debug!(%error, "etcd's space is not known");
                continue;
            }
        };
        tell.send_replace(space);
        pause = if space.tight { LOOK_TIGHT } else { LOOK };
        full_since = match (space.full, full_since) {
            (false, _) => None,
            (true, None) => {
                tracing::error!(?space, "etcd is full");
                Some(Instant::now())
            }
            (true, since) => since,
        };
        let mine = leads() || full_since.is_some_and(|since| since.elapsed() > OTHERS_WAIT);
        if !mine || !(space.tight || space.full || space.is_wasteful(quota)) {
            continue;
        }
        if let Err(error) = maker.make_room(&etcd, quota).await {
            tracing::warn!(%error, "no room was made in etcd");
        }
    }
}

/// What was done to make room.
#[derive(Default)]
struct Maker {
    /// Everything up to this revision is compacted, or a nudge.
    seen: i64,
    nudges: u32,
    /// Something was compacted since the last defragmentation.
    compacted: bool,
    reclaimed: Option<Instant>,
}

impl Maker {
    /// Compacts; then, when it is time and files hold much that is free, or etcd is full without need, defragments
    /// and clears the alarm.
    async fn make_room(&mut self, etcd: &Etcd, quota: u64) -> Result<(), EtcdError> {
        let revision = compact_now(etcd).await?;
        if revision != self.seen {
            self.seen = revision;
            self.nudges = NUDGES;
            self.compacted = true;
        }
        let space = look(etcd).await?;
        // A full etcd takes no nudge, so what it says to be in use may be free.
        let over = space.size * 100 < quota * LOW || space.used * 10 < space.size * 9 || self.compacted;
        let rested = self.reclaimed.is_none_or(|last| last.elapsed() > REST);
        if rested && (space.full && over || space.is_wasteful(quota)) {
            reclaim(etcd).await?;
            self.reclaimed = Some(Instant::now());
            self.compacted = false;
        } else if !space.full && self.nudges > 0 {
            self.nudges -= 1;
            self.seen = nudge(etcd).await?;
        }
        Ok(())
    }
}

impl Space {
    /// Most of a large file is free.
    fn is_wasteful(&self, quota: u64) -> bool {
        self.size * 100 > quota * FRAGMENTED && self.used * 2 < self.size
    }
}

fn judge_space(space: Space, quota: u64) -> Space {
    Space {
        tight: space.used * 100 > quota * TIGHT,
        low: space.full || space.used * 100 > quota * LOW,
        room: (quota * LOW / 100).saturating_sub(space.used),
        easy: quota * (LOW - TIGHT) / 100,
        ..space
    }
}
