//! The coordinator: owns a volume's namespace, sessions, leases and the picture of the datanodes. `run` is the
//! process, `Coordinator` the running parts, which `standalone` starts too. Stores no chunk and imports no other
//! role.

#[allow(dead_code, reason = "a coordinator that is alone asks only for its log")]
mod authority;
mod checkpoint;
mod clock;
#[allow(
    dead_code,
    unused_imports,
    reason = "its settings are not part of the command line yet"
)]
mod etcd;
mod executor;
mod inbox;
mod limits;
mod log;
mod recovery;
mod services;
mod settings;
mod space;
mod state;
mod workers;
mod writer;

pub use settings::{Args, Healing, Settings};

use crate::config::Fatal;
use crate::config::data_dir::DataDir;
use authority::{Authority as _, AuthorityError, Embedded, Leader, Reign};
use clock::{Now, wall_clock};
use dfs_core::ids::{ChunkId, NodeId, Term, VolumeId};
use executor::{Event, Executor, Fault, Recovery};
use inbox::Inbox;
use recovery::Recovered;
use state::Store;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;
use writer::Writer;

/// How long connections may stay after the executor has stopped: every stream was told to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Where `/metrics` is unless told otherwise.
pub const METRICS_PORT: u16 = 7480;

/// A copy of a chunk that somebody says is bad.
pub type BadCopy = (ChunkId, NodeId);

/// The running parts of a coordinator.
pub struct Coordinator {
    /// Keeps the data directory ours.
    dir: DataDir,
    inbox: Inbox,
    store: Store,
    settings: Arc<Settings>,
    term: Term,
    bad_copies: (mpsc::Sender<BadCopy>, mpsc::Receiver<BadCopy>),
    /// The executor's end.
    ended: oneshot::Receiver<Result<(), Fault>>,
}

/// What services and workers need of the coordinator.
#[derive(Clone)]
pub struct Handle {
    pub inbox: Inbox,
    pub store: Store,
    pub settings: Arc<Settings>,
    pub term: Term,
    /// Copies that somebody says are bad; the repair worker looks for itself.
    pub bad_copies: mpsc::Sender<BadCopy>,
}

impl Coordinator {
    /// Recovers the volume with state in the settings' directory and starts the executor.
    pub fn start(dir: DataDir, settings: Settings, reign: Reign, init: bool) -> Result<Coordinator, Fatal> {
        let Reign { log, standing } = reign;
        let Recovered { log, store, term } = recovery::recover(&settings.data_dir, log, init, wall_clock())
            .map_err(|error| Fatal(error.to_string()))?;
        let settings = Arc::new(settings);
        let inbox = Inbox::new();
        let disk_low = Arc::new(AtomicBool::new(false));
        space::watch(settings.data_dir.clone(), disk_low.clone())
            .map_err(|error| Fatal::io("cannot watch the disk's space", error))?;
        let writer = Writer::start(log, store.clone(), inbox.clone())
            .map_err(|error| Fatal::io("cannot start the log writer", error))?;
        let executor = Executor::new(
            settings.clone(),
            inbox.clone(),
            Box::new(writer),
            Recovery {
                applied: store.applied().map_err(|error| Fatal(error.to_string()))?,
                view: Box::new(store.clone()),
                term,
                standing,
            },
            disk_low,
            Now::read(),
        )
        .map_err(|error| Fatal(error.to_string()))?;
        let (tell, ended) = oneshot::channel();
        let condemned = settings.data_dir.clone();
        std::thread::Builder::new()
            .name("executor".to_owned())
            .spawn(move || {
                let result = executor.run();
                if let Err(Fault::View(error)) = &result
                    && let Err(failure) = recovery::condemn(&condemned, &error.to_string())
                {
                    tracing::error!(%failure, "the damaged state could not be condemned; delete it by hand");
                }
                // Nobody waits when the process is ending anyway.
                let _ = tell.send(result);
            })
            .map_err(|error| Fatal::io("cannot start the executor", error))?;
        tracing::info!(term = term.0, volume = settings.volume, cluster = %settings.cluster, "the coordinator serves");
        Ok(Coordinator {
            dir,
            inbox,
            store,
            settings,
            term,
            bad_copies: mpsc::channel(limits::BAD_COPIES),
            ended,
        })
    }

    pub fn handle(&self) -> Handle {
        Handle {
            inbox: self.inbox.clone(),
            store: self.store.clone(),
            settings: self.settings.clone(),
            term: self.term,
            bad_copies: self.bad_copies.0.clone(),
        }
    }

    /// Serves on `listener` until `stop` turns true or the executor fails. What was accepted is durable then.
    pub async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) -> Result<(), Fatal> {
        let handle = self.handle();
        self.settings.observer.health.started();
        let health = self.settings.observer.health.clone();
        let workers = workers::start(handle.clone(), self.bad_copies.1);
        let (end_server, server_end) = oneshot::channel::<()>();
        let server = tokio::spawn(services::serve(handle, listener, server_end));
        let mut ended = self.ended;
        let asked = async move {
            // A sender that is gone asks to stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let result = tokio::select! {
            result = &mut ended => executor_end(result),
            () = asked => {
                health.drain();
                tracing::info!("the coordinator stops");
                if self.inbox.send_now(Event::Stop).is_err() {
                    tracing::debug!("the executor has stopped already");
                }
                executor_end(ended.await)
            }
        };
        // Workers and the server end by themselves when these go.
        drop(end_server);
        drop(workers);
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

fn executor_end(result: Result<Result<(), Fault>, oneshot::error::RecvError>) -> Result<(), Fatal> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => Err(Fatal(format!("{fault}; start the coordinator again"))),
        Err(_) => Err(Fatal(
            "the coordinator's executor panicked; its log is intact: start it again".into(),
        )),
    }
}

/// The process `dfs-server coordinator`.
pub async fn run(args: Args) -> Result<(), Fatal> {
    let mut dir = DataDir::open(&args.data_dir, "coordinator", args.init)?;
    let cluster = join_cluster(&mut dir, &args)?;
    let observer = args.shared.observe(METRICS_PORT).await?;
    let advertised = args.listen.to_string();
    let coordinator = start_embedded(dir, args.settings(cluster, &observer)?, advertised, args.init).await?;
    let listener = bind(args.listen).await?;
    tracing::info!(address = %args.listen, "listening");
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        if let Err(error) = stop_signal().await {
            tracing::warn!(%error, "signals cannot be waited for");
            return;
        }
        // The receiver is gone when the coordinator ended by itself.
        let _ = tell.send(true);
    });
    coordinator.serve(listener, stop).await
}

/// Starts a coordinator that is alone, with its log in its own directory.
pub async fn start_embedded(
    dir: DataDir,
    settings: Settings,
    address: String,
    init: bool,
) -> Result<Coordinator, Fatal> {
    let wrong = |error: AuthorityError| Fatal(error.to_string());
    let own = Leader {
        coordinator: dir.identity().node,
        address,
    };
    let authority = Embedded::open(&settings.data_dir, &settings.volume, own).map_err(wrong)?;
    let known = authority
        .volumes()
        .borrow()
        .iter()
        .any(|entry| entry.number == VolumeId(0));
    if init && !known {
        let first = recovery::first_record(wall_clock());
        authority
            .create_volume(&settings.volume, &first)
            .await
            .map_err(wrong)?;
    }
    let reign = authority.campaign(VolumeId(0)).await.map_err(wrong)?;
    // Recovery reads files: not on the network's threads.
    tokio::task::spawn_blocking(move || Coordinator::start(dir, settings, reign, init))
        .await
        .map_err(|error| Fatal::io("recovery failed", error))?
}

/// The directory's cluster and volume, made on the first start.
pub fn join_cluster(dir: &mut DataDir, args: &Args) -> Result<Uuid, Fatal> {
    let cluster = match (dir.identity().cluster, args.cluster) {
        (_, Some(asked)) => asked,
        (Some(own), None) => own,
        (None, None) => Uuid::new_v4(),
    };
    dir.join(cluster)?;
    dir.keep_volume(&args.volume)?;
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

/// Returns when the process is asked to stop.
pub async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
