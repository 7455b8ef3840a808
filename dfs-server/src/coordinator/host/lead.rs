//! A reign over a volume: recovery to the log's end, then executor, log writer and workers until the reign or the
//! process ends. Started by `live`.

use super::super::authority::{Reign, Standing};
use super::super::clock::{Now, wall_clock};
use super::super::executor::{Executor, Fault, Recovery};
use super::super::inbox::Inbox;
use super::super::recovery::{self, Recovered, RecoveryError};
use super::super::state::Store;
use super::super::writer::Writer;
use super::super::{BadCopy, Settings, limits};
use crate::coordinator::care::Care;
use dfs_core::ids::Term;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{mpsc, oneshot};

/// What services and workers need of a volume that is led here.
#[derive(Clone)]
pub struct Handle {
    pub inbox: Inbox,
    pub store: Store,
    pub settings: Arc<Settings>,
    pub term: Term,
    /// What is known of the copies' state.
    pub care: Arc<Care>,
    /// Copies that somebody says are bad; the repair worker looks for itself.
    pub bad_copies: mpsc::Sender<BadCopy>,
    pub standing: Standing,
}

/// A volume's executor at work.
pub struct Led {
    pub handle: Handle,
    pub reported: mpsc::Receiver<BadCopy>,
    /// The executor's end; log writer and overlay are gone then.
    pub ended: oneshot::Receiver<Result<(), Fault>>,
}

/// Why a reign did not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl Led {
    /// Brings the store to the end of the log, begins a term and starts the executor. Blocks on disk and log.
    pub fn start(
        settings: Settings,
        store: Store,
        reign: Reign,
        init: bool,
        disk_low: Arc<AtomicBool>,
    ) -> Result<Led, StartError> {
        let Reign { log, standing } = reign;
        let Recovered { log, store, term } =
            recovery::recover(&settings.data_dir, store, log, init, wall_clock())?;
        let settings = Arc::new(settings);
        let inbox = Inbox::new();
        let writer = Writer::start(log, store.clone(), inbox.clone()).map_err(StartError::Thread)?;
        let recovery = Recovery {
            applied: store.applied().map_err(Fault::from)?,
            view: Box::new(store.clone()),
            term,
            standing: standing.clone(),
        };
        let writer = Box::new(writer);
        let executor = Executor::new(
            settings.clone(),
            inbox.clone(),
            writer,
            recovery,
            disk_low,
            Now::read(),
        )?;
        let (tell, ended) = oneshot::channel();
        let condemned = settings.data_dir.clone();
        let run = move || {
            let result = executor.run();
            if let Err(Fault::View(error)) = &result
                && let Err(failure) = recovery::condemn(&condemned, &error.to_string())
            {
                tracing::error!(%failure, "the damaged state could not be condemned; delete it by hand");
            }
            // Nobody waits when the process is ending anyway.
            let _ = tell.send(result);
        };
        let thread = std::thread::Builder::new().name("executor".to_owned());
        thread.spawn(run).map_err(StartError::Thread)?;
        let (bad_copies, reported) = mpsc::channel(limits::BAD_COPIES);
        tracing::info!(term = term.0, volume = settings.volume, cluster = %settings.cluster, "the coordinator serves");
        let handle = Handle {
            inbox,
            store,
            settings,
            term,
            care: Arc::default(),
            bad_copies,
            standing,
        };
        Ok(Led {
            handle,
            reported,
            ended,
        })
    }
}
