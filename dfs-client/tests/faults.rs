//! What the client does when something fails: full, dead, frozen and rotten datanodes, broken streams, ended
//! sessions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, create, fsync, open, read, root, write};
use dfs_client::vfs::WriteHow;
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
use dfs_core::op::AttrChanges;
use std::time::{Duration, Instant};

#[test]
fn a_full_volume_refuses_and_keeps_what_was_written() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    cluster.store.faults.lock().unwrap().full = vec![1, 2, 3];
    write(&vfs, file, 0, b"precious");
    assert_eq!(
        vfs.fsync(&root(), file.0, Some(file.1), false),
        Err(FsError::NoSpace)
    );
    assert_eq!(vfs.flush(&root(), file.0, file.1, 1), Err(FsError::NoSpace));
    assert_eq!(
        vfs.write(&root(), file.0, file.1, 8, b"more", WriteHow::default()),
        Err(FsError::NoSpace)
    );
    assert_eq!(read(&vfs, file, 0, 100), b"precious");
    cluster.store.faults.lock().unwrap().full.clear();
    fsync(&vfs, file);
    let late = cluster.mount();
    assert_eq!(
        read(&late, open(&late, "file", libc::O_RDONLY), 0, 100),
        b"precious"
    );
}

#[test]
fn a_full_volume_lets_files_be_cut_and_removed_at_once() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    cluster.store.faults.lock().unwrap().full = vec![1, 2, 3];
    let (cut, removed) = (create(&vfs, "cut"), create(&vfs, "removed"));
    for file in [cut, removed] {
        write(&vfs, file, 0, b"no room");
        assert_eq!(
            vfs.fsync(&root(), file.0, Some(file.1), false),
            Err(FsError::NoSpace)
        );
    }
    let begun = Instant::now();
    let changes = AttrChanges {
        size: Some(0),
        ..AttrChanges::default()
    };
    vfs.setattr(&root(), cut.0, Some(cut.1), changes).unwrap();
    vfs.release(removed.0, removed.1);
    vfs.unlink(&root(), Ino::ROOT, b"removed").unwrap();
    vfs.forget(removed.0, 1);
    vfs.syncfs(&root()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn one_dead_datanode_is_not_noticed() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    for dead in [1, 2, 3] {
        cluster.store.faults.lock().unwrap().dead = vec![dead];
        write(&vfs, file, u64::from(dead) * 10, b"0123456789");
        fsync(&vfs, file);
        let late = cluster.mount();
        assert_eq!(
            read(
                &late,
                open(&late, "file", libc::O_RDONLY),
                u64::from(dead) * 10,
                10
            ),
            b"0123456789"
        );
        late.shutdown();
    }
}

#[test]
fn a_frozen_datanode_costs_a_reader_less_than_a_second() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    write(&vfs, file, 0, b"content");
    fsync(&vfs, file);
    for frozen in [1, 2, 3] {
        cluster.store.faults.lock().unwrap().frozen = vec![frozen];
        let late = cluster.mount();
        let handle = open(&late, "file", libc::O_RDONLY);
        let begun = Instant::now();
        assert_eq!(read(&late, handle, 0, 10), b"content");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        // Else the next one may wait for a lease of a mount that is gone.
        late.shutdown();
    }
}

#[test]
fn a_slow_disk_is_waited_for_and_another_is_asked_beside_it() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    write(&vfs, file, 0, b"content");
    fsync(&vfs, file);
    for quick in [1, 2, 3] {
        let slow = (1..=3).filter(|id| *id != quick).collect();
        cluster.store.faults.lock().unwrap().slow = slow;
        let late = cluster.mount();
        let handle = open(&late, "file", libc::O_RDONLY);
        let begun = Instant::now();
        assert_eq!(read(&late, handle, 0, 10), b"content");
        let took = begun.elapsed();
        // Two members are asked at a time: when both are slow, they are waited for.
        assert!(took < Duration::from_secs(5), "{took:?}");
        late.shutdown();
    }
    cluster.store.faults.lock().unwrap().slow = vec![2];
    for _ in 0..3 {
        let late = cluster.mount();
        let handle = open(&late, "file", libc::O_RDONLY);
        let begun = Instant::now();
        assert_eq!(read(&late, handle, 0, 10), b"content");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        late.shutdown();
    }
}

#[test]
fn rotten_copies_never_reach_a_reader() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    write(&vfs, file, 0, &[9; 200_000]);
    fsync(&vfs, file);
    cluster.store.faults.lock().unwrap().rotten = vec![1, 3];
    let late = cluster.mount();
    assert_eq!(
        read(&late, open(&late, "file", libc::O_RDONLY), 0, 200_000),
        vec![9; 200_000]
    );
    cluster.store.faults.lock().unwrap().rotten = vec![1, 2, 3];
    let later = cluster.mount_with(|config| config.timeout = Duration::from_secs(2));
    let handle = open(&later, "file", libc::O_RDONLY);
    assert!(later.read(&root(), handle.0, handle.1, 0, 10, true).is_err());
}

#[test]
fn a_broken_stream_is_taken_up_again() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    for round in 0..10u8 {
        write(&vfs, file, 0, &[round; 100]);
        cluster.coordinator.hang_up();
        vfs.make(
            &root(),
            Ino::ROOT,
            &[b'd', round + b'0'],
            dfs_core::types::FileKind::Directory,
            0o755,
            0,
            0,
            b"",
        )
        .unwrap();
        assert_eq!(read(&vfs, file, 0, 100), [round; 100]);
        fsync(&vfs, file);
    }
    let late = cluster.mount();
    assert_eq!(read(&late, open(&late, "file", libc::O_RDONLY), 0, 100), [9; 100]);
}

#[test]
fn an_ended_session_reports_the_loss_once_and_goes_on() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "file");
    write(&vfs, file, 0, b"saved");
    fsync(&vfs, file);
    write(&vfs, file, 0, b"never");
    cluster.coordinator.end_sessions();
    let begun = Instant::now();
    while read(&vfs, file, 0, 10) != b"saved" {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(vfs.fsync(&root(), file.0, Some(file.1), false), Err(FsError::Io));
    fsync(&vfs, file);
    write(&vfs, file, 0, b"again");
    fsync(&vfs, file);
    assert_eq!(read(&vfs, file, 0, 10), b"again");
}

#[test]
fn without_a_coordinator_calls_end_in_time() {
    let cluster = Cluster::start();
    let vfs = cluster.mount_with(|config| config.timeout = Duration::from_millis(500));
    let file = create(&vfs, "file");
    drop(cluster);
    let begun = Instant::now();
    assert_eq!(vfs.statfs(&root(), Ino::ROOT).unwrap_err(), FsError::TimedOut);
    assert!(vfs.lookup(&root(), Ino::ROOT, b"absent").is_err());
    // Taken while the lease is still trusted, it cannot be saved.
    let written = vfs.write(&root(), file.0, file.1, 0, b"x", WriteHow::default());
    assert!(written.is_err() || vfs.fsync(&root(), file.0, Some(file.1), false).is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
}
