//! Watches the free space under the data directory: below the reserve the executor takes only shrinking work,
//! and when others have filled the disk the ballast is given up so that this work finds room. It decides on
//! nothing else.

use super::limits::{BALLAST, DISK_RESERVE};
use nix::sys::statvfs::statvfs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

const FILE: &str = "ballast";
/// A disk fills by at most some hundred megabytes between two looks.
const INTERVAL: Duration = Duration::from_millis(100);
/// Below this the ballast goes.
const EMERGENCY: u64 = 24 << 20;
/// A small disk keeps a share of itself, so that it can be used at all.
const SHARE: u64 = 8;

/// Starts the watch; it ends when nobody else has the flag. `elsewhere` says whether space is short where the logs
/// are, when that is not on this disk.
pub fn watch(
    dir: PathBuf,
    low: Arc<AtomicBool>,
    elsewhere: impl Fn() -> bool + Send + 'static,
) -> std::io::Result<()> {
    look(&dir, &low, elsewhere());
    let flag = Arc::downgrade(&low);
    std::thread::Builder::new()
        .name("space".to_owned())
        .spawn(move || repeat(&dir, &flag, elsewhere))?;
    Ok(())
}

fn repeat(dir: &Path, flag: &Weak<AtomicBool>, elsewhere: impl Fn() -> bool) {
    while let Some(low) = flag.upgrade() {
        look(dir, &low, elsewhere());
        drop(low);
        std::thread::sleep(INTERVAL);
    }
}

fn look(dir: &Path, low: &AtomicBool, elsewhere: bool) {
    let (free, total) = match statvfs(dir) {
        Ok(disk) => (
            disk.blocks_available() * disk.fragment_size(),
            disk.blocks() * disk.fragment_size(),
        ),
        Err(error) => {
            tracing::error!(%error, dir = %dir.display(), "the disk's free space cannot be read");
            return;
        }
    };
    let reserve = DISK_RESERVE.min(total / SHARE);
    let ballast = BALLAST.min(total / SHARE / 2);
    let is_low = free < reserve || elsewhere;
    if low.swap(is_low, Ordering::Relaxed) != is_low {
        if is_low {
            tracing::error!(free, reserve, dir = %dir.display(), elsewhere, "space is short: only deletions are taken");
        } else {
            tracing::info!(free, "there is room again");
        }
    }
    let path = dir.join(FILE);
    if free < EMERGENCY.min(reserve / 2) && path.exists() {
        tracing::warn!("the reserve for deletions is used now");
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::error!(%error, "the reserve could not be freed");
        }
    } else if free > reserve + 2 * ballast && !path.exists() {
        take(&path, ballast);
    }
}

/// Whether the disk under `path` has too little room for anything new. Unknown is no.
pub fn is_scarce(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(path);
    statvfs(parent).is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() < EMERGENCY)
}

fn take(path: &Path, len: u64) {
    let taken = File::create(path).and_then(|file| {
        // SAFETY: the descriptor is open while `file` lives; the call touches no memory of ours.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len as libc::off_t) } {
            0 => Ok(()),
            code => Err(std::io::Error::from_raw_os_error(code)),
        }
    });
    if let Err(error) = taken {
        tracing::warn!(%error, "no reserve for deletions could be taken");
    }
}
