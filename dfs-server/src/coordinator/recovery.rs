//! From what is on disk to a store that has every record of the log: opens, rebuilds from a checkpoint when the
//! state is absent, damaged or too old, replays, and begins a new term. Called once, before the executor exists.

use super::checkpoint::{self, CheckpointError};
use super::log::{LogError, MetadataLog};
use super::state::{StateError, Store};
use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use dfs_core::rows::CounterRow;
use dfs_core::types::Timestamp;
use dfs_core::{keys, volume};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const STATE: &str = "state";
/// A file in the state directory that condemns it: a row was found damaged.
const CONDEMNED: &str = "CONDEMNED";
/// Records replayed in one step.
const REPLAY_STEP: usize = 64;

/// Why the coordinator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("there is no volume in {0}: give the right --data-dir, or --init to make a new one")]
    NoVolume(PathBuf),
    #[error(
        "the state in {dir} has record {state}, but the log ends at {log}: acknowledged records are gone from the log; \
         restore its files (a cut-off tail is kept beside its segment), or delete the state to accept the loss",
        state = .state.0, log = .log.0, dir = .dir.display()
    )]
    LogBehind { dir: PathBuf, state: Index, log: Index },
    #[error(
        "the log begins at record {first}, and no checkpoint in {dir} reaches it (the newest good one has {checkpoint}); \
         restore the missing segments or checkpoints",
        first = .first.0, checkpoint = .checkpoint.0, dir = .dir.display()
    )]
    Unreachable {
        dir: PathBuf,
        first: Index,
        checkpoint: Index,
    },
    #[error("setting {path} aside: {error}", path = .path.display())]
    Aside { path: PathBuf, error: std::io::Error },
}

/// Everything up to the end of the log, and a term that nobody had.
pub struct Recovered {
    pub log: Box<dyn MetadataLog>,
    pub store: Store,
    pub term: Term,
}

/// Recovers the volume with state and checkpoints in `dir` and this log; an empty log is begun only when `init`.
pub fn recover(
    dir: &Path,
    mut store: Store,
    mut log: Box<dyn MetadataLog>,
    init: bool,
    now: Timestamp,
) -> Result<Recovered, RecoveryError> {
    let newest = checkpoint::newest(dir)?;
    if log.last() == Index(0) && newest == Index(0) && store.applied()? == Index(0) {
        if !init {
            return Err(RecoveryError::NoVolume(dir.to_owned()));
        }
        log.append(&[&first_record(now)])?;
    }
    let applied = store.applied()?;
    if applied > log.last() {
        return Err(RecoveryError::LogBehind {
            dir: dir.to_owned(),
            state: applied,
            log: log.last(),
        });
    }
    let too_old = applied.next() < log.first();
    if too_old || applied == Index(0) {
        store = rebuild(dir, store, log.as_ref())?;
    }
    replay(log.as_ref(), &store)?;
    let term = Term(log.term().0 + 1);
    let begin = Record {
        index: log.last().next(),
        term,
        time: now,
        rows: Vec::new(),
    };
    log.append(&[&begin])?;
    store.apply([&begin])?;
    Ok(Recovered { log, store, term })
}

/// Condemns the state: the next start sets it aside and builds it again.
pub fn condemn(dir: &Path, reason: &str) -> std::io::Result<()> {
    std::fs::write(dir.join(STATE).join(CONDEMNED), reason)
}

/// The state as it is; one that was condemned or cannot be opened is set aside for an empty one.
pub fn open_state(dir: &Path) -> Result<Store, RecoveryError> {
    let path = dir.join(STATE);
    if let Ok(reason) = std::fs::read_to_string(path.join(CONDEMNED)) {
        tracing::error!(reason, "the state was found damaged");
        set_aside(&path)?;
    }
    match Store::open(&path) {
        Ok(store) => match store.applied() {
            Ok(_) => Ok(store),
            Err(error) => {
                drop(store);
                replace_damaged(&path, &error)
            }
        },
        Err(error @ StateError::Full(_)) => Err(error.into()),
        Err(error) => replace_damaged(&path, &error),
    }
}

/// The state of a follower that the log has left behind is that of its newest good checkpoint from now on. The old
/// one must not be open.
pub fn from_checkpoint(dir: &Path) -> Result<(), RecoveryError> {
    let path = dir.join(STATE);
    let outdated = path.with_extension("outdated");
    let fault = |error| RecoveryError::Aside {
        path: path.clone(),
        error,
    };
    if outdated.exists() {
        std::fs::remove_dir_all(&outdated).map_err(fault)?;
    }
    if path.exists() {
        std::fs::rename(&path, &outdated).map_err(fault)?;
        // It is a cache of what is durable elsewhere.
        std::fs::remove_dir_all(&outdated).map_err(fault)?;
    }
    let store = Store::open(&path)?;
    checkpoint::load_newest(dir, &store)?;
    Ok(())
}

fn replace_damaged(path: &Path, error: &StateError) -> Result<Store, RecoveryError> {
    if super::space::is_scarce(path) {
        // A full disk looks like damage, and a rebuilt state would not fit either.
        return Err(StateError::Full(path.to_owned()).into());
    }
    tracing::error!(%error, "the state is rebuilt from checkpoint and log");
    set_aside(path)?;
    Ok(Store::open(path)?)
}

/// Renames the state, so that nothing of it is lost to whoever wants to know what happened.
fn set_aside(path: &Path) -> Result<(), RecoveryError> {
    let fault = |error| RecoveryError::Aside {
        path: path.to_owned(),
        error,
    };
    for number in 1u32.. {
        let target = path.with_extension(format!("damaged-{number}"));
        if !target.exists() {
            tracing::warn!(to = %target.display(), "the damaged state is kept; delete it when it is not needed");
            return std::fs::rename(path, target).map_err(fault);
        }
    }
    Ok(())
}

/// An empty or outdated store becomes that of the newest good checkpoint, if the log goes on from there.
fn rebuild(dir: &Path, store: Store, log: &dyn MetadataLog) -> Result<Store, RecoveryError> {
    let store = if store.applied()? == Index(0) {
        store
    } else {
        drop(store);
        set_aside(&dir.join(STATE))?;
        Store::open(&dir.join(STATE))?
    };
    let loaded = checkpoint::load_newest(dir, &store)?.unwrap_or_default();
    if loaded.next() < log.first() || loaded > log.last() {
        return Err(RecoveryError::Unreachable {
            dir: dir.to_owned(),
            first: log.first(),
            checkpoint: loaded,
        });
    }
    if loaded > Index(0) {
        tracing::info!(index = loaded.0, "the state was rebuilt from a checkpoint");
    }
    Ok(store)
}

/// Applies what the store does not have yet.
fn replay(log: &dyn MetadataLog, store: &Store) -> Result<(), RecoveryError> {
    let applied = store.applied()?;
    let mut step = Vec::with_capacity(REPLAY_STEP);
    let mut failure = None;
    log.read_from(applied.next(), &mut |record| {
        step.push(record);
        if step.len() == REPLAY_STEP {
            if let Err(error) = store.apply(&step) {
                failure = Some(error);
                return ControlFlow::Break(());
            }
            step.clear();
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    store.apply(&step)?;
    let records = log.last().0 - applied.0;
    tracing::info!(records, index = log.last().0, "the log was replayed");
    Ok(())
}

/// The record that a new volume's log begins with.
pub fn first_record(now: Timestamp) -> Record {
    let effects = volume::initial_rows(now);
    let mut rows: Vec<_> = effects.rows.into_iter().collect();
    let inodes = CounterRow {
        value: effects.inodes as u64,
    };
    rows.push((keys::counter(b"inodes"), Some(inodes.encode())));
    Record {
        index: Index(1),
        term: Term(1),
        time: now,
        rows,
    }
}
