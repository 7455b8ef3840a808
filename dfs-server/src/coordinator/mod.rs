//! The coordinator: owns the namespaces of volumes, sessions, leases and the picture of the datanodes. `run` is the
//! process, `Coordinator` the running parts, which `standalone` starts too. Stores no chunk and imports no other
//! role.

mod authority;
mod care;
mod checkpoint;
mod clock;
mod etcd;
mod executor;
mod host;
mod inbox;
mod limits;
mod log;
pub mod move_log;
mod recovery;
mod services;
mod settings;
#[cfg(test)]
mod simulation;
mod space;
mod state;
mod workers;
mod writer;

pub use settings::{Args, Policy, Settings};

use crate::config::Fatal;
use crate::config::data_dir::DataDir;
use crate::config::signals;
use authority::{Authority, AuthorityError, Embedded, Leader};
use clock::wall_clock;
use dfs_core::ids::{ChunkId, NodeId};
use etcd::{Etcd, EtcdAuthority, EtcdSettings};
use host::{Handle, Host};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// How long connections may stay after the volumes have stopped: every stream was told to end.
const DRAIN: Duration = Duration::from_secs(2);

/// How long a start waits until etcd has told which volumes there are.
const JOIN_LIMIT: Duration = Duration::from_secs(30);

/// Where `/metrics` is unless told otherwise.
pub const METRICS_PORT: u16 = 7480;

/// A copy of a chunk that somebody says is bad.
pub type BadCopy = (ChunkId, NodeId);

/// The running parts of a coordinator.
pub struct Coordinator {
    /// Keeps the data directory ours.
    dir: DataDir,
    host: Host,
}

impl Coordinator {
    /// Starts a coordinator that is alone, with the volumes' logs in its own directory; returns when it leads them.
    pub async fn start_alone(
        dir: DataDir,
        settings: Settings,
        address: String,
        init: bool,
    ) -> Result<Coordinator, Fatal> {
        let own = Leader {
            coordinator: dir.identity().node,
            address,
        };
        move_log::check_place(dir.path(), true)?;
        let authority = Embedded::open(&settings.data_dir, &settings.volume, own.clone()).map_err(wrong)?;
        first_volume(&authority, &settings, init).await?;
        let mut host = Host::start(Arc::new(authority), own, settings, init)?;
        host.leads_all().await?;
        Ok(Coordinator { dir, host })
    }

    /// Starts one coordinator among several, with the logs in etcd; returns when it takes part.
    pub async fn start_among(
        dir: DataDir,
        settings: Settings,
        etcd: &EtcdSettings,
        address: String,
        init: bool,
    ) -> Result<Coordinator, Fatal> {
        let own = Leader {
            coordinator: dir.identity().node,
            address,
        };
        let joined = EtcdAuthority::join(etcd, settings.cluster, own.clone());
        let authority = tokio::time::timeout(JOIN_LIMIT, joined).await.map_err(|_| {
            Fatal(format!(
                "etcd at {} does not answer: see whether a majority of its members runs",
                etcd.endpoints.join(",")
            ))
        })?;
        first_volume(&authority, &settings, init).await?;
        let host = Host::start(Arc::new(authority), own, settings, false)?;
        Ok(Coordinator { dir, host })
    }

    /// Serves on `listener` until `stop` turns true or no volume can go on. What was accepted is durable then.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Fatal> {
        let health = self.host.hosted.settings().observer.health.clone();
        self.host.hosted.watch();
        health.started();
        let (end_server, server_end) = oneshot::channel::<()>();
        let server = tokio::spawn(services::serve(self.host.hosted.clone(), listener, server_end));
        let result = tokio::select! {
            result = self.host.ended() => result,
            () = turned(&mut stop) => {
                health.drain();
                tracing::info!("the coordinator stops");
                self.host.stop();
                self.host.ended().await
            }
        };
        // The server ends by itself when this goes.
        drop(end_server);
        let served = match tokio::time::timeout(DRAIN, server).await {
            Ok(served) => served,
            Err(_) => {
                tracing::info!("clients that keep their connections are cut off");
                Ok(Ok(()))
            }
        };
        drop(self.dir);
        match served {
            Ok(Ok(())) => result,
            Ok(Err(error)) => result.and(Err(error)),
            Err(error) => result.and(Err(Fatal::io("the coordinator's server failed", error))),
        }
    }
}

fn wrong(error: AuthorityError) -> Fatal {
    Fatal(error.to_string())
}

/// With `init` the first volume of a cluster that has none is made.
async fn first_volume(authority: &dyn Authority, settings: &Settings, init: bool) -> Result<(), Fatal> {
    if !init || !authority.volumes().borrow().is_empty() {
        return Ok(());
    }
    let first = recovery::first_record(wall_clock());
    match authority.create_volume(&settings.volume, &first).await {
        // Another coordinator was faster.
        Ok(_) | Err(AuthorityError::Exists(_)) => Ok(()),
        Err(error) => Err(wrong(error)),
    }
}

/// The process `dfs-server coordinator`.
pub async fn run(args: Args) -> Result<(), Fatal> {
    let asked = signals::stop()?;
    let mut dir = DataDir::open(&args.data_dir, "coordinator", args.init)?;
    let observer = args.shared.observe(METRICS_PORT).await?;
    let coordinator = match args.etcd.settings()? {
        Some(etcd) => {
            let cluster = join_etcd(&mut dir, &etcd, &args).await?;
            let mut settings = args.policy.settings(&args.data_dir, cluster, &observer)?;
            etcd::agree(&Etcd::new(&etcd), &mut settings, args.etcd.share_settings)
                .await
                .map_err(|error| Fatal(error.to_string()))?;
            Coordinator::start_among(dir, settings, &etcd, args.advertised(), args.init).await?
        }
        None => {
            let cluster = join_cluster(&mut dir, &args.policy)?;
            let settings = args.policy.settings(&args.data_dir, cluster, &observer)?;
            Coordinator::start_alone(dir, settings, args.advertised(), args.init).await?
        }
    };
    let listener = bind(args.listen).await?;
    tracing::info!(address = %args.listen, "listening");
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        asked.await;
        // The receiver is gone when the coordinator ended by itself.
        let _ = tell.send(true);
    });
    coordinator.serve(listener, stop).await
}

/// The cluster in etcd, which the directory belongs to from now on.
async fn join_etcd(dir: &mut DataDir, settings: &EtcdSettings, args: &Args) -> Result<Uuid, Fatal> {
    move_log::check_place(dir.path(), false)?;
    let wanted = args.policy.cluster.or(dir.identity().cluster);
    let joined = etcd::join(&Etcd::new(settings), wanted, args.init).await;
    let cluster = joined.map_err(|error| Fatal(error.to_string()))?;
    dir.join(cluster)?;
    Ok(cluster)
}

/// The directory's cluster and first volume, made on the first start.
pub fn join_cluster(dir: &mut DataDir, policy: &Policy) -> Result<Uuid, Fatal> {
    let cluster = match (dir.identity().cluster, policy.cluster) {
        (_, Some(asked)) => asked,
        (Some(own), None) => own,
        (None, None) => Uuid::new_v4(),
    };
    dir.join(cluster)?;
    dir.keep_volume(&policy.volume)?;
    Ok(cluster)
}

pub async fn bind(address: SocketAddr) -> Result<TcpListener, Fatal> {
    TcpListener::bind(address).await.map_err(|error| {
        Fatal::io(
            format!("cannot listen on {address}; choose another with --listen"),
            error,
        )
    })
}

/// Returns when `stop` turns true; a sender that is gone asks to stop as well.
async fn turned(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
