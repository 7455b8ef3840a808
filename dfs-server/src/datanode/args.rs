//! The datanode's settings: flags, environment and file, and what the rest of this role takes from them.

use super::store::segment;
use crate::config::units::{parse_duration, parse_size};
use crate::config::{Fatal, Shared};
use dfs_client::observe::Observer;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Left free by default: a hundredth of the disk, within these.
const RESERVE_PART: u64 = 100;
const RESERVE_LEAST: u64 = 4 << 20;
const RESERVE_MOST: u64 = 1 << 30;

/// Settings of `dfs-server datanode`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub shared: Shared,
    /// Directory for the chunks, best a disk of its own
    #[arg(long, value_name = "DIR", env = "DFS_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address to listen on
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7411",
        env = "DFS_LISTEN"
    )]
    pub listen: SocketAddr,
    /// Coordinators, host:port, separated by commas
    #[arg(
        long,
        value_name = "ADDRESSES",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400",
        env = "DFS_COORDINATOR"
    )]
    pub coordinator: Vec<String>,
    /// Address at which clients and other datanodes reach this one (default: the one listened on)
    #[arg(long, value_name = "ADDRESS", env = "DFS_ADVERTISE")]
    pub advertise: Option<String>,
    /// What fails together with this node, such as a rack or a room: copies go to different zones
    #[arg(long, default_value = "default", env = "DFS_ZONE")]
    pub zone: String,
    /// Most bytes for chunks, such as 500GiB (default: what the disk has)
    #[arg(long, value_name = "SIZE", value_parser = parse_size, env = "DFS_CAPACITY")]
    pub capacity: Option<u64>,
    /// Bytes of the disk left free (default: a hundredth, at least 4 MiB, at most 1 GiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size, env = "DFS_RESERVE")]
    pub reserve: Option<u64>,
    #[command(flatten)]
    pub care: Care,
    /// Make the data directory when it is missing; it then belongs to the first cluster that it joins
    #[arg(long)]
    pub init: bool,
}

/// How a datanode looks after what it keeps.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Care {
    /// Every chunk is read and checked once within this time; 0s: never
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = parse_duration, env = "DFS_SCRUB_PERIOD")]
    pub scrub_period: Duration,
    /// Most bytes per second that repairs and moves may take from this node, and bring to it; 0: no limit
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size, env = "DFS_REPAIR_BANDWIDTH")]
    pub repair_bandwidth: u64,
}

/// What the datanode's parts need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub coordinators: Vec<String>,
    /// Absent: the address listened on.
    pub advertise: Option<String>,
    pub zone: String,
    pub capacity: Option<u64>,
    pub reserve: Option<u64>,
    /// Datanodes that share the disk with this one, itself included.
    pub sharers: u64,
    pub care: Care,
    /// Where this datanode's figures are counted.
    pub observer: Observer,
}

impl Args {
    pub fn settings(&self, observer: &Observer) -> Result<Settings, Fatal> {
        if self.listen.ip().is_unspecified() && self.advertise.is_none() {
            return Err(Fatal(format!(
                "nobody can connect to {}: give the address that others reach with --advertise HOST:PORT",
                self.listen
            )));
        }
        if self.coordinator.iter().all(|address| address.is_empty()) {
            return Err(Fatal(
                "name at least one coordinator with --coordinator HOST:PORT".into(),
            ));
        }
        Ok(Settings {
            data_dir: self.data_dir.clone(),
            coordinators: self.coordinator.clone(),
            advertise: self.advertise.clone(),
            zone: self.zone.clone(),
            capacity: self.capacity,
            reserve: self.reserve,
            sharers: 1,
            care: self.care,
            observer: observer.clone(),
        })
    }
}

impl Settings {
    /// How the store uses the disk of the data directory, which exists.
    pub fn store(&self) -> Result<segment::Settings, Fatal> {
        let figures = nix::sys::statvfs::statvfs(&self.data_dir).map_err(|e| {
            Fatal::io(
                format!("cannot ask for the space of {}", self.data_dir.display()),
                e,
            )
        })?;
        let disk = figures.blocks() as u64 * figures.fragment_size() as u64;
        let usual = (disk / RESERVE_PART).clamp(RESERVE_LEAST, RESERVE_MOST);
        Ok(segment::Settings {
            capacity: self.capacity,
            reserve: self.reserve.unwrap_or(usual),
            sharers: self.sharers,
            segment_size: segment::SEGMENT_SIZE,
        })
    }
}
