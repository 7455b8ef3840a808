//! Disks of datanodes that somebody else has filled to the last block: deletions are obeyed, also those of a new
//! leader, and give space back.
use integration::{Cluster, Mount, Room, Setup, disk::Disk, patience};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const RECOVERY: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

fn store(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Bytes that the disk has free.
fn free(disk: &Disk) -> u64 {
    let path = std::ffi::CString::new(disk.path().as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: statvfs writes to the buffer, which is as large as it wants, and reads the string.
    unsafe {
        let mut figures: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(path.as_ptr(), &mut figures), 0);
        figures.f_bavail * figures.f_frsize
    }
}

// S27, S28
#[test]
fn a_new_leader_s_deletions_are_obeyed_on_a_disk_without_a_free_block() {
    let room = Room::new();
    let disk = Disk::new(room.path(), "disk", 192);
    let setup = Setup {
        directories: vec![("datanode-2".to_owned(), disk.path().join("data"))],
        ..Setup::default()
    };
    let mut cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    for n in 0..4 {
        store(&mount.join(&format!("f{n}")), &vec![n; 8 * MIB]).unwrap();
    }
    let ballast = disk.fill();
    assert!(free(&disk) < 4096, "{} bytes are free", free(&disk));
    // A restart begins a term, which the datanode keeps on disk before it obeys.
    cluster.coordinator.restart();
    patience::until_true("the mount goes on", RECOVERY, || {
        std::fs::remove_file(mount.join("f0")).is_ok()
    });
    std::fs::remove_file(mount.join("f1")).expect("deleting works when full");
    let back = || free(&disk) >= 15 << 20;
    patience::until_true("the disk has the deleted files' space again", RECOVERY, back);
    for n in 2..4 {
        assert!(std::fs::read(mount.join(&format!("f{n}"))).unwrap() == vec![n; 8 * MIB]);
    }
    std::fs::remove_file(ballast).unwrap();
    let whole = || store(&mount.join("again"), &vec![9; 8 * MIB]).is_ok();
    patience::until_true("writing goes on", RECOVERY, whole);
    patience::until_true("all copies are made", RECOVERY, || {
        cluster.dfs(&["fsck"]).status.success()
    });
}
