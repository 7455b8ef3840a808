//! What leases promise: hits ask nobody, and no mount ever shows another one something old.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, create, fsync, open, read, root, size, write};
use dfs_client::vfs::{Caller, Found, KernelCache, Vfs, WriteHow};
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
use dfs_core::op::{AttrChanges, RenameMode, SetTime, XattrMode};
use dfs_core::types::{FileKind, Timestamp};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

fn find(vfs: &Vfs, name: &str) -> Option<Ino> {
    match vfs.lookup(&root(), Ino::ROOT, name.as_bytes()) {
        Ok(Found::Entry(entry)) => Some(entry.attr.ino),
        _ => None,
    }
}

#[test]
fn hits_ask_nobody() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    write(&vfs, file, 0, &[1; 10_000]);
    fsync(&vfs, file);
    let visit = || {
        vfs.getattr(&root(), Ino::ROOT, None).unwrap();
        assert_eq!(find(&vfs, "file"), Some(file.0));
        assert_eq!(find(&vfs, "absent"), None);
        assert_eq!(
            vfs.getxattr(&root(), file.0, b"user.x"),
            Err(FsError::NoAttribute)
        );
        let again = open(&vfs, "file", libc::O_RDWR | libc::O_NOATIME);
        assert_eq!(read(&vfs, again, 0, 10_000), vec![1; 10_000]);
        write(&vfs, again, 0, &[1; 100]);
        vfs.flush(&root(), again.0, again.1, 7).unwrap();
        vfs.release(again.0, again.1);
    };
    visit();
    fsync(&vfs, file);
    let before = cluster.coordinator.calls();
    for _ in 0..100 {
        visit();
    }
    assert_eq!(cluster.coordinator.calls(), before);
    let found = vfs.lookup(&root(), Ino::ROOT, b"absent").unwrap();
    assert!(matches!(found, Found::Absent { ttl } if ttl > Duration::from_secs(60)));
}

#[test]
fn names_changed_on_one_mount_are_seen_on_the_other() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    for round in 0..20 {
        let (old, new) = (format!("old{round}"), format!("new{round}"));
        assert_eq!(find(&two, &old), None);
        let (ino, fh) = create(&one, &old);
        assert_eq!(find(&two, &old), Some(ino));
        two.rename(
            &root(),
            Ino::ROOT,
            old.as_bytes(),
            Ino::ROOT,
            new.as_bytes(),
            RenameMode::Replace,
        )
        .unwrap();
        assert_eq!((find(&one, &old), find(&one, &new)), (None, Some(ino)));
        one.release(ino, fh);
        one.unlink(&root(), Ino::ROOT, new.as_bytes()).unwrap();
        assert_eq!(find(&two, &new), None);
    }
}

#[test]
fn appends_of_two_mounts_do_not_overwrite_each_other() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    create(&one, "log");
    let flags = libc::O_WRONLY | libc::O_APPEND;
    let threads: Vec<_> = [one, two]
        .into_iter()
        .map(|vfs| {
            let append = move || {
                let file = open(&vfs, "log", flags);
                for _ in 0..50 {
                    let how = WriteHow {
                        flags,
                        ..WriteHow::default()
                    };
                    assert_eq!(vfs.write(&root(), file.0, file.1, 0, b"0123456789", how), Ok(10));
                }
                fsync(&vfs, file);
                vfs
            };
            std::thread::Builder::new().spawn(append).unwrap()
        })
        .collect();
    let mounts: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let file = open(&mounts[0], "log", libc::O_RDONLY);
    assert_eq!(size(&mounts[0], file), 1000);
    assert_eq!(read(&mounts[0], file, 0, 2000), b"0123456789".repeat(100));
}

#[test]
fn a_granted_lease_is_used_before_it_goes_on() {
    const WRITES: u64 = 40;
    let cluster = Cluster::start();
    // While one of three is granted the lease another one waits for it: it is recalled before its writer has woken.
    let mount = || cluster.mount_with(|config| config.writes_back = false);
    let mounts = [mount(), mount(), mount()];
    create(&mounts[0], "file");
    let before = cluster.coordinator.calls();
    let together = Arc::new(Barrier::new(mounts.len()));
    let threads = mounts.map(|vfs| {
        let file = open(&vfs, "file", libc::O_WRONLY);
        let together = together.clone();
        let write_all = move || {
            for at in 0..WRITES {
                together.wait();
                write(&vfs, file, at, b"x");
            }
            vfs
        };
        std::thread::Builder::new().spawn(write_all).unwrap()
    });
    let _mounts = threads.map(|thread| thread.join().unwrap());
    // For each write the lease and a commit, and some more where a thread was late; for opening a few more.
    let calls = cluster.coordinator.calls() - before;
    assert!(calls <= 3 * (4 * WRITES + 10), "{calls} calls");
}

#[test]
fn times_set_after_a_write_stay() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    write(&vfs, file, 0, b"content");
    let then = Timestamp {
        secs: 1_000_000_000,
        nanos: 42,
    };
    let changes = AttrChanges {
        mtime: Some(SetTime::At(then)),
        ..AttrChanges::default()
    };
    let (attr, _) = vfs.setattr(&root(), file.0, None, changes).unwrap();
    assert_eq!((attr.mtime, attr.size), (then, 7));
    fsync(&vfs, file);
    assert_eq!(vfs.getattr(&root(), file.0, None).unwrap().0.mtime, then);
    let late = cluster.mount();
    let (ino, _) = open(&late, "file", libc::O_RDONLY);
    assert_eq!(late.getattr(&root(), ino, None).unwrap().0.mtime, then);
}

#[test]
fn an_open_file_outlives_its_name_wherever_it_is_removed() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    for (name, remover) in [("here", &one), ("there", &two)] {
        let file = create(&one, name);
        write(&one, file, 0, b"still here");
        assert!(find(remover, name).is_some());
        remover.unlink(&root(), Ino::ROOT, name.as_bytes()).unwrap();
        write(&one, file, 10, b", growing");
        assert_eq!(read(&one, file, 0, 100), b"still here, growing");
        fsync(&one, file);
        assert_eq!(one.getattr(&root(), file.0, None).unwrap().0.nlink, 0);
        one.release(file.0, file.1);
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} in time");
}

#[test]
fn what_the_kernel_knows_outlives_its_name_until_it_is_forgotten() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    for (name, remover, looker) in [("here", &one, &one), ("there", &two, &one), ("last", &one, &two)] {
        let file = create(&one, name);
        write(&one, file, 0, b"still here");
        one.release(file.0, file.1);
        assert_eq!(find(looker, name), Some(file.0));
        find(remover, name).unwrap();
        match name {
            "there" => {
                create(remover, "fresh");
                remover
                    .rename(
                        &root(),
                        Ino::ROOT,
                        b"fresh",
                        Ino::ROOT,
                        b"there",
                        RenameMode::Replace,
                    )
                    .unwrap();
            }
            _ => remover.unlink(&root(), Ino::ROOT, name.as_bytes()).unwrap(),
        }
        let opened = looker
            .open(&root(), file.0, libc::O_RDONLY, false)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read(looker, (file.0, opened.fh), 0, 100), b"still here");
        assert_eq!(looker.getattr(&root(), file.0, None).unwrap().0.nlink, 0);
        one.forget(file.0, 10);
        two.forget(file.0, 10);
        std::thread::sleep(Duration::from_millis(100));
        assert!(cluster.coordinator.knows(file.0), "{name} is open");
        looker.release(file.0, opened.fh);
        until("a file that nobody holds is freed", || {
            !cluster.coordinator.knows(file.0)
        });
    }
}

#[test]
fn removed_files_are_released_many_at_a_time() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let files: Vec<(String, Ino)> = (0..300)
        .map(|number| {
            let name = format!("f{number}");
            let (ino, fh) = create(&vfs, &name);
            vfs.release(ino, fh);
            (name, ino)
        })
        .collect();
    let before = cluster.coordinator.calls();
    for (name, ino) in &files {
        vfs.unlink(&root(), Ino::ROOT, name.as_bytes()).unwrap();
        vfs.forget(*ino, 1);
    }
    until("all are freed", || {
        files.iter().all(|(_, ino)| !cluster.coordinator.knows(*ino))
    });
    let calls = cluster.coordinator.calls() - before;
    assert!(calls < 2 * 300 - 100, "{calls} calls for 300 removals");
}

#[test]
fn dot_dot_is_right_also_in_a_directory_that_was_never_looked_up() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    let dir = |parent: Ino, name: &[u8]| {
        one.make(&root(), parent, name, FileKind::Directory, 0o755, 0, 0, b"")
            .unwrap()
            .attr
            .ino
    };
    let (a, b) = (dir(Ino::ROOT, b"a"), dir(Ino::ROOT, b"b"));
    let child = dir(a, b"child");
    let above = || {
        let opened = two.opendir(&root(), child).unwrap();
        let mut found = None;
        two.readdir(&root(), child, opened.fh, 0, false, &mut |slot| {
            if slot.name == b".." {
                found = Some(slot.ino);
            }
            true
        })
        .unwrap();
        two.releasedir(child, opened.fh);
        found
    };
    assert_eq!(above(), Some(a));
    one.rename(&root(), a, b"child", b, b"moved", RenameMode::Replace)
        .unwrap();
    assert_eq!(above(), Some(b));
}

#[test]
fn xattrs_and_modes_follow_changes_elsewhere() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    let (ino, _) = create(&one, "file");
    assert_eq!(two.getxattr(&root(), ino, b"user.a"), Err(FsError::NoAttribute));
    one.setxattr(&root(), ino, b"user.a", b"1", XattrMode::Create, false)
        .unwrap();
    assert_eq!(two.getxattr(&root(), ino, b"user.a"), Ok(b"1".to_vec()));
    let changes = AttrChanges {
        mode: Some(0o600),
        ..AttrChanges::default()
    };
    two.setattr(&root(), ino, None, changes).unwrap();
    assert_eq!(one.getattr(&root(), ino, None).unwrap().0.mode, 0o600);
}

#[derive(Default)]
struct Heard(Mutex<Vec<(Ino, Option<Vec<u8>>)>>);

impl KernelCache for Heard {
    fn invalidate_inode(&self, ino: Ino, _offset: u64, _len: u64) {
        self.0.lock().unwrap().push((ino, None));
    }

    fn invalidate_entry(&self, parent: Ino, name: &[u8]) {
        self.0.lock().unwrap().push((parent, Some(name.to_vec())));
    }
}

#[test]
fn a_recall_empties_the_kernels_caches_first() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    let heard = Arc::new(Heard::default());
    one.set_kernel_cache(heard.clone());
    assert_eq!(find(&one, "new"), None);
    one.getattr(&root(), Ino::ROOT, None).unwrap();
    one.answered();
    assert_eq!(find(&one, "new"), None);
    two.make(&root(), Ino::ROOT, b"new", FileKind::Directory, 0o755, 0, 0, b"")
        .unwrap();
    let heard = heard.0.lock().unwrap();
    assert!(heard.contains(&(Ino::ROOT, Some(b"new".to_vec()))), "{heard:?}");
    assert!(heard.contains(&(Ino::ROOT, None)), "{heard:?}");
}

/// A listing with attributes: the names that the kernel may keep.
fn list_plus(vfs: &Vfs) -> Vec<Vec<u8>> {
    let opened = vfs.opendir(&root(), Ino::ROOT).unwrap();
    let mut kept = Vec::new();
    vfs.readdir(&root(), Ino::ROOT, opened.fh, 0, true, &mut |slot| {
        if slot.entry.is_some_and(|entry| !entry.entry_ttl.is_zero()) {
            kept.push(slot.name.to_vec());
        }
        true
    })
    .unwrap();
    vfs.answered();
    vfs.releasedir(Ino::ROOT, opened.fh);
    kept
}

fn make(vfs: &Vfs, name: &[u8]) {
    vfs.make(&root(), Ino::ROOT, name, FileKind::Fifo, 0o600, 0, 0, b"")
        .unwrap();
}

#[test]
fn names_told_in_a_listing_are_taken_back_by_a_recall() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    make(&two, b"a");
    make(&two, b"b");
    let heard = Arc::new(Heard::default());
    one.set_kernel_cache(heard.clone());
    let mut kept = list_plus(&one);
    kept.sort();
    assert_eq!(kept, [b"a", b"b"]);
    make(&two, b"c");
    let heard = heard.0.lock().unwrap();
    for name in kept {
        assert!(heard.contains(&(Ino::ROOT, Some(name))), "{heard:?}");
    }
}

/// A kernel in which a directory's lock is held until every name is dropped without it.
#[derive(Default)]
struct Locked {
    dropped: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl KernelCache for Locked {
    fn invalidate_inode(&self, _ino: Ino, _offset: u64, _len: u64) {}

    fn invalidate_entry(&self, _parent: Ino, _name: &[u8]) {
        let dropped = self.dropped.lock().unwrap();
        let _dropped = self
            .changed
            .wait_while(dropped, |dropped| dropped.is_none())
            .unwrap();
    }

    fn drop_all_names(&self) -> bool {
        *self.dropped.lock().unwrap() = Some(Instant::now());
        self.changed.notify_all();
        true
    }
}

#[test]
fn names_are_not_dropped_at_once_before_a_listing_has_arrived() {
    let cluster = Cluster::start();
    let (one, two) = cluster.two_mounts();
    make(&two, b"a");
    let kernel = Arc::new(Locked::default());
    one.set_kernel_cache(kernel.clone());
    let begun = Instant::now();
    assert_eq!(list_plus(&one), [b"a"]);
    make(&two, b"b");
    let dropped = kernel.dropped.lock().unwrap().unwrap();
    assert!(dropped >= begun + Duration::from_millis(200));
}

#[test]
fn listings_are_whole_in_any_buffer_size() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    for number in 0..300 {
        vfs.make(
            &root(),
            Ino::ROOT,
            format!("n{number}").as_bytes(),
            FileKind::Fifo,
            0o600,
            0,
            0,
            b"",
        )
        .unwrap();
    }
    for (room, plus) in [(1, false), (7, true), (1000, true)] {
        let opened = vfs.opendir(&root(), Ino::ROOT).unwrap();
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut cookie = 0;
        loop {
            let before = names.len();
            let caller: Caller<'_> = root();
            vfs.readdir(&caller, Ino::ROOT, opened.fh, cookie, plus, &mut |slot| {
                if names.len() - before == room {
                    return false;
                }
                cookie = slot.cookie;
                names.push(slot.name.to_vec());
                true
            })
            .unwrap();
            if names.len() == before {
                break;
            }
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 302);
        vfs.releasedir(Ino::ROOT, opened.fh);
    }
}
