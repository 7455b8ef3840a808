//! Where the time of the kernel's calls goes, recorded while `dfs profile` asks for it: at other times a call costs one
//! relaxed load more. Threads that serve the kernel note what they waited for; work behind several callers (uploads,
//! commits) leaves spans, which those who wait for such work look up. Owner of the recording; all of it is bounded.

mod behind;
mod stage;

pub(crate) use stage::{STAGES, Stage, Times};

use behind::Behind;
use dfs_core::ids::Ino;
use dfs_proto::v1;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Slow calls that are kept, the slowest of all.
const SLOW_MAX: usize = 32;
/// The longest recording.
const LONGEST: Duration = Duration::from_secs(3600);
/// Answers of the coordinator whose callers have not looked yet.
const TIMINGS_MAX: usize = 4096;

/// Calls of one operation.
#[derive(Default)]
struct Sum {
    /// All, and those that were slow enough to be looked at.
    all: u64,
    count: u64,
    total: Duration,
    times: Times,
}

/// A slow call.
struct Slow {
    op: &'static str,
    ino: Ino,
    path: Option<String>,
    /// Since the recording began.
    at: Duration,
    total: Duration,
    times: Times,
}

struct Recording {
    began: Instant,
    until: Instant,
    slower: Duration,
    sums: BTreeMap<&'static str, Sum>,
    slow: Vec<Slow>,
}

/// The recorder of a mount.
#[derive(Default)]
pub(crate) struct Profile {
    on: AtomicBool,
    recording: Mutex<Option<Recording>>,
    behind: Mutex<Behind>,
    timings: Mutex<HashMap<u64, v1::Timing>>,
}

/// A call that has ended.
pub(crate) struct Call {
    pub op: &'static str,
    pub ino: Ino,
    pub total: Duration,
    pub times: Times,
}

impl Profile {
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins a recording of calls that take at least `slower`; false while another one goes on.
    pub fn begin(&self, length: Duration, slower: Duration) -> bool {
        let mut recording = self.recording.lock();
        let now = Instant::now();
        if self.is_on() && recording.as_ref().is_some_and(|old| now < old.until) {
            return false;
        }
        *recording = Some(Recording {
            began: now,
            until: now + length.min(LONGEST),
            slower,
            sums: BTreeMap::new(),
            slow: Vec::new(),
        });
        *self.behind.lock() = Behind::default();
        self.timings.lock().clear();
        self.on.store(true, Ordering::Relaxed);
        true
    }

    /// Ends the recording; what it has is kept for whoever asks.
    pub fn end(&self) {
        let mut recording = self.recording.lock();
        if let Some(recording) = recording.as_mut() {
            recording.until = recording.until.min(Instant::now());
        }
        self.on.store(false, Ordering::Relaxed);
    }

    /// A call was served; `path` is asked for when it is one of the slowest. Only called while it is on.
    pub fn note(&self, mut call: Call, path: impl FnOnce() -> Option<String>) {
        let now = Instant::now();
        let mut kept = self.recording.lock();
        let Some(recording) = kept.as_mut() else { return };
        if now >= recording.until {
            self.on.store(false, Ordering::Relaxed);
            return;
        }
        let waited = call.times.sum();
        call.times.add(Stage::Own, call.total.saturating_sub(waited));
        let sum = recording.sums.entry(call.op).or_default();
        sum.all += 1;
        if call.total < recording.slower {
            return;
        }
        sum.count += 1;
        sum.total += call.total;
        sum.times.add_all(&call.times);
        let quickest = recording
            .slow
            .iter()
            .enumerate()
            .min_by_key(|(_, slow)| slow.total);
        let replaced = match quickest {
            Some((at, slow)) if recording.slow.len() >= SLOW_MAX => {
                if slow.total >= call.total {
                    return;
                }
                Some(at)
            }
            _ => None,
        };
        let slow = Slow {
            op: call.op,
            ino: call.ino,
            path: path(),
            at: now.saturating_duration_since(recording.began),
            total: call.total,
            times: call.times,
        };
        match replaced {
            Some(at) => recording.slow[at] = slow,
            None => recording.slow.push(slow),
        }
    }

    /// The coordinator has said where a call's time went: kept until its caller looks.
    pub fn keep_timing(&self, number: u64, timing: v1::Timing) {
        let mut timings = self.timings.lock();
        if timings.len() >= TIMINGS_MAX {
            timings.clear();
        }
        timings.insert(number, timing);
    }

    pub fn timing(&self, number: u64) -> Option<v1::Timing> {
        self.timings.lock().remove(&number)
    }

    /// Work that somebody may wait for has ended.
    pub fn worked(&self, begun: Instant, times: Times) {
        self.behind.lock().add(begun, Instant::now(), times);
    }

    /// What was worked at since `begun`, for one who waited for it.
    pub fn behind(&self, begun: Instant) -> Times {
        self.behind.lock().between(begun, Instant::now())
    }

    /// The sums as a page of the report.
    pub fn sums_page(&self) -> Value {
        let kept = self.recording.lock();
        let Some(recording) = kept.as_ref() else {
            return json!({ "recorded": false });
        };
        let now = Instant::now();
        let row = |(op, sum): (&&'static str, &Sum)| json!({ "op": op, "all": sum.all, "count": sum.count, "total": sum.total.as_nanos() as u64, "times": sum.times.0 });
        json!({
            "recorded": true,
            "running": self.is_on() && now < recording.until,
            "seconds": now.min(recording.until).saturating_duration_since(recording.began).as_secs_f64(),
            "stages": STAGES,
            "rows": recording.sums.iter().map(row).collect::<Vec<_>>(),
            "slow": recording.slow.len(),
        })
    }

    /// The slow call of this number, from 0, as a page; `None` behind the last.
    pub fn slow_page(&self, number: usize) -> Option<Value> {
        let kept = self.recording.lock();
        let slow = kept.as_ref()?.slow.get(number)?;
        Some(json!({
            "op": slow.op,
            "ino": slow.ino.0,
            "path": slow.path,
            "at": slow.at.as_nanos() as u64,
            "total": slow.total.as_nanos() as u64,
            "times": slow.times.0,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(millis: u64) -> Call {
        let mut times = Times::default();
        times.add(Stage::Log, Duration::from_millis(millis / 2));
        Call {
            op: "mkdir",
            ino: Ino(1),
            total: Duration::from_millis(millis),
            times,
        }
    }

    #[test]
    fn it_sums_what_is_slow_and_keeps_the_slowest_within_its_bound() {
        let profile = Profile::default();
        assert!(!profile.is_on());
        assert!(profile.begin(Duration::from_secs(100), Duration::from_millis(10)));
        assert!(
            !profile.begin(Duration::from_secs(1), Duration::ZERO),
            "one at a time"
        );
        for millis in 1..=100 {
            profile.note(call(millis), || Some(format!("/{millis}")));
        }
        let page = profile.sums_page();
        assert_eq!(
            (page["rows"][0]["all"].as_u64(), page["rows"][0]["count"].as_u64()),
            (Some(100), Some(91))
        );
        let times = &page["rows"][0]["times"];
        let (own, log) = (
            times[Stage::Own as usize].as_u64(),
            times[Stage::Log as usize].as_u64(),
        );
        assert_eq!(
            own.unwrap() + log.unwrap(),
            page["rows"][0]["total"].as_u64().unwrap()
        );
        let slow: Vec<Value> = (0..).map_while(|number| profile.slow_page(number)).collect();
        assert_eq!(slow.len(), SLOW_MAX);
        let least = slow.iter().filter_map(|slow| slow["total"].as_u64()).min();
        assert_eq!(
            least,
            Some(Duration::from_millis(101 - SLOW_MAX as u64).as_nanos() as u64)
        );
        profile.end();
        assert!(!profile.is_on() && profile.sums_page()["running"] == false);
        assert!(
            profile.begin(Duration::ZERO, Duration::ZERO),
            "the next one may begin"
        );
        profile.note(call(5), || None);
        assert!(!profile.is_on(), "its time is over");
        assert_eq!(profile.sums_page()["rows"].as_array().map(Vec::len), Some(0));
    }

    #[test]
    fn answers_that_nobody_looks_at_stay_bounded() {
        let profile = Profile::default();
        for number in 0..3 * TIMINGS_MAX as u64 {
            profile.keep_timing(number, v1::Timing::default());
            assert!(profile.timings.lock().len() <= TIMINGS_MAX);
        }
        let last = 3 * TIMINGS_MAX as u64 - 1;
        assert!(profile.timing(last).is_some() && profile.timing(last).is_none());
    }
}
