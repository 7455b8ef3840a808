//! One volume's life in this process: follower, leader, follower again, until the process stops or the volume is
//! gone. It owns the volume's store.

use super::super::authority::{LogReader, Reign, VolumeEntry, VolumeState};
use super::super::executor::{Event, Fault};
use super::super::inbox::WriterError;
use super::super::log::LogError;
use super::super::recovery::{self, RecoveryError};
use super::super::state::Store;
use super::super::{turned, workers};
use super::lead::{Led, StartError};
use super::{Hosted, checkpoints, delete, follow, transfer};
use crate::config::Fatal;
use dfs_client::channel::Backoff;
use dfs_core::ids::VolumeId;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pauses after something failed that may work again.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// The store while it is open, with the task that makes its checkpoints.
struct Kept {
    store: Store,
    checkpoints: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.checkpoints.abort();
    }
}

struct Life {
    hosted: Hosted,
    entry: VolumeEntry,
    init: bool,
    stop: watch::Receiver<bool>,
    kept: Option<Kept>,
}

fn is_deleting(named: &[VolumeEntry], number: VolumeId) -> bool {
    let is = |entry: &VolumeEntry| entry.number == number && entry.state == VolumeState::Deleting;
    named.iter().any(is)
}

/// How a reign ended.
enum End {
    Stopped,
    /// The volume was deleted.
    Gone,
    Deposed,
    /// The log does not reach back to what is here, but there are others to ask.
    Behind,
    Failed(Fatal),
}

/// Lives until `stop` turns true, the volume is gone, or it cannot go on and is the only one here.
pub async fn run(
    hosted: Hosted,
    entry: VolumeEntry,
    init: bool,
    stop: watch::Receiver<bool>,
) -> Result<(), Fatal> {
    let number = entry.number;
    let mut life = Life {
        hosted,
        entry,
        init: init && number == VolumeId(0),
        stop,
        kept: None,
    };
    let result = life.run().await;
    drop(life.kept.take());
    let gone = !life
        .hosted
        .authority()
        .volumes()
        .borrow()
        .iter()
        .any(|entry| entry.number == number);
    let dir = life.hosted.dir(number);
    // A registry that lost its content names no volume either.
    let known = life.hosted.volumes().into_iter().map(|(entry, ..)| entry);
    let seen: Vec<VolumeEntry> = known.chain([life.entry.clone()]).collect();
    if gone && !is_deleting(&seen, number) {
        tracing::error!(
            volume = life.entry.name,
            dir = %dir.display(),
            "the list of volumes does not name this volume any more, and it was not seen being deleted: state, log and \
             checkpoints are kept. If the list was lost, restore it (etcd's snapshot) and start the coordinator again; \
             if the volume was deleted, remove them by hand"
        );
    } else if gone {
        let removed = tokio::task::spawn_blocking(move || delete::remove_local(&dir, number)).await;
        match removed {
            Ok(Ok(())) => tracing::info!(volume = life.entry.name, "a volume is gone"),
            Ok(Err(error)) => tracing::warn!(%error, "what is left of a deleted volume stays on the disk"),
            Err(error) => tracing::error!(%error, "a thread failed"),
        }
    }
    result
}

impl Life {
    async fn run(&mut self) -> Result<(), Fatal> {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST, None);
        loop {
            let end = match self.candidate(&mut backoff).await {
                Ok(None) => return Ok(()),
                Ok(Some(reign)) => self.reign(reign).await,
                Err(fatal) => End::Failed(fatal),
            };
            match end {
                End::Stopped | End::Gone => return Ok(()),
                End::Deposed => {
                    tracing::warn!(
                        volume = self.entry.name,
                        "another coordinator leads the volume, or will"
                    );
                }
                End::Behind => self.catch_up().await?,
                // Among others it tries again: what failed may be etcd, or a checkpoint that a peer has.
                End::Failed(fatal)
                    if self.hosted.volumes().len() <= 1 && self.hosted.authority().is_alone() =>
                {
                    return Err(fatal);
                }
                End::Failed(fatal) => {
                    tracing::error!(volume = self.entry.name, %fatal, "the volume is begun again");
                    self.kept = None;
                }
            }
            if self.pause(&mut backoff).await {
                return Ok(());
            }
        }
    }

    /// Waits a little; true when it is time to stop.
    async fn pause(&mut self, backoff: &mut Backoff) -> bool {
        tokio::select! {
            () = turned(&mut self.stop) => true,
            _ = backoff.wait() => false,
        }
    }

    /// The store, opened when it is not.
    async fn store(&mut self) -> Result<Store, Fatal> {
        if let Some(kept) = &self.kept {
            return Ok(kept.store.clone());
        }
        let dir = self.hosted.dir(self.entry.number);
        let opened = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&dir)
                .map_err(|error| Fatal::io(format!("cannot make {}", dir.display()), error))?;
            recovery::open_state(&dir).map_err(|error| Fatal(error.to_string()))
        });
        let store = opened
            .await
            .map_err(|error| Fatal::io("opening the state failed", error))??;
        self.keep(store.clone());
        Ok(store)
    }

    fn keep(&mut self, store: Store) {
        self.kept = None;
        let checkpoints = checkpoints::run(self.hosted.clone(), self.entry.number, store.clone());
        self.kept = Some(Kept {
            store,
            checkpoints: tokio::spawn(checkpoints),
        });
    }

    /// Follows until the volume may be led here; `None` when it is time to stop.
    async fn candidate(&mut self, backoff: &mut Backoff) -> Result<Option<Reign>, Fatal> {
        loop {
            let store = self.store().await?;
            let applied = store.applied().map_err(|error| Fatal(error.to_string()))?;
            let authority = self.hosted.authority().clone();
            let reader = tokio::select! {
                () = turned(&mut self.stop) => return Ok(None),
                reader = authority.follow(self.entry.number, applied.next()) => reader,
            };
            let failure = match reader {
                Ok(reader) => match self.stand(reader, store).await {
                    Stood::Elected(reign) => return Ok(Some(reign)),
                    Stood::Stopped => return Ok(None),
                    Stood::Behind => None,
                    Stood::Failed(reason) => Some(reason),
                },
                Err(error) if is_behind(&error) => None,
                Err(error) => Some(error.to_string()),
            };
            match failure {
                Some(reason) => tracing::warn!(volume = self.entry.name, reason, "cannot follow the log"),
                None => self.catch_up().await?,
            }
            if self.pause(backoff).await {
                return Ok(None);
            }
        }
    }

    /// Follows and stands for election.
    async fn stand(&mut self, reader: Box<dyn LogReader>, store: Store) -> Stood {
        let (quit, told) = watch::channel(false);
        let mut follower = tokio::spawn(follow::run(reader, store, told));
        let authority = self.hosted.authority().clone();
        let stood = tokio::select! {
            biased;
            () = turned(&mut self.stop) => Stood::Stopped,
            ended = &mut follower => return match ended {
                Ok(Err(follow::FollowError::Log(LogError::Trimmed { .. }))) => Stood::Behind,
                Ok(Err(error)) => Stood::Failed(error.to_string()),
                Ok(Ok(())) => Stood::Stopped,
                Err(error) => Stood::Failed(error.to_string()),
            },
            elected = authority.campaign(self.entry.number) => match elected {
                Ok(reign) => Stood::Elected(reign),
                Err(error) => Stood::Failed(error.to_string()),
            },
        };
        // What it applies must not meet what the leader applies.
        quit.send_replace(true);
        match follower.await {
            Ok(Ok(())) => stood,
            Ok(Err(error)) => {
                tracing::warn!(volume = self.entry.name, %error, "following ended");
                stood
            }
            Err(error) => {
                if let Stood::Elected(reign) = stood {
                    reign.standing.end();
                }
                Stood::Failed(error.to_string())
            }
        }
    }

    /// The log begins after what the store has: a checkpoint, one's own or a peer's, makes up for it.
    async fn catch_up(&mut self) -> Result<(), Fatal> {
        let store = self.store().await?;
        let applied = store.applied().map_err(|error| Fatal(error.to_string()))?;
        let dir = self.hosted.dir(self.entry.number);
        if let Err(error) = transfer::fetch(&self.hosted, self.entry.number, &dir, applied).await {
            tracing::warn!(volume = self.entry.name, %error, "no newer checkpoint was fetched");
        }
        drop(store);
        self.kept = None;
        let loaded = tokio::task::spawn_blocking(move || load_newer(&dir, applied)).await;
        match loaded {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(volume = self.entry.name, %error, "the state stays behind the log");
                Ok(())
            }
            Err(error) => Err(Fatal::io("loading a checkpoint failed", error)),
        }
    }

    /// Leads until the reign, the volume or the process ends.
    async fn reign(&mut self, reign: Reign) -> End {
        let standing = reign.standing.clone();
        let store = match self.store().await {
            Ok(store) => store,
            Err(fatal) => {
                standing.end();
                return End::Failed(fatal);
            }
        };
        let settings = self.hosted.settings_of(&self.entry);
        let (init, disk_low) = (self.init, self.hosted.0.disk_low.clone());
        let started =
            tokio::task::spawn_blocking(move || Led::start(settings, store, reign, init, disk_low)).await;
        let end = match started {
            Ok(Ok(led)) => self.serve(led).await,
            Ok(Err(error)) if standing.is_over() || was_fenced(&error) => {
                tracing::warn!(volume = self.entry.name, %error, "the reign was over before it began");
                End::Deposed
            }
            Ok(Err(error)) if self.is_left_behind(&error) => {
                tracing::warn!(volume = self.entry.name, %error, "others must lead until a checkpoint is fetched");
                End::Behind
            }
            Ok(Err(error)) => End::Failed(Fatal(error.to_string())),
            Err(error) => End::Failed(Fatal::io("recovery failed", error)),
        };
        standing.end();
        end
    }

    /// Records were trimmed that the store lacks, and another coordinator may have a checkpoint.
    fn is_left_behind(&self, error: &StartError) -> bool {
        let unreachable = matches!(error, StartError::Recovery(RecoveryError::Unreachable { .. }));
        unreachable && !self.hosted.authority().peers().borrow().is_empty()
    }

    async fn serve(&mut self, led: Led) -> End {
        let (number, standing) = (self.entry.number, led.handle.standing.clone());
        // Recovery may have set the old one aside.
        self.keep(led.handle.store.clone());
        let mut ended = led.ended;
        let inbox = led.handle.inbox.clone();
        let (store, term) = (led.handle.store.clone(), led.handle.term);
        let workers = workers::start(led.handle.clone(), led.reported);
        if !self.is_doomed() {
            self.hosted.leads(number, Some(led.handle));
        }
        let mut volumes = self.hosted.authority().volumes();
        let being_deleted = async {
            let _ = volumes.wait_for(|named| is_deleting(named, number)).await;
        };
        let told = tokio::select! {
            result = &mut ended => Err(result),
            () = turned(&mut self.stop) => Ok(End::Stopped),
            () = standing.ended() => Ok(End::Deposed),
            () = being_deleted => Ok(End::Gone),
        };
        self.hosted.leads(number, None);
        let (asked, result) = match told {
            Err(result) => (None, result),
            Ok(end) => {
                let event = if matches!(end, End::Deposed) {
                    Event::Deposed
                } else {
                    Event::Stop
                };
                if inbox.send_now(event).is_err() {
                    tracing::debug!("the executor has stopped already");
                }
                (Some(end), ended.await)
            }
        };
        drop(workers);
        let end = match result {
            Ok(Ok(())) => asked.unwrap_or(End::Stopped),
            Ok(Err(fault)) if standing.is_over() || is_fenced(&fault) => End::Deposed,
            Ok(Err(fault)) => End::Failed(Fatal(format!("{fault}; start the coordinator again"))),
            Err(_) => End::Failed(Fatal(
                "the coordinator's executor panicked; its log is intact: start it again".into(),
            )),
        };
        match end {
            End::Gone => {
                self.entry.state = VolumeState::Deleting;
                self.delete(store, term, &standing).await
            }
            end => end,
        }
    }

    fn is_doomed(&self) -> bool {
        let volumes = self.hosted.authority().volumes();
        let volumes = volumes.borrow();
        let own = volumes.iter().find(|entry| entry.number == self.entry.number);
        own.is_none_or(|entry| entry.state == VolumeState::Deleting)
    }

    /// The volume's chunks, then its log and its place in the list.
    async fn delete(
        &mut self,
        store: Store,
        term: dfs_core::ids::Term,
        standing: &super::super::authority::Standing,
    ) -> End {
        let settings = self.hosted.settings_of(&self.entry);
        tokio::select! {
            () = turned(&mut self.stop) => return End::Stopped,
            () = standing.ended() => return End::Deposed,
            () = delete::chunks(&settings, &store, term) => {}
        }
        drop(store);
        match self.hosted.authority().forget_volume(self.entry.number).await {
            Ok(()) => End::Gone,
            Err(error) => {
                tracing::warn!(%error, volume = self.entry.name, "the deleted volume's log is still there");
                End::Deposed
            }
        }
    }
}

enum Stood {
    Elected(Reign),
    Stopped,
    Behind,
    Failed(String),
}

fn is_behind(error: &super::super::authority::AuthorityError) -> bool {
    use super::super::authority::AuthorityError;
    matches!(error, AuthorityError::Log(LogError::Trimmed { .. }))
}

fn is_fenced(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Deposed | Fault::Writer(WriterError::Log(LogError::Fenced { .. }))
    )
}

fn was_fenced(error: &StartError) -> bool {
    match error {
        StartError::Recovery(RecoveryError::Log(LogError::Fenced { .. })) => true,
        StartError::Fault(fault) => is_fenced(fault),
        _ => false,
    }
}

/// Replaces the state by that of the newest checkpoint, if it is newer than `applied`.
fn load_newer(dir: &Path, applied: dfs_core::ids::Index) -> Result<(), RecoveryError> {
    if super::super::checkpoint::newest(dir)? > applied {
        recovery::from_checkpoint(dir)?;
    }
    Ok(())
}
