//! The kernel's caches as the client's recalls see them. Called from threads of the client that serve no request; they wait
//! here until the kernel has let go.

use dfs_client::vfs::KernelCache;
use dfs_core::ids::Ino;

use crate::kernel::abi::cap;
use crate::kernel::{Negotiated, Notice, Notifier};

pub struct Invalidate {
    notifier: Notifier,
    /// Names are looked up again rather than dropped, so that what is mounted or bound below them stays.
    expire: bool,
}

impl Invalidate {
    pub fn new(notifier: Notifier, negotiated: &Negotiated) -> Self {
        Self {
            notifier,
            expire: negotiated.has(cap::HAS_EXPIRE_ONLY),
        }
    }

    fn tell(&self, notice: Notice) {
        // Logged where it happened; a kernel that refuses leaves nothing else to do here.
        let _ = self.notifier.and_wait([notice]);
    }
}

impl KernelCache for Invalidate {
    fn invalidate_inode(&self, ino: Ino) {
        self.tell(Notice::Inode {
            node: ino.0,
            offset: 0,
            len: 0,
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
}
