//! Pages of the mount's report, for `dfs stats` and `dfs profile`. The figures are those that it counts anyway; summing up leases looks at
//! every inode once, a part of the table at a time.

use super::Vfs;
use crate::report;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::types::LeaseMode;
use serde_json::{Value, json};
use std::time::Duration;

/// Names of a path that are put together; deeper ones are told by their number.
const DEPTH_MAX: usize = 64;

impl Vfs {
    /// A page that is not about the kernel's calls.
    pub fn report(&self, page: u32) -> Option<Value> {
        match page {
            report::GENERAL => Some(self.general()),
            report::REQUESTS => Some(self.session.figures().requests_page()),
            report::PROFILE => Some(self.session.figures().profile.sums_page()),
            _ => {
                let number = page.checked_sub(report::SLOW)?;
                self.session.figures().profile.slow_page(number as usize)
            }
        }
    }

    /// Begins to record where the time of calls goes that take at least `slower`. `WouldBlock` while it is recorded for
    /// somebody else. A length of 0 ends the recording.
    pub fn profile(&self, length: Duration, slower: Duration) -> FsResult<()> {
        let profile = &self.session.figures().profile;
        if length.is_zero() {
            profile.end();
            return Ok(());
        }
        match profile.begin(length, slower) {
            true => Ok(()),
            false => Err(FsError::WouldBlock),
        }
    }

    /// A name of the inode below the mount's root, as far as the kernel was given names.
    pub(super) fn path_of(&self, ino: Ino) -> Option<String> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != self.root {
            let (parent, name) = {
                let inode = self.caches.table.find(at)?;
                let state = inode.state.lock();
                state.known_as.last().cloned()?
            };
            names.push(String::from_utf8_lossy(&name).into_owned());
            at = parent;
            if names.len() > DEPTH_MAX {
                return None;
            }
        }
        names.push(String::new());
        names.reverse();
        match names.len() {
            1 => Some("/".to_owned()),
            _ => Some(names.join("/")),
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
