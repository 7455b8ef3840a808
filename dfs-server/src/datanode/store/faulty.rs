//! A store that fails when told to, around any other: what the service does then is tested with it.

use super::{Blocks, ChunkStore, ChunkWriter, Held, Located, Pages, StoreError, Usage, Verdict};
use dfs_core::ids::ChunkId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Which calls fail.
#[derive(Default)]
pub struct Faults {
    pub full: AtomicBool,
    pub reads: AtomicBool,
    pub deletes: AtomicBool,
    pub finishes: AtomicBool,
    /// What is read for a check is not what was written.
    pub checks: AtomicBool,
    /// How long the disk takes for each read and each end of a chunk, beside its own time.
    pub delay_ms: AtomicU64,
}

pub struct Faulty {
    pub inner: Arc<dyn ChunkStore>,
    pub faults: Arc<Faults>,
}

fn eio(on: &AtomicBool) -> Result<(), StoreError> {
    match on.load(Ordering::SeqCst) {
        true => Err(StoreError::Io("injected".into())),
        false => Ok(()),
    }
}

impl Faults {
    fn wait(&self) {
        std::thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
    }
}

struct Writer {
    inner: Box<dyn ChunkWriter>,
    faults: Arc<Faults>,
}

impl ChunkWriter for Writer {
    fn write(&mut self, first: u32, content: &[u8], crcs: &[u32]) -> Result<(), StoreError> {
        self.inner.write(first, content, crcs)
    }

    fn finish(self: Box<Self>, sha256: &[u8; 32]) -> Result<(), StoreError> {
        self.faults.wait();
        eio(&self.faults.finishes)?;
        self.inner.finish(sha256)
    }
}

impl ChunkStore for Faulty {
    fn begin(&self, chunk: ChunkId, len: u32, replace: bool) -> Result<Box<dyn ChunkWriter>, StoreError> {
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(StoreError::Full { needed: len.into() });
        }
        let inner = self.inner.begin(chunk, len, replace)?;
        Ok(Box::new(Writer {
            inner,
            faults: self.faults.clone(),
        }))
    }

    fn len(&self, chunk: ChunkId) -> Result<u32, StoreError> {
        self.inner.len(chunk)
    }

    fn read(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Blocks, StoreError> {
        self.faults.wait();
        eio(&self.faults.reads)?;
        self.inner.read(chunk, first, count)
    }

    fn locate(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Located, StoreError> {
        self.faults.wait();
        eio(&self.faults.reads)?;
        self.inner.locate(chunk, first, count)
    }

    fn read_pages(&self, chunk: ChunkId, first: u32, count: u32) -> Result<Pages, StoreError> {
        self.faults.wait();
        eio(&self.faults.reads)?;
        self.inner.read_pages(chunk, first, count)
    }

    fn delete(&self, chunks: &[ChunkId]) -> Vec<(ChunkId, StoreError)> {
        match eio(&self.faults.deletes) {
            Ok(()) => self.inner.delete(chunks),
            Err(e) => chunks.iter().map(|chunk| (*chunk, e.clone())).collect(),
        }
    }

    fn list(&self, after: Option<ChunkId>, limit: usize, brief: bool) -> Vec<Held> {
        self.inner.list(after, limit, brief)
    }

    fn bad(&self, limit: usize) -> Vec<ChunkId> {
        self.inner.bad(limit)
    }

    fn verify(&self, chunk: ChunkId) -> Verdict {
        match self.faults.checks.load(Ordering::SeqCst) && self.inner.len(chunk).is_ok() {
            true => Verdict::Corrupt("injected".into()),
            false => self.inner.verify(chunk),
        }
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn syncs(&self) -> u64 {
        self.inner.syncs()
    }

    fn problem(&self) -> Option<String> {
        self.inner.problem()
    }
}
