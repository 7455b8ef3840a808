//! Fetches a checkpoint from another coordinator, for one that is new or too far behind the log. What is received is
//! verified whole before it gets a checkpoint's name; a broken transfer goes on where it stopped.

use super::super::checkpoint::{self, CheckpointError};
use super::Hosted;
use dfs_client::channel::{MESSAGE_MAX, connect_lazy};
use dfs_core::ids::{Index, VolumeId};
use dfs_proto::v1::volumes_client::VolumesClient;
use dfs_proto::v1::{CheckpointPart, CheckpointRequest};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::{Status, Streaming};

/// A peer that is silent for this long is given up.
const SILENCE: Duration = Duration::from_secs(5);
/// Attempts to go on with one peer's checkpoint before another is asked.
const ATTEMPTS: usize = 3;
const PREFIX: &str = "fetched-";

/// Why no checkpoint was fetched.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("no other coordinator that lives has a checkpoint newer than record {0}")]
    Nobody(u64),
    #[error("{0}")]
    Peer(String),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("writing {path}: {error}", path = path.display())]
    Write { path: PathBuf, error: std::io::Error },
}

/// Fetches the newest checkpoint that a living peer has of the volume into `dir`, if it is newer than `applied` and
/// than what is there.
pub async fn fetch(
    hosted: &Hosted,
    volume: VolumeId,
    dir: &Path,
    applied: Index,
) -> Result<(), TransferError> {
    let own = checkpoint::newest(dir)?.max(applied);
    let peers = hosted.authority().peers().borrow().clone();
    let mut sources: Vec<(Index, String)> = peers
        .iter()
        .filter_map(|peer| Some((*peer.checkpoints.get(&volume)?, peer.address.clone())))
        .filter(|(index, _)| *index > own)
        .collect();
    sources.sort_by_key(|source| std::cmp::Reverse(source.0));
    let mut failure = TransferError::Nobody(own.0);
    for (_, address) in &sources {
        for _ in 0..ATTEMPTS {
            let cluster = hosted.settings().cluster.as_bytes().to_vec();
            match from_peer(address, cluster, volume, dir).await {
                Ok(index) => {
                    tracing::info!(from = address, index = index.0, "a checkpoint was fetched");
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(from = address, %error, "fetching a checkpoint was interrupted");
                    failure = error;
                }
            }
        }
    }
    Err(failure)
}

async fn from_peer(
    address: &str,
    cluster: Vec<u8>,
    volume: VolumeId,
    dir: &Path,
) -> Result<Index, TransferError> {
    let peer = |error: String| TransferError::Peer(format!("{address}: {error}"));
    let channel = connect_lazy(address).map_err(|error| peer(error.to_string()))?;
    let mut client = VolumesClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
    let begun = begun(dir)?;
    let request = CheckpointRequest {
        cluster,
        volume: u32::from(volume.0),
        index: begun.as_ref().map_or(0, |(index, ..)| index.0),
        offset: begun.as_ref().map_or(0, |(.., size)| *size),
    };
    let answer = within(client.checkpoint(request)).await;
    let answer = match answer {
        // The one that was begun is gone there: its newest from the start.
        Err(status) if status.code() == tonic::Code::NotFound && begun.is_some() => {
            drop_begun(dir)?;
            return Err(peer(status.message().to_owned()));
        }
        answer => answer.map_err(|status| peer(status.message().to_owned()))?,
    };
    let (index, path) = receive(answer.into_inner(), dir, begun)
        .await
        .map_err(|error| match error {
            Received::Peer(status) => peer(status.message().to_owned()),
            Received::Local(error) => error,
        })?;
    let dir = dir.to_owned();
    let adopted = tokio::task::spawn_blocking(move || checkpoint::adopt(&dir, &path, index)).await;
    adopted.map_err(|error| peer(error.to_string()))??;
    Ok(index)
}

enum Received {
    Peer(Status),
    Local(TransferError),
}

impl From<Status> for Received {
    fn from(status: Status) -> Received {
        Received::Peer(status)
    }
}

async fn receive(
    mut parts: Streaming<CheckpointPart>,
    dir: &Path,
    begun: Option<(Index, PathBuf, u64)>,
) -> Result<(Index, PathBuf), Received> {
    let mut to: Option<(Index, PathBuf, File, u64)> = None;
    let mut size = 0;
    while let Some(part) = within(parts.message()).await? {
        size = part.size;
        if to.is_none() {
            let index = Index(part.index);
            let path = dir.join(format!("{PREFIX}{:020}", index.0));
            let offset = begun
                .as_ref()
                .filter(|(own, ..)| *own == index)
                .map_or(0, |(.., size)| *size);
            let file = open(&path, offset).map_err(|error| local(&path, error))?;
            to = Some((index, path, file, offset));
        }
        if let Some((index, path, file, done)) = &mut to {
            if index.0 != part.index {
                return Err(Status::internal("parts of several checkpoints").into());
            }
            let written = tokio::task::block_in_place(|| file.write_all(&part.bytes));
            written.map_err(|error| local(path, error))?;
            *done += part.bytes.len() as u64;
        }
    }
    match to {
        Some((index, path, _, done)) if done == size => Ok((index, path)),
        _ => Err(Status::unavailable("the checkpoint ends too early").into()),
    }
}

fn open(path: &Path, offset: u64) -> std::io::Result<File> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.set_len(offset)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

fn local(path: &Path, error: std::io::Error) -> Received {
    let path = path.to_owned();
    Received::Local(TransferError::Write { path, error })
}

async fn within<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(SILENCE, work)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

/// A transfer that was begun and not finished: its index, file and bytes.
fn begun(dir: &Path) -> Result<Option<(Index, PathBuf, u64)>, TransferError> {
    let fault = |error| TransferError::Write {
        path: dir.to_owned(),
        error,
    };
    for entry in std::fs::read_dir(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name();
        let index = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        if let Some(index) = index {
            let size = entry.metadata().map_err(fault)?.len();
            return Ok(Some((Index(index), entry.path(), size)));
        }
    }
    Ok(None)
}

fn drop_begun(dir: &Path) -> Result<(), TransferError> {
    let Some((_, path, _)) = begun(dir)? else {
        return Ok(());
    };
    std::fs::remove_file(&path).map_err(|error| TransferError::Write { path, error })
}
