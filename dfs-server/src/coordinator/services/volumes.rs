//! Volumes: which there are and who leads them, making and deleting them, and checkpoints for other coordinators.

use super::stopping;
use crate::coordinator::authority::{AuthorityError, Leader, VolumeEntry, VolumeState};
use crate::coordinator::clock::wall_clock;
use crate::coordinator::host::Hosted;
use crate::coordinator::{checkpoint, recovery};
use bytes::Bytes;
use dfs_core::ids::{Index, VolumeId};
use dfs_proto::v1::volumes_server::Volumes;
use dfs_proto::v1::{
    CheckpointPart, CheckpointRequest, CreateVolumeReply, CreateVolumeRequest, DeleteVolumeReply,
    DeleteVolumeRequest, Volume, VolumesReply, VolumesRequest,
};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Bytes of a checkpoint in one message.
const PART_BYTES: usize = 1 << 20;
/// Messages ahead of the receiver.
const AHEAD: usize = 4;

pub struct Service {
    hosted: Hosted,
}

impl Service {
    pub fn new(hosted: Hosted) -> Service {
        Service { hosted }
    }

    fn describe(&self, (entry, leader, here): (VolumeEntry, Option<Leader>, bool)) -> Volume {
        let handle = self.hosted.led_here(entry.number);
        let applied = handle.and_then(|handle| handle.store.applied().ok());
        let newest = checkpoint::newest(&self.hosted.dir(entry.number)).unwrap_or_default();
        Volume {
            number: u32::from(entry.number.0),
            name: entry.name,
            deleting: entry.state == VolumeState::Deleting,
            leader: leader.map(|leader| leader.address).unwrap_or_default(),
            here,
            applied_index: applied.unwrap_or_default().0,
            checkpoint_index: newest.0,
        }
    }
}

fn refused(error: AuthorityError) -> Status {
    let message = error.to_string();
    match error {
        AuthorityError::BadName(_) => Status::invalid_argument(message),
        AuthorityError::Exists(_) => Status::already_exists(message),
        AuthorityError::NoVolume(_) => Status::not_found(message),
        AuthorityError::NoNumber => Status::resource_exhausted(message),
        AuthorityError::Unreachable(_) => Status::unavailable(message),
        AuthorityError::Log(_) | AuthorityError::Io { .. } | AuthorityError::Damaged { .. } => {
            Status::internal(message)
        }
    }
}

#[tonic::async_trait]
impl Volumes for Service {
    type CheckpointStream = ReceiverStream<Result<CheckpointPart, Status>>;

    async fn list(&self, _: Request<VolumesRequest>) -> Result<Response<VolumesReply>, Status> {
        let volumes = self.hosted.volumes();
        let volumes = volumes.into_iter().map(|volume| self.describe(volume)).collect();
        let peers = self.hosted.authority().peers().borrow().clone();
        let own = std::iter::once(self.hosted.own().address.clone());
        let coordinators = own.chain(peers.iter().map(|peer| peer.address.clone())).collect();
        Ok(Response::new(VolumesReply {
            cluster: self.hosted.settings().cluster.as_bytes().to_vec(),
            volumes,
            coordinators,
        }))
    }

    async fn create(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeReply>, Status> {
        let name = request.into_inner().name;
        let first = recovery::first_record(wall_clock());
        let entry = self
            .hosted
            .authority()
            .create_volume(&name, &first)
            .await
            .map_err(refused)?;
        tracing::info!(volume = name, number = entry.number.0, "a volume was made");
        let volume = Some(self.describe((entry, None, false)));
        Ok(Response::new(CreateVolumeReply { volume }))
    }

    async fn delete(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeReply>, Status> {
        let DeleteVolumeRequest { name, force } = request.into_inner();
        if name.is_empty() {
            return Err(Status::invalid_argument("name the volume to delete"));
        }
        let handle = self.hosted.here(self.hosted.route(&name), &name)?;
        let status = handle.status().await.ok_or_else(stopping)?;
        if !force && !status.sessions.is_empty() {
            return Err(Status::failed_precondition(format!(
                "volume {name:?} is in use by {} clients: unmount it, or use --force",
                status.sessions.len()
            )));
        }
        let number = handle.settings.number;
        self.hosted
            .authority()
            .delete_volume(number)
            .await
            .map_err(refused)?;
        tracing::warn!(
            volume = name,
            number = number.0,
            force,
            "a volume is being deleted"
        );
        Ok(Response::new(DeleteVolumeReply {}))
    }

    async fn checkpoint(
        &self,
        request: Request<CheckpointRequest>,
    ) -> Result<Response<Self::CheckpointStream>, Status> {
        let request = request.into_inner();
        let own = self.hosted.settings().cluster;
        if request.cluster != own.as_bytes() {
            return Err(Status::failed_precondition(format!("this is cluster {own}")));
        }
        let number =
            u16::try_from(request.volume).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let dir = self.hosted.dir(VolumeId(number));
        let known = checkpoint::list(&dir).map_err(|error| Status::not_found(error.to_string()))?;
        let wanted = |(index, _): &(Index, PathBuf)| request.index == 0 || index.0 == request.index;
        let Some((index, path)) = known.into_iter().find(wanted) else {
            return Err(Status::not_found("there is no such checkpoint here"));
        };
        let file = File::open(&path).map_err(|error| Status::not_found(error.to_string()))?;
        let (out, parts) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send(file, index, request.offset, &out) {
                tracing::warn!(%error, "a checkpoint was not sent");
                // The receiver may be gone, too.
                let _ = out.blocking_send(Err(Status::internal(error.to_string())));
            }
        });
        Ok(Response::new(ReceiverStream::new(parts)))
    }
}

/// Sends the file from `offset` on. The receiver verifies it whole.
fn send(
    mut file: File,
    index: Index,
    offset: u64,
    out: &mpsc::Sender<Result<CheckpointPart, Status>>,
) -> std::io::Result<()> {
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(offset))?;
    let mut first = true;
    loop {
        let mut bytes = Vec::with_capacity(PART_BYTES);
        file.by_ref().take(PART_BYTES as u64).read_to_end(&mut bytes)?;
        // A transfer that had everything already learns so from one empty part.
        if bytes.is_empty() && !first {
            return Ok(());
        }
        first = false;
        let part = CheckpointPart {
            index: index.0,
            size,
            bytes: Bytes::from(bytes),
        };
        if out.blocking_send(Ok(part)).is_err() {
            return Ok(());
        }
    }
}
