//! Beginning and ending a mount.

use super::{Caller, KernelCache, MountError, Vfs};
use crate::config::MountConfig;
use crate::data::stock::Stock;
use crate::data::{Budget, CacheCounters, Data, DiskCache};
use crate::figures::{self, Figures};
use crate::inode::Table;
use crate::inode::apply::Caches;
use crate::inode::recall::{Recalled, Recaller, THREADS};
use crate::locks::Locks;
use crate::observe::Observer;
use crate::profile::{Call, Stage};
use crate::session::{Session, Settings, StartError};
use dfs_core::error::FsResult;
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Attr, FileKind};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::Duration;

/// Threads for the network and for checksums of uploads.
const ASYNC_THREADS: usize = 4;

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, ASYNC_THREADS);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("dfs-async")
        .enable_all()
        .build()
}

impl Vfs {
    /// Connects, resolves the directory and starts the threads. Returns when the file system can be used.
    pub fn start(config: MountConfig) -> Result<Arc<Vfs>, MountError> {
        let runtime = runtime()?;
        let served = crate::observe::begin(config.metrics_listen, config.observer.clone());
        runtime.block_on(served).map_err(MountError::Metrics)?;
        let session = Session::new(Settings {
            coordinators: config.coordinators.clone(),
            volume: config.volume.clone(),
            client: config.client_name.clone(),
            figures: Arc::new(Figures::new(&config.observer.metrics)),
            writes_back: config.writes_back,
        });
        let (recalls, recalled) = std::sync::mpsc::channel();
        let caches = Arc::new(Caches {
            table: Table::default(),
            locks: Locks::default(),
            stock: Stock::default(),
            budget: Arc::new(Budget::default()),
            promises: Default::default(),
            releases: Default::default(),
            journal: Default::default(),
            recalls,
        });
        session
            .start(runtime.handle(), caches.clone(), config.timeout)
            .map_err(|error| mount_error(&config, error))?;
        let tasks = runtime.handle().clone();
        let cluster = session.map().cluster.clone();
        let disk = config.disk_cache.as_ref();
        let disk = disk.map(|disk| DiskCache::start(disk, &cluster, &config.volume));
        let data = Data::new(
            session.clone(),
            caches.clone(),
            tasks.clone(),
            config.buffer_size,
            disk,
            config.timeout,
        );
        show(&config.observer, &session, &data);
        let kernel = Arc::new(RwLock::new(None));
        let recaller = Recaller {
            session: session.clone(),
            data: data.clone(),
            kernel: kernel.clone(),
        };
        Arc::new(recaller).start(recalled)?;
        begin_work(&tasks, &data, &kernel, config.writes_back);
        let mut vfs = Vfs {
            session,
            caches,
            data,
            handles: Default::default(),
            kernel,
            root: Ino::ROOT,
            figures: Mutex::new(None),
            warming: Default::default(),
            runtime: Mutex::new(Some(runtime)),
            tasks,
            config,
        };
        vfs.root = vfs.resolve().map_err(|reason| MountError::Subdir {
            volume: vfs.config.volume.clone(),
            path: vfs.config.subdir.clone(),
            reason,
        })?;
        // The kernel never forgets the root.
        vfs.caches.table.get(vfs.root).state.lock().lookups += 1;
        Ok(Arc::new(vfs))
    }

    /// The directory that becomes the root.
    fn resolve(&self) -> FsResult<Ino> {
        let mut ino = Ino::ROOT;
        for name in self.config.subdir.split('/').filter(|name| !name.is_empty()) {
            let op = Op::Lookup {
                parent: ino,
                name: name.as_bytes().to_vec(),
            };
            match self.session.call(op, self.patience(&Caller::default()))? {
                Reply::Entry { attr, .. } if attr.kind == FileKind::Directory => ino = attr.ino,
                _ => return Err(dfs_core::error::FsError::NotDirectory),
            }
        }
        Ok(ino)
    }

    /// Where recalls empty the kernel's caches. Until it is called nothing is in them.
    pub fn set_kernel_cache(&self, cache: Arc<dyn KernelCache>) {
        *self.kernel.write() = Some(Arc::new(Outward {
            root: self.root,
            inner: cache,
        }));
    }

    /// Attributes of the mount's root.
    pub fn root_attr(&self) -> FsResult<Attr> {
        let attr = self.getattr(&Caller::default(), Ino::ROOT, None);
        self.answered();
        attr.map(|(attr, _)| attr)
    }

    /// The figures and the health of this mount.
    pub fn observer(&self) -> &Observer {
        &self.config.observer
    }

    /// The kernel has read or written so many bytes.
    pub fn moved(&self, read: u64, written: u64) {
        let figures = self.session.figures();
        figures.read_bytes.add(read);
        figures.written_bytes.add(written);
    }

    /// The calling thread has served a call of the kernel: a slow one gets a line in the log.
    pub fn served(&self, operation: &'static str, ino: Ino, time: Duration) {
        let slow = time >= self.config.slow_call;
        let (waits, times) = figures::take_waits(slow);
        let profile = &self.session.figures().profile;
        if profile.is_on() {
            let ino = self.inward(ino);
            let call = Call {
                op: operation,
                ino,
                total: time + times.of(Stage::Thread),
                times,
            };
            profile.note(call, || self.path_of(ino));
        }
        if slow {
            self.session.figures().slow_calls.inc();
            let ms = time.as_millis() as u64;
            let ino = self.inward(ino);
            tracing::warn!(op = operation, %ino, ms, waits, "a slow call");
        }
    }

    /// The call that the calling thread is about to serve has waited for a thread.
    pub fn waited_for_thread(&self, time: Duration) {
        figures::spent_in(Stage::Thread, time);
    }

    /// How the caches of content have done.
    pub fn cache_counters(&self) -> CacheCounters {
        self.data.counters()
    }

    /// Flushes everything, bounded by the mount's time-out, and ends the session.
    pub fn shutdown(&self) {
        self.config.observer.health.drain();
        if let Err(error) = self.syncfs(&Caller::default()) {
            tracing::error!(%error, "unmounting although not everything could be saved");
        }
        let Some(runtime) = self.runtime.lock().take() else {
            return;
        };
        runtime.block_on(self.session.close());
        self.data.close_disk();
        for _ in 0..THREADS {
            let _ = self.caches.recalls.send(Recalled::Stop);
        }
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        // A runtime may not be dropped where blocking is forbidden.
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

/// The tasks that work behind everybody's back until the mount ends.
fn begin_work(
    tasks: &tokio::runtime::Handle,
    data: &Arc<Data>,
    kernel: &Arc<RwLock<Option<Arc<dyn KernelCache>>>>,
    writes_back: bool,
) {
    tasks.spawn(data.clone().run_flusher());
    if writes_back {
        tasks.spawn(crate::journal::run(data.clone()));
    }
    tasks.spawn(crate::inode::release::run(data.clone()));
    let caches = data.caches.clone();
    tasks.spawn(crate::inode::release::drop_removed(caches, kernel.clone()));
}

fn mount_error(config: &MountConfig, error: StartError) -> MountError {
    match error {
        StartError::Unreachable(reason) => MountError::Unreachable {
            volume: config.volume.clone(),
            coordinators: config.coordinators.join(","),
            reason,
        },
        StartError::Refused(message) => MountError::Refused(message),
    }
}

/// Figures that are asked for at each look, and whether the mount is ready.
fn show(observer: &Observer, session: &Arc<Session>, data: &Arc<Data>) {
    let metrics = &observer.metrics;
    // Weak: the mount must end although its endpoint still serves.
    let count = |what: fn(CacheCounters) -> u64| {
        let data = Arc::downgrade(data);
        move || data.upgrade().map_or(0.0, |data| what(data.counters()) as f64)
    };
    let help = "Bytes of blocks that readers got, by where they came from";
    let name = "dfs_mount_read_bytes_total";
    metrics.read_counter_of(name, help, ("from", "memory"), count(|c| c.memory_hit_bytes));
    metrics.read_counter_of(name, help, ("from", "disk"), count(|c| c.disk_hit_bytes));
    metrics.read_counter_of(name, help, ("from", "datanodes"), count(|c| c.miss_bytes));
    metrics.read_gauge(
        "dfs_mount_disk_cache_blocks",
        "Blocks in the cache on the local disk",
        count(|c| c.disk_blocks),
    );
    metrics.read_counter(
        "dfs_mount_disk_cache_written_bytes_total",
        "Bytes written to the cache on the local disk",
        count(|c| c.disk_written_bytes),
    );
    metrics.read_counter(
        "dfs_mount_disk_cache_dropped_bytes_total",
        "Bytes that the cache on the local disk did not take because the disk did not keep up",
        count(|c| c.disk_dropped_bytes),
    );
    metrics.read_counter(
        "dfs_mount_disk_cache_bad_blocks_total",
        "Blocks in the cache on the local disk that did not match their checksums",
        count(|c| c.disk_bad_blocks),
    );
    let dirty = Arc::downgrade(data);
    metrics.read_gauge(
        "dfs_mount_dirty_bytes",
        "Written content that is not committed yet",
        move || {
            dirty
                .upgrade()
                .map_or(0.0, |data| data.caches.budget.used() as f64)
        },
    );
    let known = Arc::downgrade(data);
    metrics.read_gauge("dfs_mount_inodes", "Inodes that the mount knows", move || {
        known.upgrade().map_or(0.0, |data| data.caches.table.len() as f64)
    });
    let session = Arc::downgrade(session);
    observer.health.ready("session", move || match session.upgrade() {
        Some(session) if session.trusted() => Ok(()),
        Some(_) => Err("no coordinator was heard of for a lease term".to_owned()),
        None => Err("the mount has ended".to_owned()),
    });
}

/// Speaks the kernel's inode numbers.
struct Outward {
    root: Ino,
    inner: Arc<dyn KernelCache>,
}

impl Outward {
    fn number(&self, ino: Ino) -> Ino {
        if ino == self.root { Ino::ROOT } else { ino }
    }
}

impl KernelCache for Outward {
    fn invalidate_inode(&self, ino: Ino, offset: u64, len: u64) {
        self.inner.invalidate_inode(self.number(ino), offset, len);
    }

    fn invalidate_entry(&self, parent: Ino, name: &[u8]) {
        self.inner.invalidate_entry(self.number(parent), name);
    }

    fn drop_entry(&self, parent: Ino, name: &[u8]) {
        self.inner.drop_entry(self.number(parent), name);
    }

    fn drop_all_names(&self) -> bool {
        self.inner.drop_all_names()
    }
}
