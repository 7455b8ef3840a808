//! To which cluster this datanode belongs, and in each volume which number it has and the highest term that it saw.
//! The heartbeat teaches it; every request is checked against it. What must survive a restart is on disk first.

use super::spare;
use crate::config::Fatal;
use crate::config::data_dir::DataDir;
use dfs_core::ids::VolumeId;
use dfs_proto::v1;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tonic::Status;
use uuid::Uuid;

/// The term of volume 0, and, with `-` and the volume's number behind it, of the others.
const TERM_FILE: &str = "term";

/// What a volume's leader taught.
#[derive(Clone, Copy, Default)]
struct Place {
    /// 0 until the leader has answered.
    node: u32,
    term: u64,
}

#[derive(Default)]
struct Seen {
    cluster: Option<Uuid>,
    /// Bounded by the volumes that the cluster ever had.
    places: BTreeMap<VolumeId, Place>,
}

impl Seen {
    fn term(&self, volume: VolumeId) -> u64 {
        self.places.get(&volume).map_or(0, |place| place.term)
    }
}

fn term_file(volume: VolumeId) -> String {
    match volume.0 {
        0 => TERM_FILE.to_owned(),
        number => format!("{TERM_FILE}-{number}"),
    }
}

/// The volume whose term the file of this name keeps.
fn volume_of(name: &str) -> Option<VolumeId> {
    match name.strip_prefix(TERM_FILE)? {
        "" => Some(VolumeId(0)),
        rest => Some(VolumeId(rest.strip_prefix('-')?.parse().ok()?)),
    }
}

/// The highest terms that are kept in `dir`.
fn kept_terms(dir: &Path) -> Result<BTreeMap<VolumeId, Place>, Fatal> {
    let unlisted = |e| Fatal::io(format!("cannot list {}", dir.display()), e);
    let mut places = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(unlisted)? {
        let entry = entry.map_err(unlisted)?;
        let Some(volume) = entry.file_name().to_str().and_then(volume_of) else {
            continue;
        };
        let file = entry.path();
        let text = std::fs::read_to_string(&file)
            .map_err(|e| Fatal::io(format!("cannot read {}", file.display()), e))?;
        let term = text.trim().parse().map_err(|e| {
            Fatal::io(
                format!("{} is damaged: write the volume's term into it", file.display()),
                e,
            )
        })?;
        places.insert(volume, Place { node: 0, term });
    }
    Ok(places)
}

pub struct Membership {
    dir: Mutex<DataDir>,
    path: PathBuf,
    uuid: Uuid,
    seen: RwLock<Seen>,
}

impl Membership {
    pub fn open(dir: DataDir) -> Result<Membership, Fatal> {
        spare::put_by(dir.path());
        let seen = Seen {
            cluster: dir.identity().cluster,
            places: kept_terms(dir.path())?,
        };
        let (path, uuid) = (dir.path().to_path_buf(), dir.identity().node);
        Ok(Membership {
            dir: Mutex::new(dir),
            path,
            uuid,
            seen: RwLock::new(seen),
        })
    }

    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    pub fn cluster(&self) -> Option<Uuid> {
        self.seen.read().cluster
    }

    /// This node's number in the volume.
    pub fn node(&self, volume: VolumeId) -> Result<u32, Status> {
        match self.seen.read().places.get(&volume).map_or(0, |place| place.node) {
            0 => Err(Status::unavailable(
                "this datanode has not reached the volume's leader yet: try again",
            )),
            node => Ok(node),
        }
    }

    /// Whether the leader of any volume has answered.
    pub fn placed(&self) -> Result<(), Status> {
        let volumes: Vec<VolumeId> = self.seen.read().places.keys().copied().collect();
        let first = volumes.first().copied().unwrap_or_default();
        let placed = volumes.into_iter().find(|volume| self.node(*volume).is_ok());
        self.node(placed.unwrap_or(first)).map(drop)
    }

    /// Learns from the answer of a volume's leader to a heartbeat. Blocks on the disk when something is new.
    pub fn learn(&self, volume: VolumeId, reply: &v1::BeatReply) -> Result<(), Fatal> {
        let cluster = Uuid::from_slice(&reply.cluster)
            .map_err(|e| Fatal::io("the coordinator's answer names no cluster", e))?;
        if reply.node == 0 {
            return Err(Fatal("the coordinator gave this datanode no number".into()));
        }
        if self.cluster() != Some(cluster) {
            self.dir.lock().join(cluster)?;
            self.seen.write().cluster = Some(cluster);
            tracing::info!(%cluster, "joined a cluster");
        }
        self.seen.write().places.entry(volume).or_default().node = reply.node;
        self.raise_term(volume, reply.term)
            .map_err(|e| Fatal::io("cannot keep the term", e))
    }

    /// A request of another cluster is refused.
    pub fn check_cluster(&self, cluster: &[u8]) -> Result<(), Status> {
        let asked = dfs_proto::convert::uuid(cluster, "cluster")?;
        match self.cluster() {
            Some(own) if *own.as_bytes() == asked => Ok(()),
            Some(own) => Err(Status::failed_precondition(format!(
                "this datanode belongs to cluster {own}, the request is for {}: use the addresses of that cluster",
                Uuid::from_bytes(asked)
            ))),
            None => Err(Status::unavailable(
                "this datanode has not joined a cluster yet: try again",
            )),
        }
    }

    /// An order of the volume's leader: refused under a term lower than the highest seen, which is kept on disk first.
    pub fn check_term(&self, volume: VolumeId, term: u64) -> Result<(), Status> {
        let highest = self.seen.read().term(volume);
        if term < highest {
            return Err(Status::failed_precondition(format!(
                "term {term} of volume {volume} is over, {highest} has begun: the sender is no longer the leader"
            )));
        }
        self.raise_term(volume, term)
            .map_err(|e| Status::internal(format!("cannot keep the term: {e}")))
    }

    fn raise_term(&self, volume: VolumeId, term: u64) -> std::io::Result<()> {
        if term <= self.seen.read().term(volume) {
            return Ok(());
        }
        // One at a time, so that a lower term never overwrites a higher one.
        let _turn = self.dir.lock();
        if term > self.seen.read().term(volume) {
            spare::replace(&self.path, &term_file(volume), format!("{term}\n").as_bytes())?;
            self.seen.write().places.entry(volume).or_default().term = term;
        }
        Ok(())
    }
}
