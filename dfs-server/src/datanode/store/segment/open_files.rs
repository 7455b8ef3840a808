//! Descriptors of segment files, a bounded number of them, least recently used closed first.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Most descriptors kept open; the customary limit of a process is 1,024 soft, 20,000 hard, and sockets need some.
const OPEN_MAX: usize = 512;

#[derive(Default)]
struct State {
    files: HashMap<u32, (Arc<File>, u64)>,
    uses: u64,
}

/// Open files by segment key. A file in use stays open until its last user drops it.
#[derive(Default)]
pub struct OpenFiles(Mutex<State>);

impl OpenFiles {
    /// The file of segment `key`, opened at `path` when it is not open.
    pub fn get(&self, key: u32, path: &Path) -> io::Result<Arc<File>> {
        let mut state = self.0.lock();
        state.uses += 1;
        let now = state.uses;
        if let Some((file, used)) = state.files.get_mut(&key) {
            *used = now;
            return Ok(file.clone());
        }
        drop(state);
        let file = Arc::new(File::options().read(true).write(true).open(path)?);
        self.keep(key, file.clone());
        Ok(file)
    }

    /// Keeps a file that was just made or opened.
    pub fn keep(&self, key: u32, file: Arc<File>) {
        let mut state = self.0.lock();
        state.uses += 1;
        let now = state.uses;
        if state.files.len() >= OPEN_MAX {
            // A quarter at once, so that the search is rare.
            let mut uses: Vec<u64> = state.files.values().map(|(_, used)| *used).collect();
            let (_, &mut limit, _) = uses.select_nth_unstable(OPEN_MAX / 4);
            state.files.retain(|_, (_, used)| *used > limit);
        }
        state.files.insert(key, (file, now));
    }

    pub fn forget(&self, key: u32) {
        self.0.lock().files.remove(&key);
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.0.lock().files.len()
    }
}
