//! mmap, shared and private, beside read and write of the same file.
use crate::Scene;
use integration::sys;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// A mapping of a whole file, gone when dropped.
pub struct Map {
    at: *mut u8,
    len: usize,
}

impl Map {
    pub fn new(file: &File, len: usize, flags: i32) -> Self {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Self { at: at.cast(), len }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has this length and lives as long as self; nobody truncates the file in these tests.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }

    pub fn sync(&self) {
        // SAFETY: the mapping is alive.
        sys::check(unsafe { libc::msync(self.at.cast(), self.len, libc::MS_SYNC) }).expect("msync");
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}

const LEN: usize = 1 << 20;

fn open(scene: &Scene, name: &str) -> File {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(scene.join(name))
        .unwrap();
    file.set_len(LEN as u64).unwrap();
    file
}

// S10, S13
#[test]
fn shared_mappings_and_calls_see_each_other_and_msync_is_durable() {
    let mut scene = Scene::new();
    let file = open(&scene, "f");
    let mut map = Map::new(&file, LEN, libc::MAP_SHARED);
    assert!(map.bytes().iter().all(|b| *b == 0));
    map.bytes()[5000..5005].copy_from_slice(b"mmap!");
    let mut got = [0; 5];
    file.read_exact_at(&mut got, 5000).unwrap();
    assert_eq!(&got, b"mmap!");
    file.write_all_at(b"write", 700_000).unwrap();
    assert_eq!(&map.bytes()[700_000..700_005], b"write");
    map.bytes()[LEN - 1] = 9;
    map.sync();
    drop(map);
    drop(file);
    scene.mount.kill_and_mount();
    let bytes = std::fs::read(scene.join("f")).unwrap();
    assert_eq!(
        (&bytes[5000..5005], &bytes[700_000..700_005], bytes[LEN - 1]),
        (&b"mmap!"[..], &b"write"[..], 9)
    );
}

// S10
#[test]
fn private_mappings_change_nothing() {
    let scene = Scene::new();
    let file = open(&scene, "f");
    file.write_all_at(b"before", 100).unwrap();
    let mut map = Map::new(&file, LEN, libc::MAP_PRIVATE);
    assert_eq!(&map.bytes()[100..106], b"before");
    map.bytes()[100..106].copy_from_slice(b"after!");
    drop(map);
    drop(file);
    assert_eq!(&std::fs::read(scene.join("f")).unwrap()[100..106], b"before");
}

#[test]
fn a_mapping_outlives_close_and_unlink() {
    let scene = Scene::new();
    let file = open(&scene, "f");
    let mut map = Map::new(&file, LEN, libc::MAP_SHARED);
    drop(file);
    std::fs::remove_file(scene.join("f")).unwrap();
    map.bytes()[LEN / 2] = 1;
    map.sync();
    assert_eq!(map.bytes()[LEN / 2], 1);
}

// S10, S20
#[test]
fn what_one_mount_wrote_through_a_mapping_the_other_reads() {
    let scene = Scene::new();
    let second = scene.second();
    let file = open(&scene, "f");
    let mut map = Map::new(&file, LEN, libc::MAP_SHARED);
    for round in 1..=5u8 {
        map.bytes()[..4096].fill(round);
        map.sync();
        let seen = std::fs::read(second.join("f")).unwrap();
        assert!(
            seen[..4096].iter().all(|b| *b == round),
            "round {round}: {}",
            seen[0]
        );
    }
}
