//! The tests with real processes and real mounts, one program so that the harness is linked once. Each module is
//! a subject; each test makes its own cluster, so that any order and any two at a time are right.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod acls;
mod administration;
mod agreement;
mod blaming;
mod cleaning;
mod clocks;
mod coordinators;
mod costs;
mod crash;
mod deployed;
mod directories;
mod disk_cache;
mod draining;
mod etcd;
mod failover;
mod fill;
mod frozen;
mod guard;
mod healing;
mod left_behind;
mod load;
mod locks;
mod lost_client;
mod luck;
mod mappings;
mod model;
mod mounting;
mod observing;
mod outage;
mod pending;
mod power;
mod programs;
mod quota;
mod rot;
mod sharing;
mod space;
mod stress;
mod suites;
mod sums;
mod trash;
mod turns;
mod unlinked;
mod volumes;
mod warming;
mod watching;
mod write_back;
mod xattrs;

use integration::{Cluster, Mount, Room};
use std::path::{Path, PathBuf};

/// The usual scene: one cluster, one mount. Fields go in this order: the mount first, the room last.
pub struct Scene {
    pub mount: Mount,
    pub cluster: Cluster,
    pub room: Room,
}

#[allow(
    clippy::new_without_default,
    reason = "a scene starts processes; nothing about it is a default"
)]
impl Scene {
    pub fn new() -> Self {
        Self::with("allow_other")
    }

    /// With other mount options.
    pub fn with(options: &str) -> Self {
        let room = Room::new();
        let cluster = Cluster::start(room.path());
        let mount = Mount::with(&cluster, room.path(), "mnt", "", options);
        Self { mount, cluster, room }
    }

    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    /// A second mount of the same volume.
    pub fn second(&self) -> Mount {
        Mount::new(&self.cluster, self.room.path(), "mnt-2")
    }
}
