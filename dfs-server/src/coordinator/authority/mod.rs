//! Who may lead a volume, where its log is, which volumes and coordinators there are. `Embedded` answers from the
//! data directory of a coordinator that is alone; others ask whoever decides for several. The host calls it; it
//! knows records only as what a log holds.

mod embedded;
#[cfg(test)]
mod memory;
mod standing;
#[cfg(test)]
mod tests;

pub use embedded::{Embedded, volume_dir};
#[cfg(test)]
pub use memory::{Memory, World};
pub use standing::Standing;

use super::log::{LogError, MetadataLog};
use dfs_core::ids::{Index, VolumeId};
use dfs_core::record::Record;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

/// Longest name of a volume, bytes.
pub const NAME_MAX: usize = 64;

/// Why the authority could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(
        "{0:?} is no name for a volume: letters, digits, '-', '_' and '.', at most {NAME_MAX} bytes, \
             beginning with a letter or digit"
    )]
    BadName(String),
    #[error("there is a volume {0:?} already, or it is being deleted: choose another name")]
    Exists(String),
    #[error("there is no volume number {0}")]
    NoVolume(VolumeId),
    #[error("no number is left for another volume")]
    NoNumber,
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{doing} {path}: {error}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{path} is damaged: {reason}; restore it from a copy", path = path.display())]
    Damaged { path: PathBuf, reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    Active,
    /// Its leader has its chunks deleted and forgets it then; nobody mounts it.
    Deleting,
}

/// A volume of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeEntry {
    pub number: VolumeId,
    pub name: String,
    pub state: VolumeState,
}

/// The coordinator that leads a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub coordinator: Uuid,
    /// `host:port` for clients, datanodes and other coordinators.
    pub address: String,
}

/// Another coordinator that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub coordinator: Uuid,
    pub address: String,
    /// Of each volume, the index of its newest durable, verified checkpoint there.
    pub checkpoints: BTreeMap<VolumeId, Index>,
}

/// The right to lead a volume, for as long as `standing` holds.
pub struct Reign {
    /// For the log writer's thread alone: appends are refused when the reign is over.
    pub log: Box<dyn MetadataLog>,
    pub standing: Standing,
}

/// How much room there is for logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSpace {
    /// There is never much: the log is kept short at the price of more checkpoints.
    pub scarce: bool,
    /// Checkpoints should be made soon, so that records can be trimmed.
    pub tight: bool,
    /// Only work that frees space should be taken.
    pub low: bool,
    /// Nothing can be written.
    pub full: bool,
}

/// A follower's eye on a volume's log.
#[tonic::async_trait]
pub trait LogReader: Send {
    /// The records that follow those returned before: at least one, or an error. Waits. Cancelling the wait loses
    /// nothing. `LogError::Trimmed`: too far behind, a checkpoint is needed.
    async fn next(&mut self) -> Result<Vec<Record>, LogError>;
}

/// What decides between coordinators. Every method may be called at any time, from any task.
#[tonic::async_trait]
pub trait Authority: Send + Sync + 'static {
    /// All volumes, as they change.
    fn volumes(&self) -> watch::Receiver<Arc<Vec<VolumeEntry>>>;

    /// The other coordinators that live, as they change.
    fn peers(&self) -> watch::Receiver<Arc<Vec<Peer>>>;

    /// Who leads the volume, as it changes; `None` while nobody does.
    fn leader(&self, volume: VolumeId) -> watch::Receiver<Option<Leader>>;

    /// Makes a volume whose log holds `first`, all or nothing. Numbers are never used again; the first is 0.
    async fn create_volume(&self, name: &str, first: &Record) -> Result<VolumeEntry, AuthorityError>;

    /// From now on the volume is being deleted. Repeating it changes nothing.
    async fn delete_volume(&self, volume: VolumeId) -> Result<(), AuthorityError>;

    /// Removes a deleted volume's log and entry; its leader calls it when its chunks are gone.
    async fn forget_volume(&self, volume: VolumeId) -> Result<(), AuthorityError>;

    /// Waits until this coordinator may lead the volume. Cancelling the wait gives up the candidacy. The reign
    /// ends by itself, or here by `Standing::end`, after which the authority lets others lead at once; the log
    /// must not be in use any more then.
    async fn campaign(&self, volume: VolumeId) -> Result<Reign, AuthorityError>;

    /// A reader of the volume's records from `from` on; `LogError::Trimmed` at once when they are gone.
    async fn follow(&self, volume: VolumeId, from: Index) -> Result<Box<dyn LogReader>, AuthorityError>;

    /// Tells the others of this coordinator's newest durable, verified checkpoint.
    async fn note_checkpoint(&self, volume: VolumeId, index: Index) -> Result<(), AuthorityError>;

    /// Whether nobody else can lead: what fails here fails for good.
    fn is_alone(&self) -> bool {
        true
    }

    /// The room for logs, where that is not the disk's that the state is on.
    fn log_space(&self) -> LogSpace {
        LogSpace::default()
    }

    /// Gives up everything that this coordinator holds and returns when others see it: the process ends.
    async fn close(&self);
}

/// A name that can be part of a path and of an URL.
pub fn check_name(name: &str) -> Result<(), AuthorityError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if begins_well && name.len() <= NAME_MAX && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(AuthorityError::BadName(name.to_owned()))
    }
}
