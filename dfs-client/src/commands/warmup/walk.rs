//! Goes through trees with several threads and bounded memory: whoever calls is shown each directory and each file, a large
//! file in parts. Reading the directories is what brings names and attributes into the caches. Called by `mod`; knows
//! nothing of DFS.

use parking_lot::{Condvar, Mutex};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files that wait for a thread; what comes beyond is done by the thread that found it.
const FILES_MAX: usize = 4096;
/// Larger files are shown in parts of this, so that several threads work on one.
const PART: u64 = 64 << 20;

/// Who is shown what is found, from several threads at once.
pub(super) trait Visitor: Sync {
    fn directory(&self, path: &Path);
    /// Bytes `from..to` of a file; the first part, and that of an empty file, begins at 0.
    fn file(&self, path: &Path, from: u64, to: u64);
    /// Neither file nor directory, or on another file system.
    fn other(&self);
    fn failed(&self, path: &Path, error: &io::Error);
    /// Whether to end early.
    fn is_enough(&self) -> bool;
}

enum Job {
    Directory(PathBuf),
    Part(PathBuf, u64, u64),
}

#[derive(Default)]
struct Queue {
    directories: Vec<PathBuf>,
    parts: Vec<(PathBuf, u64, u64)>,
    /// Threads that are at work, and may find more.
    busy: usize,
}

impl Queue {
    /// Files first: they take room, and directories bring more of them.
    fn next(&mut self) -> Option<Job> {
        let part = self.parts.pop().map(|(path, from, to)| Job::Part(path, from, to));
        part.or_else(|| self.directories.pop().map(Job::Directory))
    }
}

struct Walk<'a> {
    queue: Mutex<Queue>,
    changed: Condvar,
    device: u64,
    visitor: &'a dyn Visitor,
}

/// Shows all that is below `roots` on the file system `device`, and returns when all was shown. `meanwhile` is called by
/// the calling thread again and again until then, and pauses.
pub(super) fn walk(
    roots: &[PathBuf],
    device: u64,
    threads: usize,
    visitor: &dyn Visitor,
    mut meanwhile: impl FnMut(),
) -> io::Result<()> {
    let walk = Walk {
        queue: Mutex::default(),
        changed: Condvar::new(),
        device,
        visitor,
    };
    for root in roots.iter().rev() {
        match root.metadata() {
            Ok(metadata) => walk.found(root.clone(), &metadata),
            Err(error) => visitor.failed(root, &error),
        }
    }
    let walk = &walk;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let thread = std::thread::Builder::new().name(format!("warmup-{number}"));
                thread.spawn_scoped(scope, move || walk.work())
            })
            .collect();
        while workers.iter().flatten().any(|worker| !worker.is_finished()) {
            meanwhile();
        }
        // Those that did start have done everything.
        let started = workers.iter().any(Result::is_ok);
        match workers.into_iter().find_map(Result::err) {
            Some(error) if !started => Err(error),
            _ => Ok(()),
        }
    })
}

impl Walk<'_> {
    fn work(&self) {
        while let Some(job) = self.next() {
            match job {
                Job::Directory(path) => self.read(&path),
                Job::Part(path, from, to) => self.visitor.file(&path, from, to),
            }
            self.queue.lock().busy -= 1;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if self.visitor.is_enough() {
                return None;
            }
            if let Some(job) = queue.next() {
                queue.busy += 1;
                return Some(job);
            }
            if queue.busy == 0 {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    fn read(&self, path: &Path) {
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.visitor.failed(path, &error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.visitor.failed(path, &error),
            };
            match entry.metadata() {
                Ok(metadata) => self.found(entry.path(), &metadata),
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.visitor.failed(&entry.path(), &error),
            }
            if self.visitor.is_enough() {
                return;
            }
        }
    }

    fn found(&self, path: PathBuf, metadata: &Metadata) {
        if metadata.dev() != self.device {
            self.visitor.other();
        } else if metadata.is_dir() {
            self.visitor.directory(&path);
            self.queue.lock().directories.push(path);
            self.changed.notify_one();
        } else if metadata.is_file() {
            let size = metadata.len();
            for from in (0..size.max(1)).step_by(PART as usize) {
                self.part(&path, from, (from + PART).min(size));
            }
        } else {
            self.visitor.other();
        }
    }

    fn part(&self, path: &Path, from: u64, to: u64) {
        {
            let mut queue = self.queue.lock();
            if queue.parts.len() < FILES_MAX {
                queue.parts.push((path.to_owned(), from, to));
                self.changed.notify_one();
                return;
            }
        }
        self.visitor.file(path, from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[derive(Default)]
    struct Seen {
        directories: Mutex<BTreeSet<PathBuf>>,
        files: Mutex<BTreeSet<(PathBuf, u64, u64)>>,
        others: Mutex<usize>,
    }

    impl Visitor for Seen {
        fn directory(&self, path: &Path) {
            assert!(self.directories.lock().insert(path.to_owned()), "twice");
        }
        fn file(&self, path: &Path, from: u64, to: u64) {
            assert!(self.files.lock().insert((path.to_owned(), from, to)), "twice");
        }
        fn other(&self) {
            *self.others.lock() += 1;
        }
        fn failed(&self, path: &Path, error: &io::Error) {
            panic!("{}: {error}", path.display());
        }
        fn is_enough(&self) -> bool {
            false
        }
    }

    #[test]
    fn everything_is_shown_once_and_large_files_in_parts() {
        let room = tempfile::tempdir().unwrap();
        let root = room.path();
        let mut files = BTreeSet::new();
        for number in 0..20 {
            let directory = root.join(format!("d{number}/deeper"));
            std::fs::create_dir_all(&directory).unwrap();
            for name in 0..30 {
                let file = directory.join(format!("f{name}"));
                std::fs::write(&file, vec![1; name]).unwrap();
                files.insert((file, 0, name as u64));
            }
        }
        let large = root.join("large");
        std::fs::File::create(&large)
            .unwrap()
            .set_len(2 * PART + 5)
            .unwrap();
        files.insert((large.clone(), 0, PART));
        files.insert((large.clone(), PART, 2 * PART));
        files.insert((large.clone(), 2 * PART, 2 * PART + 5));
        std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
        let device = root.metadata().unwrap().dev();
        let seen = Seen::default();
        walk(&[root.to_owned()], device, 4, &seen, std::thread::yield_now).unwrap();
        assert_eq!(*seen.files.lock(), files);
        assert_eq!(seen.directories.lock().len(), 41);
        assert_eq!(*seen.others.lock(), 1);
        // What is elsewhere is not gone into.
        let seen = Seen::default();
        walk(&[root.to_owned()], device + 1, 4, &seen, std::thread::yield_now).unwrap();
        assert_eq!((seen.directories.lock().len(), *seen.others.lock()), (0, 1));
    }
}
