//! The threads that read requests and answer them. Owner of their number: a hit is answered by the thread that read
//! it; a thread that blocks is replaced while the limit allows, by one that rests if there is any. Beyond the limit one
//! thread goes on reading, so that interrupts and forgets are always heard, and keeps the rest for the next free thread.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::abi::{self, cap};
use super::device::{Device, Incoming};
use super::dispatch::{dispatch, ends_by};
use super::filesystem::Filesystem;
use super::init::{MAX_WRITE, Negotiated};
use super::interrupt::Arrival;
use super::parse::{self, Refused};
use super::request::{Header, Operation, Request};
use super::rest::Rest;

/// Room for the largest WRITE and its heads.
pub(super) const BUFFER: usize = MAX_WRITE as usize + 4096;
/// Kept-back requests may take this much memory; beyond it even the last reader works.
const KEPT_BYTES: usize = 64 << 20;
/// After the mount has gone, threads blocked in operations get this long to notice.
const LINGER: Duration = Duration::from_secs(2);

/// Threads beyond the idle ones rest for so long before they end.
const REST: Duration = Duration::from_secs(10);

/// How many threads serve one mount.
#[derive(Debug, Clone, Copy)]
pub struct Threads {
    /// Threads that may wait for requests at once; a returning thread beyond that rests, and ends when it is not needed.
    pub idle: usize,
    /// All threads, blocked ones included.
    pub limit: usize,
}

impl Default for Threads {
    fn default() -> Self {
        // Few idle ones keep caches warm; 128 blocked callers are more than two cores can make progress for.
        Threads { idle: 4, limit: 128 }
    }
}

pub(super) struct Pool {
    fs: Arc<dyn Filesystem>,
    devices: Vec<Arc<Device>>,
    setxattr_ext: bool,
    limits: Threads,
    threads: AtomicUsize,
    idle: AtomicUsize,
    started: AtomicUsize,
    ended: AtomicBool,
    resting: Rest,
    kept: Mutex<Kept>,
    kept_count: AtomicUsize,
    all: Mutex<()>,
    changed: Condvar,
}

#[derive(Default)]
struct Kept {
    queue: VecDeque<KeptRequest>,
    bytes: usize,
}

struct KeptRequest {
    unique: u64,
    device: Arc<Device>,
    bytes: Vec<u8>,
    since: Instant,
}

/// A running mount.
pub struct Serving {
    pool: Arc<Pool>,
}

impl Serving {
    /// Returns when the mount is gone: unmounted by whomever, or aborted.
    pub fn wait(&self) {
        let mut all = self.pool.all.lock();
        while !self.pool.ended.load(Ordering::Acquire) {
            self.pool.changed.wait(&mut all);
        }
        let deadline = Instant::now() + LINGER;
        while self.pool.threads.load(Ordering::Acquire) > 0 {
            if self.pool.changed.wait_until(&mut all, deadline).timed_out() {
                break;
            }
        }
        drop(all);
        self.pool.fs.stop();
    }

    /// Threads serving at this moment.
    pub fn threads(&self) -> usize {
        self.pool.threads.load(Ordering::Relaxed)
    }
}

impl Pool {
    pub(super) fn start(
        device: Arc<Device>,
        fs: Arc<dyn Filesystem>,
        negotiated: &Negotiated,
        limits: Threads,
    ) -> io::Result<Serving> {
        let mut devices = vec![device];
        for _ in 1..std::thread::available_parallelism()?.get().min(limits.idle) {
            match devices[0].another() {
                Ok(clone) => devices.push(Arc::new(clone)),
                // An ordinary user may not open the device; one queue serves as well, only slower.
                Err(error) => tracing::debug!(%error, "no further queue"),
            }
        }
        let interrupts = devices[0].interrupts.clone();
        let pool = Arc::new(Pool {
            fs,
            devices,
            setxattr_ext: negotiated.has(cap::SETXATTR_EXT),
            limits,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            resting: Rest::default(),
            kept: Mutex::default(),
            kept_count: AtomicUsize::new(0),
            all: Mutex::new(()),
            changed: Condvar::new(),
        });
        std::thread::Builder::new()
            .name("dfs-kill-watch".into())
            .spawn(move || interrupts.watch())?;
        for _ in 0..2.min(limits.limit) {
            pool.clone().grow()?;
        }
        Ok(Serving { pool })
    }

    /// Starts a thread unless the limit is reached; says whether it did.
    fn grow(self: Arc<Self>) -> io::Result<bool> {
        let room = |n| (n < self.limits.limit).then_some(n + 1);
        if self
            .threads
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
            .is_err()
        {
            return Ok(false);
        }
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let device = self.devices[number % self.devices.len()].clone();
        let pool = self.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("dfs-fuse-{number}"))
            .spawn(move || pool.work(&device));
        if let Err(error) = spawned {
            self.threads.fetch_sub(1, Ordering::AcqRel);
            return Err(error);
        }
        Ok(true)
    }

    fn work(self: Arc<Self>, device: &Arc<Device>) {
        let mut buffer = vec![0; BUFFER];
        while let Some(len) = self.next(device, &mut buffer) {
            self.serve(device, &buffer[..len]);
        }
        self.threads.fetch_sub(1, Ordering::AcqRel);
        let _all = self.all.lock();
        self.changed.notify_all();
    }

    /// Waits for the next request in the buffer, serving kept ones meanwhile; `None` ends the thread.
    fn next(self: &Arc<Self>, device: &Arc<Device>, buffer: &mut [u8]) -> Option<usize> {
        loop {
            let idle = self.idle.fetch_add(1, Ordering::SeqCst) + 1;
            // Whoever is second to become idle sees what the first kept back: the first goes on reading.
            if idle > 1 && self.kept_count.load(Ordering::SeqCst) > 0 {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                if let Some(kept) = self.take_kept(|_| true) {
                    self.fs.kept(kept.since.elapsed());
                    self.serve(&kept.device, &kept.bytes);
                }
                continue;
            }
            if idle > self.limits.idle {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                if !self.resting.wait(REST) {
                    return None;
                }
                continue;
            }
            let incoming = device.receive(buffer);
            let last_reader = self.idle.fetch_sub(1, Ordering::SeqCst) == 1;
            match incoming {
                Ok(Incoming::Nothing) => {}
                Ok(Incoming::Request(len)) => {
                    if last_reader
                        && !immediate(&buffer[..len])
                        && !self.replaced()
                        && self.keep(device, &buffer[..len])
                    {
                        continue;
                    }
                    return Some(len);
                }
                Ok(Incoming::Ended) => {
                    self.end();
                    return None;
                }
                Err(error) => {
                    tracing::error!(%error, "reading from the kernel failed; the mount ends");
                    self.end();
                    return None;
                }
            }
        }
    }

    /// Whether another thread reads on while this one works.
    fn replaced(self: &Arc<Self>) -> bool {
        if self.resting.call() {
            return true;
        }
        match self.clone().grow() {
            Ok(grown) => grown,
            Err(error) => {
                tracing::warn!(%error, threads = self.threads.load(Ordering::Relaxed), "cannot start a further thread");
                false
            }
        }
    }

    fn keep(self: &Arc<Self>, device: &Arc<Device>, bytes: &[u8]) -> bool {
        let Ok((header, operation)) = self.understand(bytes) else {
            return false;
        };
        let unique = header.unique;
        // Its interrupt must find it while it waits: it then ends here, without ever running.
        let interrupt = device
            .interrupts
            .register(unique, header.pid, ends_by(&operation));
        {
            let mut kept = self.kept.lock();
            if kept.bytes + bytes.len() > KEPT_BYTES {
                return false;
            }
            kept.bytes += bytes.len();
            kept.queue.push_back(KeptRequest {
                unique,
                device: device.clone(),
                bytes: bytes.to_vec(),
                since: Instant::now(),
            });
            self.kept_count.fetch_add(1, Ordering::SeqCst);
        }
        let pool = Arc::downgrade(self);
        interrupt.on_fire(move || {
            if let Some(ended) = pool
                .upgrade()
                .and_then(|pool| pool.take_kept(|kept| kept.unique == unique))
            {
                ended.device.answer(unique, libc::EINTR, &[]);
            }
        });
        true
    }

    fn take_kept(&self, wanted: impl Fn(&KeptRequest) -> bool) -> Option<KeptRequest> {
        let mut kept = self.kept.lock();
        let at = kept.queue.iter().position(wanted)?;
        let taken = kept.queue.remove(at)?;
        kept.bytes -= taken.bytes.len();
        self.kept_count.fetch_sub(1, Ordering::SeqCst);
        Some(taken)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.devices[0].interrupts.end();
        self.resting.end();
        let _all = self.all.lock();
        self.changed.notify_all();
    }

    /// One request, from bytes to the file system.
    fn serve(&self, device: &Arc<Device>, bytes: &[u8]) {
        let Ok(header) = Header::parse(bytes) else {
            tracing::error!(len = bytes.len(), "a request without a whole head");
            return;
        };
        match self.understand(bytes).map(|(_, operation)| operation) {
            Ok(Operation::Interrupt { unique }) => self.interrupt(header.unique, unique),
            Ok(Operation::Forget { lookups }) => self.fs.forget(header.node, lookups),
            Ok(Operation::BatchForget(all)) => all
                .iter()
                .for_each(|(node, lookups)| self.fs.forget(node, lookups)),
            Ok(Operation::NotifyReply) => {}
            Ok(operation) => self.call(device, &header, operation),
            Err(_) if unanswered(header.opcode) => {
                tracing::error!(opcode = header.opcode, "malformed request");
            }
            Err(Refused::Unknown) => {
                tracing::debug!(opcode = header.opcode, "operation not known");
                device.answer(header.unique, libc::ENOSYS, &[]);
            }
            Err(Refused::Malformed) => {
                tracing::error!(opcode = header.opcode, len = bytes.len(), "malformed request");
                device.answer(header.unique, libc::EIO, &[]);
            }
        }
    }

    fn understand<'a>(&self, bytes: &'a [u8]) -> Result<(Header, Operation<'a>), Refused> {
        let header = Header::parse(bytes)?;
        Ok((
            header,
            parse::operation(header.opcode, header.body(bytes)?, self.setxattr_ext)?,
        ))
    }

    fn call(&self, device: &Arc<Device>, header: &Header, operation: Operation<'_>) {
        let interrupt = device
            .interrupts
            .register(header.unique, header.pid, ends_by(&operation));
        let request = Request {
            unique: header.unique,
            node: header.node,
            uid: header.uid,
            gid: header.gid,
            pid: header.pid,
            interrupt: &interrupt,
        };
        let (number, begun) = (operation.number(), Instant::now());
        // A bug in one operation must not take the mount from everybody; its caller gets EIO from the dropped reply.
        if catch_unwind(AssertUnwindSafe(|| {
            dispatch(&*self.fs, &request, operation, device)
        }))
        .is_err()
        {
            tracing::error!(
                opcode = header.opcode,
                node = header.node,
                "an operation panicked"
            );
        }
        if let Some(number) = number {
            self.fs.served(number, header.node, begun.elapsed());
        }
    }

    fn interrupt(&self, own: u64, target: u64) {
        if self.devices[0].interrupts.arrive(target) == Arrival::Unknown {
            // Only the queue that has the request can put the interrupt back; the others say ENOENT.
            for device in &self.devices {
                let _ = device.send(own, -libc::EAGAIN, &[]);
            }
        }
    }
}

/// Requests that the kernel waits for no answer to.
fn unanswered(opcode: u32) -> bool {
    use abi::op::{BATCH_FORGET, FORGET, INTERRUPT, NOTIFY_REPLY};
    matches!(opcode, FORGET | BATCH_FORGET | INTERRUPT | NOTIFY_REPLY)
}

/// Requests that the last reader may do itself because they never block.
fn immediate(bytes: &[u8]) -> bool {
    Header::parse(bytes).is_ok_and(|header| unanswered(header.opcode))
}
