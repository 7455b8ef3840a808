//! The kernel's caches as the client's recalls see them. Called from threads of the client that serve no request; they wait
//! here until the kernel has let go.

use std::path::{Path, PathBuf};

use dfs_client::vfs::KernelCache;
use dfs_core::ids::Ino;

use crate::kernel::abi::{self, cap};
use crate::kernel::{Negotiated, Notice, Notifier, mountinfo};

pub struct Invalidate {
    notifier: Notifier,
    /// Names are looked up again rather than dropped, so that what is mounted or bound below them stays.
    expire: bool,
    /// Every name can be dropped at once. What is mounted below a name would go with it.
    epoch: bool,
    mountpoint: PathBuf,
}

impl Invalidate {
    pub fn new(notifier: Notifier, negotiated: &Negotiated, mountpoint: &Path) -> Self {
        Self {
            notifier,
            expire: negotiated.has(cap::HAS_EXPIRE_ONLY),
            epoch: negotiated.minor >= abi::EPOCH_MINOR,
            mountpoint: mountpoint.to_owned(),
        }
    }

    fn mounted_below(&self) -> bool {
        let below = |mounted: &mountinfo::Mounted| {
            mounted.mountpoint != self.mountpoint && mounted.mountpoint.starts_with(&self.mountpoint)
        };
        mountinfo::all().map_or(true, |all| all.iter().any(below))
    }

    fn tell(&self, notice: Notice) {
        if let Err(error) = self.notifier.write_here(&notice) {
            tracing::error!(%error, "the kernel refused a notification");
        }
    }
}

impl KernelCache for Invalidate {
    fn invalidate_inode(&self, ino: Ino, offset: u64, len: u64) {
        self.tell(Notice::Inode {
            node: ino.0,
            offset: offset as i64,
            len: len as i64,
        });
    }

    fn invalidate_entry(&self, parent: Ino, name: &[u8]) {
        self.tell(Notice::Entry {
            parent: parent.0,
            name: name.to_vec(),
            expire: self.expire,
        });
    }

    fn drop_entry(&self, parent: Ino, name: &[u8]) {
        self.tell(Notice::Entry {
            parent: parent.0,
            name: name.to_vec(),
            expire: false,
        });
    }

    fn drop_all_names(&self) -> bool {
        self.epoch && !self.mounted_below() && self.notifier.write_here(&Notice::Epoch).is_ok()
    }
}
