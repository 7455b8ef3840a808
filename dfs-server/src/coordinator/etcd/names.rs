//! The names of everything that DFS keeps in etcd. The log, the election, the registry and the move of a log build
//! keys through here and nowhere else. Documented in docs/ARCHITECTURE.md.

use dfs_core::ids::{Index, VolumeId};
use uuid::Uuid;

/// Keys of one cluster.
#[derive(Clone, Debug)]
pub struct Names {
    cluster: Uuid,
    root: String,
}

impl Names {
    pub fn new(cluster: Uuid) -> Names {
        Names {
            cluster,
            root: format!("/dfs/{cluster}"),
        }
    }

    pub fn cluster(&self) -> Uuid {
        self.cluster
    }

    /// The cluster that a coordinator joins when it is told none.
    pub fn usual_cluster() -> &'static str {
        "/dfs/cluster"
    }

    /// Prefix of the few small keys that every coordinator watches.
    pub fn registry(&self) -> String {
        format!("{}/registry/", self.root)
    }

    /// What all members of the cluster agree on; its presence says that there is the cluster.
    pub fn config(&self) -> String {
        format!("{}config", self.registry())
    }

    /// The settings that all coordinators share.
    pub fn policy(&self) -> String {
        format!("{}/policy", self.root)
    }

    /// The data directory whose logs are being moved to a cluster that is not there yet.
    pub fn moving(&self) -> String {
        format!("{}/moving", self.root)
    }

    /// The number of the next volume.
    pub fn next_volume(&self) -> String {
        format!("{}next-volume", self.registry())
    }

    /// Prefix of the volumes' entries.
    pub fn volumes(&self) -> String {
        format!("{}volumes/", self.registry())
    }

    pub fn volume(&self, name: &str) -> String {
        format!("{}{name}", self.volumes())
    }

    /// Prefix of the coordinators that live.
    pub fn coordinators(&self) -> String {
        format!("{}coordinators/", self.registry())
    }

    /// A coordinator's entry, under its lease.
    pub fn coordinator(&self, id: Uuid) -> String {
        format!("{}{id}", self.coordinators())
    }

    /// Prefix of the leaders' keys.
    pub fn leaders(&self) -> String {
        format!("{}leaders/", self.registry())
    }

    /// Who leads the volume, under that coordinator's lease.
    pub fn leader(&self, volume: VolumeId) -> String {
        format!("{}{}", self.leaders(), volume.0)
    }

    /// Keys of the volume's log.
    pub fn log(&self, volume: VolumeId) -> LogNames {
        LogNames {
            root: format!("{}/{}", self.root, volume.0),
        }
    }
}

/// Keys of one log.
#[derive(Clone, Debug)]
pub struct LogNames {
    root: String,
}

impl LogNames {
    /// Prefix of all that belongs to the log.
    pub fn all(&self) -> String {
        format!("{}/", self.root)
    }

    /// Prefix of the records.
    pub fn records(&self) -> String {
        format!("{}/log/", self.root)
    }

    pub fn record(&self, index: Index) -> String {
        format!("{}{:016x}", self.records(), index.0)
    }

    /// The index in a record's key.
    pub fn index(&self, key: &[u8]) -> Option<Index> {
        let digits = key.strip_prefix(self.records().as_bytes())?;
        let digits = std::str::from_utf8(digits).ok()?;
        u64::from_str_radix(digits, 16).ok().map(Index)
    }

    /// Prefix of the parts of the record at `index`, of whoever tried to write it.
    pub fn parts(&self, index: Index) -> String {
        format!("{}/parts/{:016x}/", self.root, index.0)
    }

    pub fn part(&self, index: Index, writer: u64, number: u32) -> String {
        format!("{}{writer:016x}/{number:08x}", self.parts(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_indexes_and_read_back() {
        let names = Names::new(Uuid::from_u128(7)).log(VolumeId(3));
        let keys: Vec<String> = [1, 9, 10, 255, 256, 1 << 40, u64::MAX]
            .map(|index| names.record(Index(index)))
            .to_vec();
        assert!(keys.is_sorted());
        assert_eq!(names.index(keys[3].as_bytes()), Some(Index(255)));
        assert_eq!(
            keys[0],
            "/dfs/00000000-0000-0000-0000-000000000007/3/log/0000000000000001"
        );
        assert_eq!(names.index(b"/dfs/other"), None);
    }
}
