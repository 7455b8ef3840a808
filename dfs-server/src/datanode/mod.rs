//! The datanode: keeps immutable chunks on a store, receives, forwards, serves, verifies, copies and deletes
//! them, and tells the coordinator every second how it is. `run` is the process, `Datanode` the running parts,
//! which `standalone` starts too. Knows no file, no inode and no other role.

mod args;
mod beat;
mod buffers;
mod farewell;
mod membership;
mod scrub;
mod service;
mod spare;
mod store;
#[cfg(test)]
mod tests;
mod throttle;
mod volumes;

pub use args::{Args, Care, Settings};

use crate::config::Fatal;
use crate::config::data_dir::DataDir;
use crate::config::signals;
use membership::Membership;
use scrub::Scrub;
use service::ChunkService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::segment::SegmentStore;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// How long everything may take after the request to stop: the farewell, and the transfers under way. The next start
/// recovers from a crash anyway.
const DRAIN: Duration = Duration::from_secs(10);

/// Where `/metrics` is unless told otherwise.
const METRICS_PORT: u16 = 7481;

/// The running parts of a datanode.
pub struct Datanode {
    service: ChunkService,
    settings: Arc<Settings>,
    scrub: Option<Scrub>,
}

impl Datanode {
    /// Opens the data directory and scans its chunks; blocks on the disk.
    pub fn start(settings: Settings, init: bool) -> Result<Datanode, Fatal> {
        let dir = DataDir::open(&settings.data_dir, "datanode", init)?;
        let chunks = dir.path().join("chunks");
        std::fs::create_dir_all(&chunks)
            .map_err(|e| Fatal::io(format!("cannot make {}", chunks.display()), e))?;
        let store = SegmentStore::open(&chunks, settings.store()?)
            .map_err(|e| Fatal::io(format!("cannot open the chunks in {}", chunks.display()), e))?;
        let membership = Membership::open(dir)?;
        let store = Arc::new(store);
        let (metrics, care) = (&settings.observer.metrics, settings.care);
        let scrub = Scrub::start(store.clone(), &settings.data_dir, care.scrub_period, metrics)
            .map_err(|e| Fatal::io("cannot start the scrub's thread", e))?;
        let service = ChunkService::new(store, Arc::new(membership), metrics, care.repair_bandwidth);
        Ok(Datanode {
            service,
            settings: Arc::new(settings),
            scrub,
        })
    }

    /// From here on the process's health knows of this datanode.
    fn watch(&self) {
        let health = &self.settings.observer.health;
        let service = self.service.clone();
        let part = format!("datanode in {}", self.settings.data_dir.display());
        health.ready(&part, move || {
            if let Some(problem) = service.problem() {
                return Err(problem);
            }
            match service.membership().placed() {
                Ok(_) => Ok(()),
                Err(status) => Err(status.message().to_owned()),
            }
        });
        health.started();
    }

    /// Serves on `listener` until `stop` turns true.
    pub async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) -> Result<(), Fatal> {
        let listening = listener
            .local_addr()
            .map_err(|e| Fatal::io("a listener has no address", e))?;
        let usage = self.service.usage();
        tracing::info!(%listening, chunks = usage.chunks, used = usage.used, free = usage.free, "the datanode serves");
        self.watch();
        let health = self.settings.observer.health.clone();
        let (end_beats, ended) = oneshot::channel();
        let beat = beat::run(self.settings.clone(), self.service.clone(), listening, ended);
        let beat = tokio::spawn(beat);
        let farewell = self.service.farewell();
        let mut asked = stop.clone();
        let asked = async move {
            // A sender that is gone asks to stop as well.
            let _ = asked.wait_for(|stop| *stop).await;
            health.drain();
            farewell.say().await;
        };
        let service = self.service.clone();
        let server = service::serve(self.service, listener, asked);
        let ended = tokio::select! {
            ended = server => ended,
            () = drained(&mut stop) => Ok(()),
        };
        drop(end_beats);
        // A panic of it has been shown.
        let _ = beat.await;
        drop(self.scrub);
        tracing::info!(syncs = service.syncs(), "the datanode has stopped");
        ended
    }
}

/// Ends some time after `stop` turned true.
async fn drained(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
    tracing::info!("the datanode stops");
    tokio::time::sleep(DRAIN).await;
    tracing::warn!("transfers are still under way and are cut off; their senders will repeat them");
}

/// The process `dfs-server datanode`.
pub async fn run(args: Args) -> Result<(), Fatal> {
    let asked = signals::stop()?;
    let observer = args.shared.observe(METRICS_PORT).await?;
    let settings = args.settings(&observer)?;
    let datanode = start_blocking(settings, args.init).await?;
    let listener = bind(args.listen).await?;
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        asked.await;
        // The receiver is gone when the datanode ended by itself.
        let _ = tell.send(true);
    });
    datanode.serve(listener, stop).await
}

/// Opening reads files: not on the network's threads.
pub async fn start_blocking(settings: Settings, init: bool) -> Result<Datanode, Fatal> {
    tokio::task::spawn_blocking(move || Datanode::start(settings, init))
        .await
        .map_err(|error| Fatal::io("opening the data directory failed", error))?
}

pub async fn bind(address: SocketAddr) -> Result<TcpListener, Fatal> {
    TcpListener::bind(address).await.map_err(|e| {
        Fatal::io(
            format!("cannot listen on {address}; choose another with --listen"),
            e,
        )
    })
}
