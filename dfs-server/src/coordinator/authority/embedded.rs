//! The authority of a coordinator that is alone: logs, and the list of volumes, in its own data directory, whose
//! lock keeps others away. It leads whatever there is.

use super::{
    Authority, AuthorityError, Leader, LogReader, Peer, Reign, Standing, VolumeEntry, VolumeState, check_name,
};
use crate::config::data_dir::replace_file;
use crate::coordinator::log::{FileLog, LogError, MetadataLog};
use dfs_core::ids::{Index, VolumeId};
use dfs_core::record::Record;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

const FILE: &str = "volumes.toml";
const FORMAT: u32 = 1;
const LOG: &str = "log";
/// Below it the directories of all volumes but number 0, which has the data directory itself.
const VOLUMES: &str = "volumes";

/// The directory of a volume's log, state and checkpoints.
pub fn volume_dir(root: &Path, volume: VolumeId) -> PathBuf {
    match volume.0 {
        0 => root.to_owned(),
        number => root.join(VOLUMES).join(number.to_string()),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    format: u32,
    /// Number of the next volume.
    next: u32,
    #[serde(default)]
    volume: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    number: u16,
    name: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleting: bool,
}

/// Volumes of one data directory.
pub struct Embedded {
    root: PathBuf,
    /// The next number; its lock is held while the file changes.
    next: Mutex<u32>,
    volumes: watch::Sender<Arc<Vec<VolumeEntry>>>,
    peers: watch::Sender<Arc<Vec<Peer>>>,
    leader: watch::Sender<Option<Leader>>,
}

impl Embedded {
    /// Reads the list of volumes in `root`. A directory with a log and without a list has the one volume `only`.
    pub fn open(root: &Path, only: &str, own: Leader) -> Result<Embedded, AuthorityError> {
        let path = root.join(FILE);
        let (next, volumes) = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let entry = VolumeEntry {
                    number: VolumeId(0),
                    name: only.to_owned(),
                    state: VolumeState::Active,
                };
                match root.join(LOG).exists() {
                    true => (1, vec![entry]),
                    false => (0, Vec::new()),
                }
            }
            Err(error) => {
                return Err(AuthorityError::Io {
                    doing: "read",
                    path,
                    error,
                });
            }
        };
        Ok(Embedded {
            root: root.to_owned(),
            next: Mutex::new(next),
            volumes: watch::Sender::new(Arc::new(volumes)),
            peers: watch::Sender::new(Arc::default()),
            leader: watch::Sender::new(Some(own)),
        })
    }

    /// The number that the next volume gets.
    pub fn next_number(&self) -> u32 {
        *self.next.lock()
    }

    fn keep(&self, next: u32, volumes: Vec<VolumeEntry>) -> Result<(), AuthorityError> {
        let rows = volumes.iter().map(|entry| Row {
            number: entry.number.0,
            name: entry.name.clone(),
            deleting: entry.state == VolumeState::Deleting,
        });
        let table = Table {
            format: FORMAT,
            next,
            volume: rows.collect(),
        };
        let written = toml::to_string(&table)
            .map_err(std::io::Error::other)
            .and_then(|text| replace_file(&self.root, FILE, text.as_bytes()));
        written.map_err(|error| AuthorityError::Io {
            doing: "write",
            path: self.root.join(FILE),
            error,
        })?;
        self.volumes.send_replace(Arc::new(volumes));
        Ok(())
    }

    fn create(&self, name: &str, first: &Record) -> Result<VolumeEntry, AuthorityError> {
        check_name(name)?;
        let mut next = self.next.lock();
        let mut volumes = Vec::clone(&self.volumes.borrow());
        if volumes.iter().any(|entry| entry.name == name) {
            return Err(AuthorityError::Exists(name.to_owned()));
        }
        let number = VolumeId(u16::try_from(*next).map_err(|_| AuthorityError::NoNumber)?);
        let dir = volume_dir(&self.root, number).join(LOG);
        if number != VolumeId(0) && dir.exists() {
            // Left by an attempt that ended before the volume counted.
            remove(&volume_dir(&self.root, number))?;
        }
        let mut log = FileLog::open(&dir)?;
        log.append(&[first])?;
        drop(log);
        let entry = VolumeEntry {
            number,
            name: name.to_owned(),
            state: VolumeState::Active,
        };
        volumes.push(entry.clone());
        self.keep(*next + 1, volumes)?;
        *next += 1;
        Ok(entry)
    }

    /// Changes one volume's entry; `None` removes it.
    fn change(
        &self,
        number: VolumeId,
        change: impl Fn(VolumeEntry) -> Option<VolumeEntry>,
    ) -> Result<(), AuthorityError> {
        let next = self.next.lock();
        let volumes = Vec::clone(&self.volumes.borrow());
        if !volumes.iter().any(|entry| entry.number == number) {
            return Err(AuthorityError::NoVolume(number));
        }
        let changed = volumes.into_iter().filter_map(|entry| {
            if entry.number == number {
                change(entry)
            } else {
                Some(entry)
            }
        });
        self.keep(*next, changed.collect())
    }
}

fn parse(path: &Path, text: &str) -> Result<(u32, Vec<VolumeEntry>), AuthorityError> {
    let damaged = |reason: String| AuthorityError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let table: Table = toml::from_str(text).map_err(|error| damaged(error.to_string()))?;
    if table.format != FORMAT {
        return Err(damaged(format!(
            "it has format {}, this program knows {FORMAT}",
            table.format
        )));
    }
    let entries = table.volume.into_iter().map(|row| VolumeEntry {
        number: VolumeId(row.number),
        name: row.name,
        state: if row.deleting {
            VolumeState::Deleting
        } else {
            VolumeState::Active
        },
    });
    Ok((table.next, entries.collect()))
}

fn remove(dir: &Path) -> Result<(), AuthorityError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(AuthorityError::Io {
            doing: "remove",
            path: dir.to_owned(),
            error,
        }),
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl Authority for Embedded {
    fn volumes(&self) -> watch::Receiver<Arc<Vec<VolumeEntry>>> {
        self.volumes.subscribe()
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<Peer>>> {
        self.peers.subscribe()
    }

    fn leader(&self, _: VolumeId) -> watch::Receiver<Option<Leader>> {
        self.leader.subscribe()
    }

    async fn create_volume(&self, name: &str, first: &Record) -> Result<VolumeEntry, AuthorityError> {
        tokio::task::block_in_place(|| self.create(name, first))
    }

    async fn delete_volume(&self, volume: VolumeId) -> Result<(), AuthorityError> {
        let deleting = |entry| {
            Some(VolumeEntry {
                state: VolumeState::Deleting,
                ..entry
            })
        };
        tokio::task::block_in_place(|| self.change(volume, deleting))
    }

    async fn forget_volume(&self, volume: VolumeId) -> Result<(), AuthorityError> {
        tokio::task::block_in_place(|| {
            self.change(volume, |_| None)?;
            remove(&volume_dir(&self.root, volume).join(LOG))
        })
    }

    async fn campaign(&self, volume: VolumeId) -> Result<Reign, AuthorityError> {
        let dir = volume_dir(&self.root, volume).join(LOG);
        let log = tokio::task::block_in_place(|| FileLog::open(&dir))?;
        Ok(Reign {
            log: Box::new(log),
            standing: Standing::unlimited(),
        })
    }

    async fn follow(&self, _: VolumeId, _: Index) -> Result<Box<dyn LogReader>, AuthorityError> {
        Ok(Box::new(Alone))
    }

    async fn note_checkpoint(&self, _: VolumeId, _: Index) -> Result<(), AuthorityError> {
        Ok(())
    }

    async fn close(&self) {}
}

/// Nobody else writes an embedded log.
struct Alone;

#[tonic::async_trait]
impl LogReader for Alone {
    async fn next(&mut self) -> Result<Vec<Record>, LogError> {
        std::future::pending().await
    }
}
