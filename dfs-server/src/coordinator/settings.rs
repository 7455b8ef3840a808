//! The coordinator's settings: flags, environment and file, and what the rest of this role takes from them.

use super::etcd::EtcdArgs;
use crate::config::units::parse_duration;
use crate::config::{Fatal, Shared};
use dfs_client::observe::Observer;
use dfs_core::ids::VolumeId;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// Copies of each chunk unless the operator says otherwise.
const REPLICATION: u8 = 3;

/// Settings of `dfs-server coordinator`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub shared: Shared,
    /// Address to listen on
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7400",
        env = "DFS_LISTEN"
    )]
    pub listen: SocketAddr,
    /// Directory for the metadata log, the state and the checkpoints
    #[arg(long, value_name = "DIR", env = "DFS_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Make the data directory and a new volume when they are missing
    #[arg(long)]
    pub init: bool,
    /// Address at which clients, datanodes and other coordinators reach this one (default: the one listened on)
    #[arg(long, value_name = "ADDRESS", env = "DFS_ADVERTISE")]
    pub advertise: Option<String>,
    #[command(flatten)]
    pub etcd: EtcdArgs,
    #[command(flatten)]
    pub policy: Policy,
}

/// What holds for a coordinator in whichever process it runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Policy {
    /// UUID of the cluster; with --init the one to make (default: a fresh one), else the one to expect
    #[arg(long, value_name = "UUID", env = "DFS_CLUSTER")]
    pub cluster: Option<Uuid>,
    /// Name of the cluster's first volume
    #[arg(long, default_value = "default", env = "DFS_VOLUME")]
    pub volume: String,
    /// Copies of each chunk (default: 3; of a standalone server one on each datanode, at most 3)
    #[arg(long, value_name = "COPIES", value_parser = clap::value_parser!(u8).range(1..=8), env = "DFS_REPLICATION")]
    pub replication: Option<u8>,
    /// Fewest copies on disk for a write to count (default: more than half)
    #[arg(long, value_name = "COPIES", env = "DFS_MIN_REPLICAS")]
    pub min_replicas: Option<u8>,
    /// How long a silent client's leases are waited for
    #[arg(long, default_value = "10s", value_parser = parse_duration, env = "DFS_LEASE_TERM")]
    pub lease_term: Duration,
    /// How long a silent client may come back with its open files and locks
    #[arg(long, default_value = "5m", value_parser = parse_duration, env = "DFS_SESSION_TIMEOUT")]
    pub session_timeout: Duration,
    /// How long an unreferenced chunk is kept before it is deleted
    #[arg(long, default_value = "30s", value_parser = parse_duration, env = "DFS_GC_DELAY")]
    pub gc_delay: Duration,
    /// How often what the datanodes hold is compared with the metadata
    #[arg(long, default_value = "10m", value_parser = parse_duration, env = "DFS_INVENTORY_INTERVAL")]
    pub inventory_interval: Duration,
    /// How often chunks with little content in use are looked for and rewritten
    #[arg(long, default_value = "10m", value_parser = parse_duration, env = "DFS_CLEAN_INTERVAL")]
    pub clean_interval: Duration,
    /// Records of the log after which a checkpoint is made (there is also a bound in bytes)
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..), env = "DFS_CHECKPOINT_RECORDS")]
    pub checkpoint_records: u64,
    /// Leases of all clients of a volume together; beyond it what lies idle is asked back
    #[arg(long, default_value_t = 1 << 21, value_parser = clap::value_parser!(u32).range(1024..), env = "DFS_MAX_LEASES")]
    pub max_leases: u32,
    #[command(flatten)]
    pub healing: Healing,
}

/// When datanodes count as gone.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Healing {
    /// How long a datanode may be silent before it is routed around
    #[arg(long, default_value = "3s", value_parser = parse_duration, env = "DFS_SUSPECT_AFTER")]
    pub suspect_after: Duration,
    /// How long a datanode may be silent before its copies are made anew elsewhere
    #[arg(long, default_value = "10m", value_parser = parse_duration, env = "DFS_DEAD_AFTER")]
    pub dead_after: Duration,
}

/// What the coordinator's parts need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub cluster: Uuid,
    pub volume: String,
    pub number: VolumeId,
    pub replication: usize,
    pub min_replicas: usize,
    pub lease_term: Duration,
    pub session_timeout: Duration,
    pub gc_delay: Duration,
    pub inventory_interval: Duration,
    pub clean_interval: Duration,
    pub checkpoint_records: u64,
    pub max_leases: u32,
    /// Where this volume's figures are counted.
    pub observer: Observer,
    pub healing: Healing,
}

impl Args {
    /// Where others reach this coordinator.
    pub fn advertised(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }
}

impl Policy {
    /// The settings for this cluster, checked against one another.
    pub fn settings(&self, data_dir: &Path, cluster: Uuid, observer: &Observer) -> Result<Settings, Fatal> {
        let replication = usize::from(self.replication.unwrap_or(REPLICATION));
        let min_replicas = self.min_replicas.map_or(replication / 2 + 1, usize::from);
        if min_replicas == 0 || min_replicas > replication {
            return Err(Fatal(format!(
                "--min-replicas {min_replicas} must be between 1 and --replication {replication}"
            )));
        }
        if self.session_timeout < self.lease_term {
            return Err(Fatal(
                "--session-timeout must not be shorter than --lease-term".into(),
            ));
        }
        if self.healing.dead_after < self.healing.suspect_after {
            return Err(Fatal(
                "--dead-after must not be shorter than --suspect-after".into(),
            ));
        }
        Ok(Settings {
            data_dir: data_dir.to_owned(),
            cluster,
            volume: self.volume.clone(),
            number: VolumeId(0),
            replication,
            min_replicas,
            lease_term: self.lease_term,
            session_timeout: self.session_timeout,
            gc_delay: self.gc_delay,
            inventory_interval: self.inventory_interval,
            clean_interval: self.clean_interval,
            checkpoint_records: self.checkpoint_records,
            max_leases: self.max_leases,
            observer: observer.clone(),
            healing: self.healing,
        })
    }
}
