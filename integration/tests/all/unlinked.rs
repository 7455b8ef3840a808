//! Files without a name: unlinked while open, replaced while open, made with O_TMPFILE.
use crate::Scene;
use integration::{patience, sys};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

// S3
#[test]
fn an_unlinked_file_lives_until_its_last_close() {
    let scene = Scene::new();
    let path = scene.join("f");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.write_all_at(b"before", 0).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    file.write_all_at(&vec![5; 3 << 20], 6).unwrap();
    file.sync_all().unwrap();
    let mut bytes = vec![0; 6 + (3 << 20)];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(&bytes[..6] == b"before" && bytes[6..].iter().all(|b| *b == 5));
    let stat = file.metadata().unwrap();
    assert_eq!((stat.nlink(), stat.len()), (0, 6 + (3 << 20)));
    // Another file of the same name is another file.
    std::fs::write(&path, "other").unwrap();
    assert_ne!(path.metadata().unwrap().ino(), stat.ino());
    let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    assert_eq!(again.metadata().unwrap().ino(), stat.ino());
}

// S3
#[test]
fn a_file_removed_on_another_mount_stays_readable_here() {
    let scene = Scene::new();
    let second = scene.second();
    std::fs::write(scene.join("f"), vec![1; 2 << 20]).unwrap();
    std::fs::write(scene.join("g"), "replacement").unwrap();
    let removed = File::open(second.join("f")).unwrap();
    std::fs::remove_file(scene.join("f")).unwrap();
    assert!(!second.join("f").exists());
    let mut bytes = vec![0; 2 << 20];
    // Longer than the delay of the garbage collection in these tests.
    std::thread::sleep(Duration::from_secs(3));
    removed.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|b| *b == 1));
    drop(removed);

    std::fs::write(scene.join("h"), "replaced").unwrap();
    let replaced = File::open(second.join("h")).unwrap();
    std::fs::rename(scene.join("g"), scene.join("h")).unwrap();
    assert_eq!(std::fs::read(second.join("h")).unwrap(), b"replacement");
    assert_eq!(replaced.metadata().unwrap().nlink(), 0);
    let mut old = [0; 8];
    replaced.read_exact_at(&mut old, 0).unwrap();
    assert_eq!(&old, b"replaced");
}

#[test]
fn o_tmpfile_makes_a_file_that_can_get_a_name() {
    let scene = Scene::new();
    let mut file = sys::open(scene.path(), libc::O_TMPFILE | libc::O_RDWR, 0o640).unwrap();
    file.write_all(b"unnamed").unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(std::fs::read_dir(scene.path()).unwrap().count(), 0);
    let (from, to) = (format!("/proc/self/fd/{}", file.as_raw_fd()), scene.join("named"));
    let (from, to) = (sys::c_path(from.as_ref()), sys::c_path(&to));
    // SAFETY: both paths outlive the call.
    let linked = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    sys::check(linked).unwrap();
    assert_eq!(std::fs::read(scene.join("named")).unwrap(), b"unnamed");
    assert_eq!(file.metadata().unwrap().nlink(), 1);
    drop(sys::open(scene.path(), libc::O_TMPFILE | libc::O_RDWR, 0o600).unwrap());
}

// S3, S28
#[test]
fn nothing_is_left_of_unlinked_files_of_a_killed_client() {
    let mut scene = Scene::new();
    let file = File::create(scene.join("f")).unwrap();
    file.write_all_at(&vec![1; 8 << 20], 0).unwrap();
    file.sync_all().unwrap();
    std::fs::remove_file(scene.join("f")).unwrap();
    scene.mount.kill_and_mount();
    drop(file);
    patience::until_true("fsck finds nothing left", Duration::from_secs(40), || {
        scene.cluster.dfs(&["fsck"]).status.success()
    });
}
