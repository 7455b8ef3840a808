//! To which cluster this datanode belongs, which number it has there, and the highest term that it saw. The
//! heartbeat teaches it; every request is checked against it. What must survive a restart is on disk first.

use super::spare;
use crate::config::Fatal;
use crate::config::data_dir::DataDir;
use dfs_proto::v1;
use parking_lot::{Mutex, RwLock};
use std::path::PathBuf;
use tonic::Status;
use uuid::Uuid;

const TERM_FILE: &str = "term";

#[derive(Clone, Copy, Default)]
struct Seen {
    cluster: Option<Uuid>,
    /// 0 until the coordinator has answered.
    node: u32,
    term: u64,
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
        let file = dir.path().join(TERM_FILE);
        let term = match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map_err(|e| {
                Fatal::io(
                    format!("{} is damaged: write the cluster's term into it", file.display()),
                    e,
                )
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(Fatal::io(format!("cannot read {}", file.display()), e)),
        };
        let seen = Seen {
            cluster: dir.identity().cluster,
            node: 0,
            term,
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

    /// This node's number in the cluster.
    pub fn node(&self) -> Result<u32, Status> {
        match self.seen.read().node {
            0 => Err(Status::unavailable(
                "this datanode has not reached its coordinator yet: try again",
            )),
            node => Ok(node),
        }
    }

    /// Learns from the coordinator's answer to a heartbeat. Blocks on the disk when something is new.
    pub fn learn(&self, reply: &v1::BeatReply) -> Result<(), Fatal> {
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
        self.seen.write().node = reply.node;
        self.raise_term(reply.term)
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

    /// A leader's order: refused under a term lower than the highest seen, which is kept on disk first.
    pub fn check_term(&self, term: u64) -> Result<(), Status> {
        let highest = self.seen.read().term;
        if term < highest {
            return Err(Status::failed_precondition(format!(
                "term {term} is over, {highest} has begun: the sender is no longer the leader"
            )));
        }
        self.raise_term(term)
            .map_err(|e| Status::internal(format!("cannot keep the term: {e}")))
    }

    fn raise_term(&self, term: u64) -> std::io::Result<()> {
        if term <= self.seen.read().term {
            return Ok(());
        }
        // One at a time, so that a lower term never overwrites a higher one.
        let _turn = self.dir.lock();
        if term > self.seen.read().term {
            spare::replace(&self.path, TERM_FILE, format!("{term}\n").as_bytes())?;
            self.seen.write().term = term;
        }
        Ok(())
    }
}
