//! The rows on disk, in an embedded ordered store. The log writer applies records, the executor reads through
//! its overlay, checkpoints and operators read moments. Rows and the applied index change together. It is not
//! synced: the log is in front of it, and what a crash loses is replayed.

use super::StateError;
use dfs_core::ids::Index;
use dfs_core::record::Record;
use dfs_core::view::{View, ViewError};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Memory for blocks read from disk: with the write buffers it bounds what the state takes, however many files
/// there are.
const CACHE_BYTES: u64 = 256 << 20;
/// Memory for rows not yet in tables, for each of the two keyspaces.
const WRITE_BUFFER_BYTES: u64 = 32 << 20;
/// Disk for the store's own journals (the smallest that the store accepts is 64 MiB).
const JOURNAL_BYTES: u64 = 128 << 20;
/// A scan that takes longer than this and so much for each row has stepped over old versions of rows that change all the time: the write
/// buffer keeps each version until it is written out, and a scan needs 0.7 us for each (7 ms after 10,000 changes of one
/// extent's row, 2 us after they were written out).
const SLOW_SCAN: Duration = Duration::from_micros(500);
const SLOW_ROW: Duration = Duration::from_micros(5);
/// Bytes of rows that make it worthwhile to write the buffer out before it is full.
const WRITE_OUT_BYTES: u64 = 256 << 10;
/// And no sooner than this after the last time: a scan can be slow for other reasons, and many small tables make all slow.
const WRITE_OUT_PAUSE: Duration = Duration::from_millis(500);

type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;
const ROWS: &str = "rows";
const MARKS: &str = "marks";
const APPLIED: &[u8] = b"applied";

/// The durable rows up to `applied`.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    database: Database,
    rows: Keyspace,
    marks: Keyspace,
    /// Bytes of rows applied since the last checkpoint.
    grown: Arc<AtomicU64>,
    buffer: Arc<Buffer>,
}

/// What is known of the write buffer.
#[derive(Debug, Default)]
struct Buffer {
    /// Bytes of rows since it was last written out on purpose.
    bytes: AtomicU64,
    /// A scan was slow since then.
    slow: AtomicBool,
    written_out: Mutex<Option<Instant>>,
}

/// All rows as they were at one index.
pub struct Moment {
    store: Store,
    snapshot: fjall::Snapshot,
    pub index: Index,
}

impl Store {
    /// Opens the store in `path` or makes an empty one.
    pub fn open(path: &Path) -> Result<Store, StateError> {
        let damaged = |error: fjall::Error| fault(path, error);
        let options = || KeyspaceCreateOptions::default().max_memtable_size(WRITE_BUFFER_BYTES);
        let database = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()
            .map_err(damaged)?;
        let rows = database.keyspace(ROWS, options).map_err(damaged)?;
        let marks = database.keyspace(MARKS, options).map_err(damaged)?;
        Ok(Store {
            path: path.to_owned(),
            database,
            rows,
            marks,
            grown: Arc::default(),
            buffer: Arc::default(),
        })
    }

    /// The index of the last record whose rows are here; 0 in an empty store.
    pub fn applied(&self) -> Result<Index, StateError> {
        self.parse_applied(
            self.marks
                .get(APPLIED)
                .map_err(|error| fault(&self.path, error))?
                .as_deref(),
        )
    }

    fn parse_applied(&self, value: Option<&[u8]>) -> Result<Index, StateError> {
        match value.map(<[u8; 8]>::try_from) {
            None => Ok(Index(0)),
            Some(Ok(bytes)) => Ok(Index(u64::from_be_bytes(bytes))),
            Some(Err(_)) => Err(StateError::Damaged {
                path: self.path.clone(),
                reason: "the applied index is no number".to_owned(),
            }),
        }
    }

    /// Makes the records' rows part of the store, with the last one's index, all or nothing.
    pub fn apply<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Result<(), StateError> {
        let mut batch = self.database.batch();
        let mut last = None;
        let mut bytes = 0;
        for record in records {
            for (key, value) in &record.rows {
                bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                match value {
                    Some(value) => batch.insert(&self.rows, key, value),
                    None => batch.remove(&self.rows, key.as_slice()),
                }
            }
            last = Some(record.index);
        }
        if let Some(index) = last {
            batch.insert(&self.marks, APPLIED, index.0.to_be_bytes());
        }
        batch.commit().map_err(|error| fault(&self.path, error))?;
        self.grown.fetch_add(bytes as u64, Ordering::Relaxed);
        self.write_out_versions(bytes as u64)
    }

    /// Writes the buffer to a table, which keeps the newest version of each row alone, if old ones slow scans down.
    fn write_out_versions(&self, bytes: u64) -> Result<(), StateError> {
        let held = self.buffer.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held < WRITE_OUT_BYTES || !self.buffer.slow.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut last = self.buffer.written_out.lock();
        if last.is_none_or(|last| last.elapsed() >= WRITE_OUT_PAUSE) {
            *last = Some(Instant::now());
            self.buffer.slow.store(false, Ordering::Relaxed);
            self.buffer.bytes.store(0, Ordering::Relaxed);
            // Each only finds out afterwards which versions nobody can look at any more: the small one goes first.
            for keyspace in [&self.marks, &self.rows] {
                keyspace
                    .rotate_memtable()
                    .map_err(|error| fault(&self.path, error))?;
            }
        }
        Ok(())
    }

    /// Tables on disk.
    #[cfg(test)]
    pub fn tables(&self) -> usize {
        self.rows.table_count()
    }

    /// Bytes of rows that were applied since the store was opened, less those that a checkpoint made up for.
    pub fn grown(&self) -> u64 {
        self.grown.load(Ordering::Relaxed)
    }

    /// A checkpoint has these bytes.
    pub fn shrink_grown(&self, bytes: u64) {
        self.grown.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Adds rows of a checkpoint; `finish_load` makes them count.
    pub fn load(&self, rows: Vec<(&[u8], &[u8])>) -> Result<(), StateError> {
        let mut batch = self.database.batch();
        for (key, value) in rows {
            batch.insert(&self.rows, key, value);
        }
        batch.commit().map_err(|error| fault(&self.path, error))
    }

    /// All rows of the checkpoint at `index` are loaded.
    pub fn finish_load(&self, index: Index) -> Result<(), StateError> {
        self.marks
            .insert(APPLIED, index.0.to_be_bytes())
            .and_then(|()| self.persist_raw())
            .map_err(|error| fault(&self.path, error))
    }

    fn persist_raw(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// Writes everything to disk: only makes the next start shorter.
    pub fn persist(&self) -> Result<(), StateError> {
        self.persist_raw().map_err(|error| fault(&self.path, error))
    }

    /// The rows as they are now, for as long as the moment is held.
    pub fn moment(&self) -> Result<Moment, StateError> {
        let snapshot = self.database.snapshot();
        let applied = snapshot
            .get(&self.marks, APPLIED)
            .map_err(|error| fault(&self.path, error))?;
        let index = self.parse_applied(applied.as_deref())?;
        Ok(Moment {
            store: self.clone(),
            snapshot,
            index,
        })
    }
}

fn fault(path: &Path, error: fjall::Error) -> StateError {
    if is_full(&error) {
        return StateError::Full(path.to_owned());
    }
    StateError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Whether a full disk is at the bottom of it.
fn is_full(error: &fjall::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
        }
        cause = error.source();
    }
    false
}

fn view_error(error: fjall::Error) -> ViewError {
    ViewError::Store(error.to_string())
}

/// How many rows were visited.
fn visit_all(rows: impl Iterator<Item = fjall::Guard>, visit: Visit<'_>) -> Result<u32, ViewError> {
    let mut visited = 0_u32;
    for row in rows {
        let (key, value) = row.into_inner().map_err(view_error)?;
        visited = visited.saturating_add(1);
        if visit(&key, &value).is_break() {
            break;
        }
    }
    Ok(visited)
}

impl View for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self
            .rows
            .get(key)
            .map_err(view_error)?
            .map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ViewError> {
        if start >= end {
            return Ok(());
        }
        let begun = Instant::now();
        let visited = visit_all(self.rows.range(start..end), visit)?;
        if begun.elapsed() > SLOW_SCAN + SLOW_ROW * visited {
            self.buffer.slow.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl View for Moment {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self
            .snapshot
            .get(&self.store.rows, key)
            .map_err(view_error)?
            .map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ViewError> {
        if start >= end {
            return Ok(());
        }
        visit_all(self.snapshot.range(&self.store.rows, start..end), visit).map(drop)
    }
}
