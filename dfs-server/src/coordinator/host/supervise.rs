//! The host's owner: begins a life for each volume that the authority names, and ends those of volumes that are
//! gone. One task of the process.

use super::super::authority::{Authority, Leader};
use super::super::{Settings, space, turned};
use super::{Hosted, live};
use crate::config::Fatal;
use dfs_core::ids::VolumeId;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The running volumes of this process.
pub struct Host {
    pub hosted: Hosted,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), Fatal>>,
}

impl Host {
    /// Begins to host what the authority names. `init`: an empty log of volume 0 is begun.
    pub fn start(
        authority: Arc<dyn Authority>,
        own: Leader,
        settings: Settings,
        init: bool,
    ) -> Result<Host, Fatal> {
        let disk_low = Arc::new(AtomicBool::new(false));
        let logs = authority.clone();
        let elsewhere = move || logs.log_space().low;
        space::watch(settings.data_dir.clone(), disk_low.clone(), elsewhere)
            .map_err(|error| Fatal::io("cannot watch the disk's space", error))?;
        let hosted = Hosted::new(authority, own, settings, disk_low);
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(supervise(hosted.clone(), init, stopped));
        Ok(Host {
            hosted,
            stop,
            running,
        })
    }

    /// Returns when this coordinator leads every volume: what one that is alone waits for before it serves.
    pub async fn leads_all(&mut self) -> Result<(), Fatal> {
        let mut turns = self.hosted.0.turns.subscribe();
        loop {
            let named = self.hosted.authority().volumes().borrow().len();
            let led = self.hosted.volumes().iter().filter(|(.., here)| *here).count();
            if led == named && named > 0 {
                return Ok(());
            }
            tokio::select! {
                _ = turns.changed() => {}
                ended = &mut self.running => return ended.map_err(panicked)?.and(Err(Fatal(
                    "there is no volume: give the right --data-dir, or --init to make a new one".into(),
                ))),
            }
        }
    }

    /// Asks for the end: what was accepted is durable when `ended` returns.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns when every volume has stopped, or no volume can go on.
    pub async fn ended(&mut self) -> Result<(), Fatal> {
        (&mut self.running).await.map_err(panicked)?
    }
}

fn panicked(error: tokio::task::JoinError) -> Fatal {
    Fatal::io(
        "the coordinator's host failed; its logs are intact: start it again",
        error,
    )
}

type Lives = JoinSet<(VolumeId, Result<(), Fatal>)>;

async fn supervise(hosted: Hosted, init: bool, mut stop: watch::Receiver<bool>) -> Result<(), Fatal> {
    let mut volumes = hosted.authority().volumes();
    let mut lives = Lives::new();
    let mut stops: BTreeMap<VolumeId, watch::Sender<bool>> = BTreeMap::new();
    let mut result = Ok(());
    loop {
        let named = volumes.borrow_and_update().clone();
        for entry in named.iter() {
            hosted.knows(entry);
            if let Entry::Vacant(place) = stops.entry(entry.number) {
                let (tell, told) = watch::channel(false);
                place.insert(tell);
                let (hosted, entry) = (hosted.clone(), entry.clone());
                let number = entry.number;
                lives.spawn(async move { (number, live::run(hosted, entry, init, told).await) });
            }
        }
        for (number, tell) in &stops {
            if !named.iter().any(|entry| entry.number == *number) {
                tell.send_replace(true);
            }
        }
        tokio::select! {
            () = turned(&mut stop) => break,
            changed = volumes.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            Some(ended) = lives.join_next() => {
                let (number, ended) = ended.map_err(panicked)?;
                hosted.forget(number);
                if ended.is_ok() {
                    stops.remove(&number);
                }
                result = ended;
                if result.is_err() && lives.is_empty() {
                    break;
                }
            }
        }
    }
    for tell in stops.values() {
        tell.send_replace(true);
    }
    while let Some(ended) = lives.join_next().await {
        let (_, ended) = ended.map_err(panicked)?;
        result = result.and(ended);
    }
    hosted.authority().close().await;
    result
}
