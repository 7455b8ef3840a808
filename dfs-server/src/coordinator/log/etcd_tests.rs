//! The log on a real etcd: the suite of all logs, two leaders, lost answers, holes, long records, a full etcd.

use super::suite::{self, contents, record};
use super::{EtcdFollower, EtcdLog, Fence, LogError, MetadataLog};
use crate::coordinator::authority::{LogReader, Standing};
use crate::coordinator::etcd::trial::{Proxy, Trial};
use crate::coordinator::etcd::{Etcd, EtcdError, EtcdSettings, LogNames, Names, kv, space};
use dfs_core::ids::{Index, VolumeId};
use dfs_core::record::Record;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Long enough for a loaded machine; no test waits for its end when all is well.
const REIGN: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(60);

struct Bench {
    runtime: Runtime,
    trial: Trial,
    names: Names,
    next: AtomicU16,
}

impl Bench {
    fn new(flags: &[&str]) -> Bench {
        Bench {
            runtime: Runtime::new().unwrap(),
            trial: Trial::start(flags),
            names: Names::new(Uuid::from_u128(1)),
            next: AtomicU16::new(0),
        }
    }

    /// Keys of a log that nobody used.
    fn fresh(&self) -> VolumeId {
        VolumeId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn names(&self, volume: VolumeId) -> LogNames {
        self.names.log(volume)
    }

    fn etcd(&self) -> Etcd {
        Etcd::new(&self.trial.settings())
    }

    /// Takes the leader's key, whoever had it.
    fn lead(&self, volume: VolumeId) -> Fence {
        let key = self.names.leader(volume);
        self.runtime.block_on(async {
            let client = self.etcd().client(0).await.unwrap();
            let mut kv = kv(&client);
            kv.delete(key.clone(), None).await.unwrap();
            let put = kv.put(key.clone(), "x", None).await.unwrap();
            let create_revision = put.header().unwrap().revision();
            Fence { key, create_revision }
        })
    }

    fn open_through(
        &self,
        settings: &EtcdSettings,
        volume: VolumeId,
        fence: &Fence,
    ) -> Result<EtcdLog, LogError> {
        let etcd = Etcd::new(settings);
        let standing = Standing::until(std::time::Instant::now() + REIGN);
        let open = EtcdLog::open(etcd, self.names(volume), fence.clone(), standing);
        self.runtime.block_on(open)
    }

    fn open(&self, volume: VolumeId, fence: &Fence) -> EtcdLog {
        self.open_through(&self.trial.settings(), volume, fence).unwrap()
    }

    fn remove(&self, key: String) {
        self.runtime.block_on(async {
            let client = self.etcd().client(0).await.unwrap();
            kv(&client).delete(key, None).await.unwrap();
        });
    }
}

/// A record whose frame is about this long.
fn long(index: u64, bytes: usize) -> Record {
    let mut long = record(index, 1);
    long.rows.push((b"long".to_vec(), Some(vec![index as u8; bytes])));
    long
}

// S19
#[test]
fn the_etcd_log_passes_the_suite() {
    let bench = Bench::new(&[]);
    suite::run(|| {
        let volume = bench.fresh();
        Box::new(bench.open(volume, &bench.lead(volume)))
    });
}

#[test]
fn a_reopened_log_goes_on_and_a_deposed_leader_does_not() {
    let bench = Bench::new(&[]);
    let volume = bench.fresh();
    let mut old = bench.open(volume, &bench.lead(volume));
    old.append(&[&record(1, 1), &record(2, 1)]).unwrap();
    let mut new = bench.open(volume, &bench.lead(volume));
    assert_eq!((new.first(), new.last()), (Index(1), Index(2)));
    // Before the new one has written anything, and after.
    assert!(matches!(old.append(&[&record(3, 1)]), Err(LogError::Deposed)));
    new.append(&[&record(3, 2)]).unwrap();
    assert!(matches!(old.append(&[&record(3, 1)]), Err(LogError::Deposed)));
    assert!(matches!(old.trim(Index(2)), Err(LogError::Deposed)));
    assert_eq!(contents(&new, 1), [record(1, 1), record(2, 1), record(3, 2)]);
    // What was refused stays refused: the old one has stopped taking records.
    assert!(matches!(old.append(&[&record(3, 9)]), Err(LogError::Deposed)));
}

#[test]
fn an_append_whose_answer_is_lost_is_there_once() {
    let bench = Bench::new(&[]);
    let volume = bench.fresh();
    let fence = bench.lead(volume);
    let proxy = bench.runtime.block_on(Proxy::start(bench.trial.address));
    let mut log = bench.open_through(&proxy.settings(), volume, &fence).unwrap();
    for index in 1..=6 {
        proxy.lose_answers(true);
        let appended = std::thread::scope(|scope| {
            let appending = scope.spawn(|| log.append(&[&record(index, 1)]));
            // The record is in etcd, and its leader does not know.
            while bench.open(volume, &fence).last() < Index(index) {
                std::thread::yield_now();
            }
            assert!(!appending.is_finished());
            proxy.lose_answers(false);
            appending.join().unwrap()
        });
        appended.unwrap();
    }
    let wanted: Vec<Record> = (1..=6).map(|index| record(index, 1)).collect();
    assert_eq!(contents(&bench.open(volume, &fence), 1), wanted);
}

#[test]
fn an_append_ends_with_the_reign_when_etcd_is_silent() {
    let bench = Bench::new(&[]);
    let volume = bench.fresh();
    let fence = bench.lead(volume);
    let etcd = bench.etcd();
    let standing = Standing::until(std::time::Instant::now() + REIGN);
    let open = EtcdLog::open(etcd, bench.names(volume), fence, standing.clone());
    let mut log = bench.runtime.block_on(open).unwrap();
    log.append(&[&record(1, 1)]).unwrap();
    bench.trial.signal(libc::SIGSTOP);
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| log.append(&[&record(2, 1)]));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!appending.is_finished(), "nobody knows yet");
        standing.end();
        assert!(matches!(appending.join().unwrap(), Err(LogError::Deposed)));
    });
    bench.trial.signal(libc::SIGCONT);
}

#[test]
fn a_hole_is_found() {
    let bench = Bench::new(&[]);
    let volume = bench.fresh();
    let fence = bench.lead(volume);
    let mut log = bench.open(volume, &fence);
    for index in 1..=5 {
        log.append(&[&record(index, 1)]).unwrap();
    }
    bench.remove(bench.names(volume).record(Index(3)));
    let damage = |error: LogError| matches!(error, LogError::Etcd(EtcdError::Damaged { .. }));
    let opened = bench.open_through(&bench.trial.settings(), volume, &fence);
    assert!(opened.is_err_and(damage));
    let read = log.read_from(Index(1), &mut |_| std::ops::ControlFlow::Continue(()));
    assert!(read.is_err_and(damage));
    // The last one is gone: the next append must not leave a hole.
    bench.remove(bench.names(volume).record(Index(5)));
    assert!(matches!(log.append(&[&record(6, 1)]), Err(LogError::Deposed)));
}

#[test]
fn long_records_and_many_of_them_come_back() {
    let bench = Bench::new(&[]);
    let volume = bench.fresh();
    let fence = bench.lead(volume);
    let mut log = bench.open(volume, &fence);
    let mut wanted = vec![long(1, 5 << 20)];
    wanted.extend((2..=20).map(|index| long(index, 1_000_000)));
    wanted.push(long(21, 3 << 20));
    for record in &wanted {
        log.append(&[record]).unwrap();
    }
    assert_eq!(contents(&bench.open(volume, &fence), 1), wanted);
    let names = bench.names(volume);
    let mut follower = EtcdFollower::new(bench.etcd(), names, Index(15));
    let mut followed = Vec::new();
    while followed.len() < 7 {
        followed.extend(bench.runtime.block_on(follower.next()).unwrap());
    }
    assert_eq!(followed, wanted[14..]);
    log.trim(Index(20)).unwrap();
    assert_eq!(contents(&bench.open(volume, &fence), 21), wanted[20..]);
    let behind = EtcdFollower::new(bench.etcd(), bench.names(volume), Index(3)).next_now(&bench.runtime);
    assert!(matches!(behind, Err(LogError::Trimmed { first, .. }) if first == Index(21)));
}

trait NextNow {
    fn next_now(self, runtime: &Runtime) -> Result<Vec<Record>, LogError>;
}

impl NextNow for EtcdFollower {
    fn next_now(mut self, runtime: &Runtime) -> Result<Vec<Record>, LogError> {
        runtime.block_on(self.next())
    }
}

#[test]
fn a_follower_misses_nothing() {
    let bench = Bench::new(&[]);
    let volume = bench.fresh();
    let fence = bench.lead(volume);
    let proxy = bench.runtime.block_on(Proxy::start(bench.trial.address));
    let etcd = Etcd::new(&proxy.settings());
    let mut follower = EtcdFollower::new(etcd, bench.names(volume), Index(1));
    let followed = bench.runtime.spawn(async move {
        let mut seen: Vec<Record> = Vec::new();
        while seen.len() < 60 {
            seen.extend(follower.next().await.unwrap());
        }
        seen
    });
    let mut log = bench.open(volume, &fence);
    for index in 1..=60 {
        log.append(&[&record(index, 1)]).unwrap();
        if index % 20 == 10 {
            // Its connection dies, and the history that it has not seen is compacted.
            proxy.lose_answers(true);
            std::thread::sleep(Duration::from_millis(50));
        }
        if index % 20 == 15 {
            bench.runtime.block_on(space::compact_now(&bench.etcd())).unwrap();
            proxy.lose_answers(false);
        }
    }
    let seen = bench.runtime.block_on(followed).unwrap();
    let wanted: Vec<Record> = (1..=60).map(|index| record(index, 1)).collect();
    assert_eq!(seen, wanted);
}

/// etcd counts as used what it could give free, until something is written.
#[test]
fn what_was_trimmed_counts_as_free_although_nobody_writes() {
    let quota = 32 << 20;
    let bench = Bench::new(&["--quota-backend-bytes", &quota.to_string()]);
    let volume = bench.fresh();
    let mut log = bench.open(volume, &bench.lead(volume));
    for index in 1..=20 {
        log.append(&[&long(index, 1_000_000)]).unwrap();
    }
    let (tell, mut told) = tokio::sync::watch::channel(space::Space::default());
    let keeping = bench
        .runtime
        .spawn(space::keep(bench.etcd(), quota, || true, tell));
    let mut is_tight = |tight: bool| {
        bench.runtime.block_on(async {
            let wanted = told.wait_for(|space| space.size > 0 && space.tight == tight);
            tokio::time::timeout(LIMIT, wanted)
                .await
                .is_ok_and(|seen| seen.is_ok())
        })
    };
    assert!(is_tight(true));
    log.trim(Index(20)).unwrap();
    assert!(is_tight(false));
    keeping.abort();
}

#[test]
fn a_full_etcd_takes_records_again_when_it_has_space() {
    let quota = 16 << 20;
    let bench = Bench::new(&["--quota-backend-bytes", &quota.to_string()]);
    let volume = bench.fresh();
    let fence = bench.lead(volume);
    let mut log = bench.open(volume, &fence);
    let etcd = bench.etcd();
    let look = || bench.runtime.block_on(space::look(&etcd)).unwrap();
    let mut index = 0;
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        scope.spawn(move || {
            while index < 40 {
                index += 1;
                if log.append(&[&long(index, 1_000_000)]).is_err() {
                    panic!("an append gave up");
                }
                tell.send(index).unwrap();
            }
        });
        let begun = std::time::Instant::now();
        while !look().full {
            assert!(begun.elapsed() < REIGN);
            std::thread::sleep(Duration::from_millis(20));
        }
        let full = look();
        assert!(full.size >= quota / 2, "{full:?}");
        // Reading goes on. Trimming, compacting and defragmenting makes room, and the writer goes on by itself.
        while told.try_recv().is_ok() {}
        loop {
            let mut other = bench.open(volume, &fence);
            let last = other.last();
            assert_eq!(contents(&other, last.0)[0].index, last);
            other.trim(last).unwrap();
            bench.runtime.block_on(space::reclaim(&etcd)).unwrap();
            match told.recv_timeout(Duration::from_millis(500)) {
                Ok(40) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                _ => assert!(begun.elapsed() < REIGN),
            }
        }
    });
    bench.runtime.block_on(space::reclaim(&etcd)).unwrap();
    assert!(!look().full, "{:?}", look());
    assert_eq!(bench.open(volume, &fence).last(), Index(40));
}
