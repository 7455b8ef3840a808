//! The log in etcd: one key per record, written by a transaction that compares the leader's key, the record before
//! and the absence of this one. A deposed leader cannot append, there are no holes, and an append whose answer was
//! lost is simply asked for again: what it finds tells what happened. The log writer's thread owns it.

use super::etcd_pace::Pace;
use super::etcd_read::{Page, decode, read_page};
use super::{LogError, MetadataLog, check_order};
use crate::coordinator::authority::Standing;
use crate::coordinator::etcd::space::Space;
use crate::coordinator::etcd::{Etcd, EtcdError, LogNames, kv};
use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, KeyValue, SortOrder, SortTarget, Txn, TxnOp,
    TxnOpResponse, TxnResponse,
};
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

/// First byte of a value that holds the record's frame.
pub const WHOLE: u8 = 1;
/// First byte of a value that says how many parts hold the frame: number of the writer, count (big-endian).
pub const PARTS: u8 = 2;
/// Longest frame in one value, and length of a part. etcd takes requests of 1.5 MiB.
pub const PART_BYTES: usize = 1 << 20;
/// Time for one round of questions; an append asks again until the reign is over.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time for reading, at start and by followers.
const READING: Duration = Duration::from_secs(30);
/// A full etcd is asked again after this pause.
const FULL_PAUSE: Duration = Duration::from_millis(200);
/// Records removed by one transaction of a trim: etcd works on it while others wait.
const TRIM_STEP: u64 = 256;

/// The key that proves who leads: its name, and the revision at which this reign made it.
#[derive(Clone, Debug)]
pub struct Fence {
    pub key: String,
    pub create_revision: i64,
}

/// One volume's log in etcd, during one reign.
pub struct EtcdLog {
    etcd: Etcd,
    names: LogNames,
    fence: Fence,
    standing: Standing,
    runtime: Handle,
    first: Index,
    last: Index,
    term: Term,
    /// An append ended without an answer: what is held is unknown, so nothing more is taken.
    failed: bool,
    /// Slows appends down while etcd fills.
    pace: Option<Pace>,
}

impl EtcdLog {
    /// Finds both ends of the log. Since the reign has begun, nobody else can move the newer one.
    pub async fn open(
        etcd: Etcd,
        names: LogNames,
        fence: Fence,
        standing: Standing,
    ) -> Result<EtcdLog, LogError> {
        let mut log = EtcdLog {
            runtime: Handle::current(),
            first: Index(1),
            last: Index(0),
            term: Term(0),
            failed: false,
            pace: None,
            etcd,
            names,
            fence,
            standing,
        };
        log.find_ends().await?;
        Ok(log)
    }

    /// From now on it is slower the fuller etcd is.
    pub fn paced(mut self, space: watch::Receiver<Space>) -> EtcdLog {
        self.pace = Some(Pace::new(space));
        self
    }

    /// Both ends of the log and the number of its records, of one moment. There must be as many as the ends say.
    async fn find_ends(&mut self) -> Result<(), LogError> {
        let all = || GetOptions::new().with_prefix();
        let end = |order| all().with_limit(1).with_sort(SortTarget::Key, order);
        let prefix = self.names.records();
        let txn = Txn::new().and_then([
            TxnOp::get(prefix.clone(), Some(end(SortOrder::Ascend).with_keys_only())),
            TxnOp::get(prefix.clone(), Some(end(SortOrder::Descend))),
            TxnOp::get(prefix.clone(), Some(all().with_count_only())),
        ]);
        let answer = self
            .etcd
            .call("find the ends of the metadata log", deadline(READING), |client| {
                let txn = txn.clone();
                async move { kv(&client).txn(txn).await }
            })
            .await?;
        let damaged = |reason: String| {
            let key = prefix.clone();
            LogError::Etcd(EtcdError::Damaged { key, reason })
        };
        let mut count = 0;
        let mut ends = Vec::new();
        for response in answer.op_responses() {
            if let TxnOpResponse::Get(mut get) = response {
                count = get.count() as u64;
                ends.extend(get.take_kvs());
            }
        }
        let [oldest, newest] = ends.as_slice() else {
            return Ok(());
        };
        let index = |kv: &KeyValue| {
            let stranger = || damaged(format!("{:?} is no key of a log", kv.key_str()));
            self.names.index(kv.key()).ok_or_else(stranger)
        };
        let (first, last) = (index(oldest)?, index(newest)?);
        let wanted = last.0 - first.0 + 1;
        if count != wanted {
            return Err(damaged(format!(
                "it has {count} records between {} and {}, not {wanted}",
                first.0, last.0
            )));
        }
        let newest = decode(&self.etcd, &self.names, last, newest, deadline(READING)).await?;
        (self.first, self.last, self.term) = (first, last, newest.term);
        Ok(())
    }

    fn fenced(&self) -> Compare {
        Compare::create_revision(
            self.fence.key.clone(),
            CompareOp::Equal,
            self.fence.create_revision,
        )
    }

    /// Asks for a transaction until it is answered, or the reign is over. It may be done more than once.
    fn ask(&self, doing: &'static str, txn: &Txn) -> Result<TxnResponse, LogError> {
        loop {
            let answer = self.runtime.block_on(async {
                let call = self.etcd.call(doing, deadline(PATIENCE), |client| {
                    let txn = txn.clone();
                    async move { kv(&client).txn(txn).await }
                });
                tokio::select! {
                    answer = call => answer.map_err(LogError::from),
                    () = self.standing.ended() => Err(LogError::Deposed),
                }
            });
            match answer {
                Err(LogError::Etcd(EtcdError::Unreachable { last, .. })) => {
                    tracing::warn!(last, "etcd does not answer; trying again while this reign lasts");
                }
                Err(LogError::Etcd(EtcdError::Full { .. })) => {
                    tracing::error!("etcd is full; waiting for space while this reign lasts");
                    std::thread::sleep(FULL_PAUSE);
                    if self.standing.is_over() {
                        return Err(LogError::Deposed);
                    }
                }
                other => return other,
            }
        }
    }

    fn append_one(&mut self, record: &Record) -> Result<(), LogError> {
        let (parts, value) = values(&self.names, record, self.fence.create_revision as u64);
        let bytes = parts.iter().map(|(_, part)| part.len()).sum::<usize>() + value.len();
        if let Some(pace) = &mut self.pace {
            self.runtime.block_on(pace.wait(bytes, &self.standing));
        }
        for (key, part) in parts {
            let put = TxnOp::put(key, part, None);
            let txn = Txn::new().when([self.fenced()]).and_then([put]);
            if !self.ask("write a part of a record", &txn)?.succeeded() {
                return Err(LogError::Deposed);
            }
        }
        let key = self.names.record(record.index);
        let mut compares = vec![self.fenced(), Compare::version(key.clone(), CompareOp::Equal, 0)];
        if self.last > Index(0) {
            let before = self.names.record(self.last);
            compares.push(Compare::version(before, CompareOp::Greater, 0));
        }
        let txn = Txn::new()
            .when(compares)
            .and_then([TxnOp::put(key.clone(), value.as_slice(), None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = self.ask("append to the metadata log", &txn)?;
        // An earlier attempt, whose answer was lost, may have done it. No other leader can write these bytes:
        // they hold the term.
        if answer.succeeded() || found(&answer).is_some_and(|kv| kv.value() == value) {
            self.last = record.index;
            self.term = record.term;
            return Ok(());
        }
        Err(LogError::Deposed)
    }
}

/// The value of a record's key, and before it the parts (keys and values) of one that is too long for one value.
/// `writer` tells the parts of one leader from another's.
pub fn values(names: &LogNames, record: &Record, writer: u64) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
    let mut value = vec![WHOLE];
    record.encode(&mut value);
    let frame = &value[1..];
    if frame.len() <= PART_BYTES {
        return (Vec::new(), value);
    }
    let part = |(number, part): (usize, &[u8])| {
        let key = names.part(record.index, writer, number as u32);
        (key, part.to_vec())
    };
    let parts: Vec<_> = frame.chunks(PART_BYTES).enumerate().map(part).collect();
    let mut value = vec![PARTS];
    value.extend(writer.to_be_bytes());
    value.extend((parts.len() as u32).to_be_bytes());
    (parts, value)
}

/// What a transaction's refusal found instead.
fn found(answer: &TxnResponse) -> Option<KeyValue> {
    let found = |response| match response {
        TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
        _ => None,
    };
    answer.op_responses().into_iter().find_map(found)
}

fn deadline(after: Duration) -> Instant {
    Instant::now() + after
}

impl MetadataLog for EtcdLog {
    fn first(&self) -> Index {
        self.first
    }

    fn last(&self) -> Index {
        self.last
    }

    fn term(&self) -> Term {
        self.term
    }

    fn append(&mut self, records: &[&Record]) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Deposed);
        }
        check_order(self.last, self.term, records)?;
        for record in records {
            if let Err(error) = self.append_one(record) {
                self.failed = true;
                self.standing.end();
                return Err(error);
            }
        }
        Ok(())
    }

    fn read_from(
        &self,
        index: Index,
        visit: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        if index < self.first {
            return Err(LogError::Trimmed {
                wanted: index,
                first: self.first,
            });
        }
        let mut next = index;
        while next <= self.last {
            let page = read_page(&self.etcd, &self.names, next, deadline(READING));
            let Page { records, .. } = self.runtime.block_on(page)?;
            if records.is_empty() {
                return Err(LogError::Etcd(EtcdError::Damaged {
                    key: self.names.record(next),
                    reason: "it is absent, and newer records are there".into(),
                }));
            }
            for record in records {
                next = record.index.next();
                if visit(record).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn trim(&mut self, up_to: Index) -> Result<(), LogError> {
        // The last record stays: the next append is compared with it.
        let end = up_to.next().min(self.last);
        while self.first < end {
            let step = Index((self.first.0 + TRIM_STEP).min(end.0));
            let range =
                |from: String, to: String| TxnOp::delete(from, Some(DeleteOptions::new().with_range(to)));
            let txn = Txn::new().when([self.fenced()]).and_then([
                range(self.names.record(self.first), self.names.record(step)),
                range(self.names.parts(self.first), self.names.parts(step)),
            ]);
            if !self.ask("trim the metadata log", &txn)?.succeeded() {
                return Err(LogError::Deposed);
            }
            self.first = step;
        }
        Ok(())
    }
}
