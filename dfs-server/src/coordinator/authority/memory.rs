//! Several coordinators in one process, with one log in memory between them: for tests, which also say whose reign
//! ends. The twin of the one on etcd.

use super::{Authority, AuthorityError, Leader, LogReader, Peer, Reign, Standing, VolumeEntry, VolumeState};
use crate::coordinator::log::{LogError, MemoryLog, MetadataLog};
use dfs_core::ids::{Index, VolumeId};
use dfs_core::record::Record;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::watch;

/// What the coordinators share: one volume.
pub struct World {
    log: Mutex<MemoryLog>,
    /// Rises with every append.
    appended: watch::Sender<u64>,
    volumes: watch::Sender<Arc<Vec<VolumeEntry>>>,
    peers: watch::Sender<Arc<Vec<Peer>>>,
    leader: watch::Sender<Option<Leader>>,
    reign: Mutex<Option<Standing>>,
}

impl World {
    pub fn new(first: &Record) -> Arc<World> {
        let mut log = MemoryLog::new();
        log.append(&[first]).expect("an empty log takes its first record");
        let entry = VolumeEntry {
            number: VolumeId(0),
            name: "default".to_owned(),
            state: VolumeState::Active,
        };
        Arc::new(World {
            log: Mutex::new(log),
            appended: watch::Sender::new(1),
            volumes: watch::Sender::new(Arc::new(vec![entry])),
            peers: watch::Sender::default(),
            leader: watch::Sender::new(None),
            reign: Mutex::new(None),
        })
    }

    /// Changes the list of volumes.
    pub fn name(&self, volumes: Vec<VolumeEntry>) {
        self.volumes.send_replace(Arc::new(volumes));
    }

    /// Ends the present reign, as a lease that ran out would.
    pub fn depose(&self) {
        if let Some(standing) = self.reign.lock().take() {
            standing.end();
        }
        self.leader.send_replace(None);
    }
}

/// One coordinator's part in the world.
pub struct Memory {
    pub world: Arc<World>,
    pub own: Leader,
    /// Stands for election only while this is true.
    pub stands: watch::Sender<bool>,
}

/// The log as one reign may write it.
struct Fenced {
    world: Arc<World>,
    standing: Standing,
}

impl MetadataLog for Fenced {
    fn first(&self) -> Index {
        self.world.log.lock().first()
    }

    fn last(&self) -> Index {
        self.world.log.lock().last()
    }

    fn term(&self) -> dfs_core::ids::Term {
        self.world.log.lock().term()
    }

    fn append(&mut self, records: &[&Record]) -> Result<(), LogError> {
        let mut log = self.world.log.lock();
        if self.standing.is_over() {
            let (own, newer) = (log.term(), dfs_core::ids::Term(log.term().0 + 1));
            return Err(LogError::Fenced { own, newer });
        }
        log.append(records)?;
        self.world.appended.send_replace(log.last().0);
        Ok(())
    }

    fn read_from(
        &self,
        index: Index,
        visit: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        self.world.log.lock().read_from(index, visit)
    }

    fn trim(&mut self, up_to: Index) -> Result<(), LogError> {
        self.world.log.lock().trim(up_to)
    }
}

struct Reader {
    world: Arc<World>,
    next: Index,
}

#[tonic::async_trait]
impl LogReader for Reader {
    async fn next(&mut self) -> Result<Vec<Record>, LogError> {
        let mut appended = self.world.appended.subscribe();
        // The world holds the sender.
        let _ = appended.wait_for(|last| *last >= self.next.0).await;
        let mut records = Vec::new();
        self.world.log.lock().read_from(self.next, &mut |record| {
            records.push(record);
            ControlFlow::Continue(())
        })?;
        self.next = Index(self.next.0 + records.len() as u64);
        Ok(records)
    }
}

#[tonic::async_trait]
impl Authority for Memory {
    fn is_alone(&self) -> bool {
        false
    }

    fn volumes(&self) -> watch::Receiver<Arc<Vec<VolumeEntry>>> {
        self.world.volumes.subscribe()
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<Peer>>> {
        self.world.peers.subscribe()
    }

    fn leader(&self, _: VolumeId) -> watch::Receiver<Option<Leader>> {
        self.world.leader.subscribe()
    }

    async fn create_volume(&self, name: &str, _: &Record) -> Result<VolumeEntry, AuthorityError> {
        Err(AuthorityError::Exists(name.to_owned()))
    }

    async fn delete_volume(&self, volume: VolumeId) -> Result<(), AuthorityError> {
        Err(AuthorityError::NoVolume(volume))
    }

    async fn forget_volume(&self, volume: VolumeId) -> Result<(), AuthorityError> {
        Err(AuthorityError::NoVolume(volume))
    }

    async fn campaign(&self, _: VolumeId) -> Result<Reign, AuthorityError> {
        let mut stands = self.stands.subscribe();
        let mut leader = self.world.leader.subscribe();
        loop {
            let _ = stands.wait_for(|stands| *stands).await;
            let _ = leader.wait_for(Option::is_none).await;
            let won = self.world.leader.send_if_modified(|leader| {
                let free = leader.is_none();
                leader.get_or_insert_with(|| self.own.clone());
                free
            });
            if !won {
                continue;
            }
            let standing = Standing::unlimited();
            *self.world.reign.lock() = Some(standing.clone());
            let log = Fenced {
                world: self.world.clone(),
                standing: standing.clone(),
            };
            return Ok(Reign {
                log: Box::new(log),
                standing,
            });
        }
    }

    async fn follow(&self, _: VolumeId, from: Index) -> Result<Box<dyn LogReader>, AuthorityError> {
        Ok(Box::new(Reader {
            world: self.world.clone(),
            next: from,
        }))
    }

    async fn note_checkpoint(&self, _: VolumeId, _: Index) -> Result<(), AuthorityError> {
        Ok(())
    }

    async fn close(&self) {}
}
