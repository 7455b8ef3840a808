//! A recall and the pages that the kernel has locked for calls which wait: neither may wait for the other. The kernel here is
//! a twin of Linux's page cache as far as locks go.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, create, fsync, open, read, root, write};
use dfs_client::vfs::{KernelCache, Vfs};
use dfs_core::ids::Ino;
use parking_lot::{Condvar, Mutex};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
/// Less than a recall waits for the kernel when nothing else ends its wait.
const SOON: Duration = Duration::from_secs(5);

/// Whenever pages are to be dropped somebody faults one of them in again.
struct Faulted {
    vfs: Weak<Vfs>,
    file: (Ino, u64),
    /// Pages that are locked until they are filled.
    locked: Mutex<Vec<u64>>,
    unlocked: Condvar,
}

impl Faulted {
    fn fault(self: Arc<Self>, page: u64, done: Sender<Vec<u8>>) {
        let Some(vfs) = self.vfs.upgrade() else { return };
        self.locked.lock().push(page);
        let deed = move || {
            let got = read(&vfs, self.file, page * PAGE, PAGE as u32);
            self.locked.lock().retain(|other| *other != page);
            self.unlocked.notify_all();
            let _ = done.send(got);
        };
        std::thread::Builder::new().spawn(deed).unwrap();
    }
}

/// The kernel that the mount tells of its recalls.
struct Kernel(Arc<Faulted>);

impl KernelCache for Kernel {
    fn invalidate_inode(&self, _ino: Ino, offset: u64, len: u64) {
        let end = if len == 0 { u64::MAX } else { offset + len };
        let (done, told) = channel();
        if self.0.locked.lock().is_empty() {
            self.0.clone().fault(1, done);
            let _ = told.recv_timeout(Duration::from_millis(100));
        }
        let mut locked = self.0.locked.lock();
        while locked.iter().any(|page| (offset..end).contains(&(page * PAGE))) {
            self.0.unlocked.wait(&mut locked);
        }
    }

    fn invalidate_entry(&self, _parent: Ino, _name: &[u8]) {}
}

/// A file that is opened here with `flags`, faulted in whenever its pages are dropped, and changed elsewhere.
fn changed_while_faulted(flags: i32) {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    let made = create(&two, "file");
    write(&two, made, 0, &[1; 4 * PAGE as usize]);
    fsync(&two, made);
    let file = open(&one, "file", flags);
    assert_eq!(read(&one, file, 0, 4 * PAGE as u32), vec![1; 4 * PAGE as usize]);
    let faulted = Arc::new(Faulted {
        vfs: Arc::downgrade(&one),
        file,
        locked: Mutex::default(),
        unlocked: Condvar::new(),
    });
    one.set_kernel_cache(Arc::new(Kernel(faulted.clone())));
    let begun = Instant::now();
    write(&two, made, 0, &[2; 4 * PAGE as usize]);
    assert!(begun.elapsed() < SOON, "waited {:?} for pages", begun.elapsed());
    let (done, told) = channel();
    faulted.fault(3, done);
    assert_eq!(told.recv_timeout(SOON), Ok(vec![2; PAGE as usize]));
    one.release(file.0, file.1);
    assert!(one.getattr(&root(), file.0, None).is_ok());
}

// S23
#[test]
fn a_recall_goes_around_pages_that_are_being_filled() {
    changed_while_faulted(libc::O_RDWR);
}

/// Opened for appending, calls go past the kernel's pages; a mapping of it does not.
// S23
#[test]
fn a_recall_goes_around_pages_of_a_mapping_of_a_file_that_is_open_for_direct_io() {
    changed_while_faulted(libc::O_RDWR | libc::O_APPEND);
}
