//! The authority of several coordinators: etcd. Puts lease, election, registry and log together behind the trait;
//! the host calls it. Decides nothing that another coordinator could decide otherwise at the same time.

use super::connection::{Etcd, kv};
use super::election::{Attempt, attempt};
use super::error::EtcdError;
use super::lease::{self, Lease};
use super::names::Names;
use super::registry::{self, CoordinatorRow, Registry, VolumeRow, encode, parse};
use super::settings::EtcdSettings;
use super::space::{self, Space};
use crate::coordinator::authority::{
    Authority, AuthorityError, Leader, LogReader, LogSpace, Peer, Reign, VolumeEntry, VolumeState, check_name,
};
use crate::coordinator::log::{EtcdFollower, EtcdLog, LogError, values};
use dfs_core::ids::{Index, VolumeId};
use dfs_core::record::Record;
use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnResponse,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

/// Time for one question of an operator or of the host.
const ASKING: Duration = Duration::from_secs(10);
/// Attempts to write an entry that others write at the same time.
const TRIES: u32 = 20;
/// A leadership that nobody was seen to give up is tried for all the same.
const CAMPAIGN_AGAIN: Duration = Duration::from_secs(1);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the end of a process waits for etcd to know of it.
const CLOSING: Duration = Duration::from_secs(2);

/// This coordinator among the others.
pub struct EtcdAuthority {
    etcd: Etcd,
    names: Names,
    own: Leader,
    lease: watch::Receiver<Option<Arc<Lease>>>,
    registry: Arc<Registry>,
    checkpoints: watch::Sender<BTreeMap<u16, u64>>,
    space: watch::Receiver<Space>,
    tasks: Vec<JoinHandle<()>>,
}

impl EtcdAuthority {
    /// Takes part in the cluster, which is there (`cluster::join` saw to it). Returns when the registry was read;
    /// tries for as long as etcd is away, so bound it.
    pub async fn join(settings: &EtcdSettings, cluster: Uuid, own: Leader) -> EtcdAuthority {
        let etcd = Etcd::new(settings);
        let names = Names::new(cluster);
        let registry = Arc::new(Registry::new(names.clone(), own.coordinator));
        let checkpoints = watch::Sender::new(BTreeMap::new());
        let (tell_lease, lease) = watch::channel(None);
        let (tell_space, space) = watch::channel(Space::default());
        let leading = lease.clone();
        let leads = move || {
            leading
                .borrow()
                .as_ref()
                .is_some_and(|lease: &Arc<Lease>| lease.leads())
        };
        let (tell_read, mut read) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(lease::keep(etcd.clone(), settings.ttl, tell_lease)),
            tokio::spawn(registry::mirror(etcd.clone(), registry.clone(), tell_read)),
            tokio::spawn(space::keep(etcd.clone(), settings.quota, leads, tell_space)),
            tokio::spawn(enroll(
                etcd.clone(),
                names.coordinator(own.coordinator),
                own.address.clone(),
                lease.clone(),
                checkpoints.subscribe(),
            )),
        ];
        // The sender lives as long as the task, which ends with this.
        let _ = read.wait_for(|read| *read).await;
        EtcdAuthority {
            etcd,
            names,
            own,
            lease,
            registry,
            checkpoints,
            space,
            tasks,
        }
    }

    /// The lease under which something new can begin.
    async fn lease(&self) -> Arc<Lease> {
        let mut current = self.lease.clone();
        loop {
            let lease = current.borrow_and_update().clone();
            if let Some(lease) = lease.filter(|lease| !lease.is_over()) {
                return lease;
            }
            if current.changed().await.is_err() {
                // The process ends: nobody leads any more.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn get(&self, key: String, options: Option<GetOptions>) -> Result<Vec<KeyValue>, EtcdError> {
        let deadline = Instant::now() + ASKING;
        let mut found = self
            .etcd
            .call("read the registry", deadline, |client| {
                let (key, options) = (key.clone(), options.clone());
                async move { kv(&client).get(key, options).await }
            })
            .await?;
        Ok(found.take_kvs())
    }

    async fn txn(&self, doing: &'static str, txn: Txn) -> Result<TxnResponse, EtcdError> {
        let deadline = Instant::now() + ASKING;
        self.etcd
            .call(doing, deadline, |client| {
                let txn = txn.clone();
                async move { kv(&client).txn(txn).await }
            })
            .await
    }

    /// The entry of a volume, as etcd has it now.
    async fn entry(&self, volume: VolumeId) -> Result<(KeyValue, VolumeRow), AuthorityError> {
        let options = GetOptions::new().with_prefix();
        for kv in self.get(self.names.volumes(), Some(options)).await? {
            let row: VolumeRow = parse(kv.key(), kv.value())?;
            if row.number == volume.0 {
                return Ok((kv, row));
            }
        }
        Err(AuthorityError::NoVolume(volume))
    }
}

/// Keeps this coordinator's entry up, under whatever lease there is. Runs until it is cancelled.
async fn enroll(
    etcd: Etcd,
    key: String,
    address: String,
    mut lease: watch::Receiver<Option<Arc<Lease>>>,
    mut checkpoints: watch::Receiver<BTreeMap<u16, u64>>,
) {
    loop {
        let current = lease.borrow_and_update().clone();
        let row = CoordinatorRow {
            address: address.clone(),
            checkpoints: checkpoints.borrow_and_update().clone(),
        };
        if let Some(lease) = current {
            let deadline = Instant::now() + ASKING;
            let asked = etcd.call("enrol this coordinator", deadline, |client| {
                let (key, value) = (key.clone(), encode(&row));
                let options = PutOptions::new().with_lease(lease.id);
                async move { kv(&client).put(key, value, Some(options)).await }
            });
            match asked.await {
                Ok(_) => {}
                Err(error) if lease.is_over() => tracing::debug!(%error, "the lease is over"),
                Err(error) => {
                    tracing::warn!(%error, "others cannot see this coordinator yet");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
        }
        let changed = tokio::select! {
            changed = lease.changed() => changed,
            changed = checkpoints.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

#[tonic::async_trait]
impl Authority for EtcdAuthority {
    fn volumes(&self) -> watch::Receiver<Arc<Vec<VolumeEntry>>> {
        self.registry.volumes.subscribe()
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<Peer>>> {
        self.registry.peers.subscribe()
    }

    fn leader(&self, volume: VolumeId) -> watch::Receiver<Option<Leader>> {
        self.registry.leader(volume)
    }

    async fn create_volume(&self, name: &str, first: &Record) -> Result<VolumeEntry, AuthorityError> {
        check_name(name)?;
        let (entry, counter) = (self.names.volume(name), self.names.next_volume());
        let made = Uuid::new_v4();
        for _ in 0..TRIES {
            if let Some(kv) = self.get(entry.clone(), None).await?.pop() {
                let row: VolumeRow = parse(kv.key(), kv.value())?;
                if row.made != made {
                    return Err(AuthorityError::Exists(name.to_owned()));
                }
                return Ok(VolumeEntry {
                    number: VolumeId(row.number),
                    name: name.to_owned(),
                    state: VolumeState::Active,
                });
            }
            let next = self.get(counter.clone(), None).await?.pop();
            let (next, revision) = match &next {
                Some(kv) => (parse::<u32>(kv.key(), kv.value())?, kv.mod_revision()),
                None => (0, 0),
            };
            let number = u16::try_from(next).map_err(|_| AuthorityError::NoNumber)?;
            let row = VolumeRow {
                number,
                deleting: false,
                made,
            };
            let log = self.names.log(VolumeId(number));
            // A first record has a few rows: it never has parts.
            let (_, value) = values(&log, first, 0);
            let txn = Txn::new()
                .when([
                    Compare::version(entry.clone(), CompareOp::Equal, 0),
                    Compare::mod_revision(counter.clone(), CompareOp::Equal, revision),
                ])
                .and_then([
                    TxnOp::put(entry.clone(), encode(&row), None),
                    TxnOp::put(counter.clone(), encode(&(next + 1)), None),
                    TxnOp::put(log.record(first.index), value, None),
                ]);
            // Done, done before, or somebody else's: the next look tells.
            self.txn("create a volume", txn).await?;
        }
        Err(AuthorityError::Unreachable(format!(
            "others make volumes at the same time; try to create {name:?} again"
        )))
    }

    async fn delete_volume(&self, volume: VolumeId) -> Result<(), AuthorityError> {
        for _ in 0..TRIES {
            let (kv, row) = self.entry(volume).await?;
            if row.deleting {
                return Ok(());
            }
            let deleting = VolumeRow {
                deleting: true,
                ..row
            };
            let txn = Txn::new()
                .when([Compare::mod_revision(
                    kv.key(),
                    CompareOp::Equal,
                    kv.mod_revision(),
                )])
                .and_then([TxnOp::put(kv.key(), encode(&deleting), None)]);
            self.txn("delete a volume", txn).await?;
        }
        Err(AuthorityError::Unreachable(format!(
            "others change volume {volume} at the same time; try again"
        )))
    }

    async fn forget_volume(&self, volume: VolumeId) -> Result<(), AuthorityError> {
        let (kv, row) = self.entry(volume).await?;
        if !row.deleting {
            return Err(AuthorityError::NoVolume(volume));
        }
        let log = DeleteOptions::new().with_prefix();
        let txn = Txn::new()
            .when([Compare::mod_revision(
                kv.key(),
                CompareOp::Equal,
                kv.mod_revision(),
            )])
            .and_then([
                TxnOp::delete(self.names.log(volume).all(), Some(log)),
                TxnOp::delete(kv.key(), None),
            ]);
        self.txn("forget a volume", txn).await?;
        Ok(())
    }

    async fn campaign(&self, volume: VolumeId) -> Result<Reign, AuthorityError> {
        let mut leader = self.registry.leader(volume);
        loop {
            let lease = self.lease().await;
            match attempt(&self.etcd, &self.names, &self.own, volume, &lease).await {
                Ok(Attempt::Won(fence, standing)) => {
                    let names = self.names.log(volume);
                    let opened = EtcdLog::open(self.etcd.clone(), names, fence, standing.clone()).await;
                    if opened.is_err() {
                        standing.end();
                    }
                    return Ok(Reign {
                        log: Box::new(opened?.paced(self.space.clone())),
                        standing,
                    });
                }
                Ok(Attempt::Held) => {
                    let given_up = leader.wait_for(|leader| leader.is_none());
                    // Nothing was missed when the time is over: the next attempt tells.
                    let _ = tokio::time::timeout(CAMPAIGN_AGAIN, given_up).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the campaign goes on");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn follow(&self, volume: VolumeId, from: Index) -> Result<Box<dyn LogReader>, AuthorityError> {
        let names = self.names.log(volume);
        Ok(Box::new(EtcdFollower::new(self.etcd.clone(), names, from)))
    }

    async fn note_checkpoint(&self, volume: VolumeId, index: Index) -> Result<(), AuthorityError> {
        self.checkpoints.send_modify(|checkpoints| {
            checkpoints.insert(volume.0, index.0);
        });
        Ok(())
    }

    fn is_alone(&self) -> bool {
        false
    }

    fn log_space(&self) -> LogSpace {
        let Space { tight, low, full, .. } = *self.space.borrow();
        LogSpace {
            scarce: true,
            tight,
            low,
            full,
        }
    }

    async fn close(&self) {
        for task in &self.tasks {
            task.abort();
        }
        let Some(lease) = self.lease.borrow().clone() else {
            return;
        };
        lease.end();
        let id = lease.id;
        let deadline = Instant::now() + CLOSING;
        let asked = self
            .etcd
            .call("give up the lease", deadline, |mut client| async move {
                client.lease_revoke(id).await
            });
        match asked.await {
            Ok(_) | Err(EtcdError::LeaseGone { .. }) => {}
            Err(error) => tracing::warn!(%error, "others wait for the end of this coordinator's lease"),
        }
    }
}

impl Drop for EtcdAuthority {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl From<EtcdError> for AuthorityError {
    fn from(error: EtcdError) -> AuthorityError {
        AuthorityError::Log(LogError::Etcd(error))
    }
}
