//! Pages of the mount's report, for `dfs stats`. The figures are those that it counts anyway; summing up leases looks at
//! every inode once, a part of the table at a time.

use super::Vfs;
use crate::report;
use dfs_core::types::LeaseMode;
use serde_json::{Value, json};

impl Vfs {
    /// A page that is not about the kernel's calls.
    pub fn report(&self, page: u32) -> Option<Value> {
        match page {
            report::GENERAL => Some(self.general()),
            report::REQUESTS => Some(self.session.figures().requests_page()),
            _ => None,
        }
    }

    fn general(&self) -> Value {
        let figures = self.session.figures();
        let cache = self.data.counters();
        let (shared, exclusive) = self.leases();
        let journal = &self.caches.journal;
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "volume": self.config.volume,
            "read_bytes": figures.read_bytes.get(),
            "written_bytes": figures.written_bytes.get(),
            "memory_hit_bytes": cache.memory_hit_bytes,
            "disk_hit_bytes": cache.disk_hit_bytes,
            "downloaded_bytes": cache.miss_bytes,
            "uploaded_bytes": figures.upload_bytes.get(),
            "leases_shared": shared,
            "leases_exclusive": exclusive,
            "recalls": figures.recalls.count(),
            "inodes": self.caches.table.len(),
            "dirty_bytes": self.caches.budget.used(),
            "unshipped": journal.last().saturating_sub(journal.confirmed()),
            "slow_calls": figures.slow_calls.get(),
            "stream_ends": figures.reconnects.get(),
            "connected": figures.connected.get() == 1,
        })
    }

    /// Shared and exclusive leases held.
    fn leases(&self) -> (usize, usize) {
        let count = |(shared, exclusive): (usize, usize), mode: LeaseMode| match mode {
            LeaseMode::None => (shared, exclusive),
            LeaseMode::Shared => (shared + 1, exclusive),
            LeaseMode::Exclusive => (shared, exclusive + 1),
        };
        let modes = self.caches.table.all().into_iter();
        modes.map(|inode| inode.state.lock().lease).fold((0, 0), count)
    }
}
