//! One mount, from connecting to its end, in this process. Called by `mount`. Order matters: the servers first, so
//! that a failed start mounts nothing; the caller hears "usable" only after a call has gone through the kernel.

use std::io;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use dfs_client::config::MountConfig;
use dfs_client::vfs::{Caller, Vfs};
use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;

use super::Failure;
use super::guard::Guard;
use crate::door::{Door, Invalidate};
use crate::kernel::mount::{self, Attach, Detach};
use crate::kernel::{Serving, Session, Threads};

/// After SIGTERM, users that still stand in the detached mount get this long before it ends under them.
const END_GRACE: Duration = Duration::from_secs(5);

/// What is to be mounted where.
pub struct Plan {
    pub config: MountConfig,
    pub attach: Attach,
    /// `-o sync`.
    pub sync: bool,
}

/// Mounts, calls `usable`, and serves until unmounted or told to end.
pub fn serve(plan: Plan, usable: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
    let ending = Ending::watch()?;
    let vfs = Vfs::start(plan.config)?;
    let mountpoint = plan.attach.mountpoint.clone();
    let served = ending.mount(&plan.attach).and_then(|session| {
        let started = start(session, &vfs, plan.sync, &mountpoint, &ending);
        let checked = started.and_then(|serving| {
            let guard = start_guard(&mountpoint);
            prepare(&mountpoint)?;
            usable()?;
            Ok((serving, guard))
        });
        checked.inspect_err(|_| drop(mount::unmount_somehow(&mountpoint)))
    });
    let (serving, guard) = match served {
        Ok(served) => served,
        Err(error) => {
            vfs.shutdown();
            return Err(format!("cannot mount on {}: {error}", mountpoint.display()).into());
        }
    };
    tracing::info!(source = plan.attach.source, mountpoint = %mountpoint.display(), "mounted");
    serving.wait();
    ending.stage.lock().unmounted = true;
    vfs.shutdown();
    if let Some(guard) = guard {
        guard.end();
    }
    tracing::info!(mountpoint = %mountpoint.display(), "unmounted");
    Ok(())
}

fn start(
    session: Session,
    vfs: &Arc<Vfs>,
    sync: bool,
    mountpoint: &Path,
    ending: &Ending,
) -> io::Result<Serving> {
    vfs.set_kernel_cache(Arc::new(Invalidate::new(
        session.notifier(),
        session.negotiated(),
        mountpoint,
    )));
    let serving = session.serve(Arc::new(Door::new(vfs.clone(), sync)), Threads::default())?;
    ending.stage.lock().vfs = Some(vfs.clone());
    Ok(serving)
}

/// Without a guard the mount is as good, until this process is killed at a bad moment.
fn start_guard(mountpoint: &Path) -> Option<Guard> {
    Guard::start(mountpoint)
        .inspect_err(|error| {
            tracing::warn!(%error, "no guard: after a SIGKILL of this process the mount may hang until `dfs umount --force`");
        })
        .ok()
}

/// Raises the read-ahead and makes one call through the kernel.
fn prepare(mountpoint: &std::path::Path) -> io::Result<()> {
    if let Some(mounted) = mount::find(mountpoint)?
        && let Err(error) = mount::raise_read_ahead(&mounted)
    {
        tracing::debug!(%error, "read-ahead stays at the kernel's default");
    }
    std::fs::metadata(mountpoint).map(drop)
}

/// How far this mount has come, for the thread that ends it.
#[derive(Default)]
struct Stage {
    mountpoint: Option<PathBuf>,
    vfs: Option<Arc<Vfs>>,
    /// The main thread flushes and ends by itself now.
    unmounted: bool,
}

/// Ends the mount at SIGTERM and SIGINT; a second signal ends the process at once.
#[derive(Clone, Default)]
struct Ending {
    stage: Arc<Mutex<Stage>>,
}

impl Ending {
    /// Takes the signals over for the whole process; to be called before any other thread exists.
    fn watch() -> io::Result<Self> {
        let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
        signals.thread_block()?;
        let ending = Ending::default();
        let watching = ending.clone();
        std::thread::Builder::new()
            .name("dfs-signals".into())
            .spawn(move || watching.run(&signals))?;
        Ok(ending)
    }

    /// Mounts while no signal can come between the mount and the knowledge of it.
    fn mount(&self, attach: &Attach) -> io::Result<Session> {
        let mut stage = self.stage.lock();
        let fd = attach.mount()?;
        match Session::negotiate(fd) {
            Ok(session) => {
                stage.mountpoint = Some(attach.mountpoint.clone());
                Ok(session)
            }
            Err(error) => {
                let _ = mount::unmount_somehow(&attach.mountpoint);
                Err(error)
            }
        }
    }

    fn run(&self, signals: &SigSet) {
        let mut signalled = false;
        while let Ok(signal) = signals.wait() {
            tracing::info!(%signal, "told to end");
            let ending = self.clone();
            let thread = std::thread::Builder::new().name("dfs-end".into());
            if signalled || thread.spawn(move || ending.end()).is_err() {
                exit(1);
            }
            signalled = true;
        }
    }

    fn end(&self) {
        let (mountpoint, vfs) = {
            let stage = self.stage.lock();
            (stage.mountpoint.clone(), stage.vfs.clone())
        };
        let Some(mountpoint) = mountpoint else { exit(1) };
        if let Err(error) = mount::unmount(&mountpoint, Detach::Clean) {
            tracing::warn!(%error, "in use; detaching it");
            write_back(&mountpoint);
            if let Err(error) = mount::unmount(&mountpoint, Detach::Lazy) {
                tracing::error!(%error, mountpoint = %mountpoint.display(), "cannot unmount");
            }
        }
        // Unless somebody still uses it (or a copy of it in another mount namespace), the main thread has taken over before.
        std::thread::sleep(END_GRACE);
        if self.stage.lock().unmounted {
            return;
        }
        let Some(vfs) = vfs else { exit(1) };
        if let Err(error) = vfs.syncfs(&Caller::default()) {
            tracing::error!(%error, "what was written last may be lost");
        }
        vfs.shutdown();
        exit(0)
    }
}

/// Makes the kernel write back what is dirty in shared mappings while somebody still serves it.
fn write_back(mountpoint: &std::path::Path) {
    let synced = std::fs::File::open(mountpoint).and_then(|root| Ok(nix::unistd::syncfs(&root)?));
    if let Err(error) = synced {
        tracing::warn!(%error, "cannot write back shared mappings");
    }
}
