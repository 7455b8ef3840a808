//! File content against a byte array: random operations on one and on two mounts of a cluster in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, create, fsync, open, read, root, size, write};
use dfs_client::config::{DiskCacheConfig, MountConfig};
use dfs_client::vfs::Vfs;
use dfs_core::ids::Ino;
use dfs_core::op::AttrChanges;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

const FILE_MAX: usize = 300_000;

struct File {
    mounts: Vec<Arc<Vfs>>,
    handles: Vec<(Ino, u64)>,
    model: Vec<u8>,
    random: StdRng,
    step: usize,
}

impl File {
    fn range(&mut self) -> (usize, usize) {
        let offset = self.random.random_range(0..FILE_MAX);
        let len = self.random.random_range(1..=(FILE_MAX - offset).min(70_000));
        (offset, len)
    }

    fn play(&mut self) {
        self.step += 1;
        let at = self.random.random_range(0..self.mounts.len());
        let (vfs, file) = (self.mounts[at].clone(), self.handles[at]);
        let (offset, len) = self.range();
        match self.random.random_range(0..100) {
            0..35 => {
                let data: Vec<u8> = (0..len).map(|place| (self.step * 31 + place) as u8).collect();
                write(&vfs, file, offset as u64, &data);
                self.grow(offset + len);
                self.model[offset..offset + len].copy_from_slice(&data);
            }
            35..70 => {
                let end = (offset + len).min(self.model.len());
                let expected = if offset < end {
                    &self.model[offset..end]
                } else {
                    &[][..]
                };
                let found = read(&vfs, file, offset as u64, len as u32);
                assert!(found == expected, "step {}: read {offset}+{len}", self.step);
            }
            70..78 => {
                let changes = AttrChanges {
                    size: Some(offset as u64),
                    ..AttrChanges::default()
                };
                vfs.setattr(&root(), file.0, Some(file.1), changes).unwrap();
                self.model.resize(offset, 0);
            }
            78..84 => fsync(&vfs, file),
            84..89 => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                vfs.fallocate(&root(), file.0, file.1, mode, offset as u64, len as u64)
                    .unwrap();
                let end = (offset + len).min(self.model.len());
                self.model[offset.min(end)..end].fill(0);
            }
            89..92 => {
                vfs.fallocate(&root(), file.0, file.1, 0, offset as u64, len as u64)
                    .unwrap();
                self.grow(offset + len);
            }
            92..97 => self.copy(&vfs, file, offset, len),
            _ => assert_eq!(size(&vfs, file), self.model.len() as u64, "step {}", self.step),
        }
    }

    fn copy(&mut self, vfs: &Vfs, file: (Ino, u64), offset: usize, len: usize) {
        let to = self.random.random_range(0..FILE_MAX);
        let len = len
            .min(FILE_MAX - to)
            .min(offset.abs_diff(to))
            .min(self.model.len().saturating_sub(offset));
        if len == 0 {
            return;
        }
        let copied = vfs
            .copy_file_range(
                &root(),
                file.0,
                file.1,
                offset as u64,
                file.0,
                file.1,
                to as u64,
                len as u64,
            )
            .unwrap();
        assert_eq!(copied, len as u64);
        self.grow(to + len);
        self.model.copy_within(offset..offset + len, to);
    }

    fn grow(&mut self, end: usize) {
        if end > self.model.len() {
            self.model.resize(end, 0);
        }
    }
}

fn run(seed: u64, mounts: usize, steps: usize) {
    run_with(seed, mounts, steps, |_| {});
}

fn run_with(seed: u64, mounts: usize, steps: usize, change: impl Fn(&mut MountConfig)) {
    let cluster = Cluster::start();
    let mounts: Vec<Arc<Vfs>> = (0..mounts).map(|_| cluster.mount_with(&change)).collect();
    let mut handles = vec![create(&mounts[0], "file")];
    handles.extend(mounts[1..].iter().map(|vfs| open(vfs, "file", libc::O_RDWR)));
    let random = StdRng::seed_from_u64(seed);
    let mut file = File {
        mounts,
        handles,
        model: Vec::new(),
        random,
        step: 0,
    };
    for _ in 0..steps {
        file.play();
    }
    // What a mount that comes later sees is what was written.
    file.mounts.iter().for_each(|vfs| vfs.shutdown());
    let late = cluster.mount_with(&change);
    let handle = open(&late, "file", libc::O_RDONLY);
    assert!(
        read(&late, handle, 0, FILE_MAX as u32) == file.model,
        "seed {seed}: content after remount"
    );
}

#[test]
fn one_mount_behaves_as_a_byte_array() {
    for seed in 0..12 {
        run(seed, 1, 1500);
    }
}

#[test]
fn two_mounts_behave_as_one_byte_array() {
    for seed in 20..30 {
        run_with(seed, 2, 800, |config| config.writes_back = false);
    }
}

#[test]
fn two_mounts_with_content_on_a_local_disk_behave_as_one_byte_array() {
    for seed in 40..46 {
        let dir = tempfile::tempdir().unwrap();
        run_with(seed, 2, 800, |config| {
            // Next to no memory: what is not dirty comes from the disk.
            config.buffer_size = 256 << 10;
            config.disk_cache = Some(DiskCacheConfig {
                dir: dir.path().to_path_buf(),
                size: 16 << 20,
            });
        });
    }
}

#[test]
fn two_mounts_that_set_sizes_by_themselves_behave_as_one_byte_array() {
    for seed in 60..64 {
        run_with(seed, 2, 800, |config| config.writes_back = true);
    }
}

#[test]
fn a_file_held_alone_is_cut_and_written_anew_without_a_call() {
    let cluster = Cluster::start();
    let vfs = cluster.mount_with(|config| config.writes_back = true);
    let file = create(&vfs, "file");
    write(&vfs, file, 0, &[1; 100_000]);
    fsync(&vfs, file);
    let size_to = |size| {
        let changes = AttrChanges {
            size: Some(size),
            ..AttrChanges::default()
        };
        vfs.setattr(&root(), file.0, Some(file.1), changes).unwrap().0
    };
    let before = cluster.coordinator.calls();
    let begun = std::time::Instant::now();
    assert_eq!((size_to(0).size, size_to(0).blocks), (0, 0));
    assert_eq!(read(&vfs, file, 0, 100), b"");
    size_to(300);
    assert_eq!(read(&vfs, file, 0, 1000), [0; 300]);
    write(&vfs, file, 100, &[2; 10]);
    let known = [vec![0; 100], vec![2; 10], vec![0; 190]].concat();
    assert_eq!(read(&vfs, file, 0, 1000), known);
    for _ in 0..50 {
        size_to(0);
        size_to(300);
        write(&vfs, file, 100, &[2; 10]);
    }
    // Sizes are told once a second.
    let (calls, most) = (
        cluster.coordinator.calls() - before,
        2 + begun.elapsed().as_secs() * 2,
    );
    assert!(calls <= most, "{calls} calls, at most {most} are needed");
    let found = |offset, whence| vfs.lseek(&root(), file.0, file.1, offset, whence);
    assert_eq!(found(0, libc::SEEK_DATA), Ok(100));
    let late = cluster.mount();
    let seen = open(&late, "file", libc::O_RDONLY);
    assert_eq!(read(&late, seen, 0, 1000), known);
    assert_eq!(size_to(0).size, 0);
    assert_eq!(size(&late, seen), 0);
    assert_eq!(found(0, libc::SEEK_HOLE), Err(dfs_core::error::FsError::NoData));
}

#[test]
fn large_files_survive_and_are_read_ahead() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let file = create(&vfs, "large");
    let block: Vec<u8> = (0..1 << 20).map(|place: u32| (place / 7) as u8).collect();
    for number in 0..40u64 {
        write(&vfs, file, number << 20, &block);
    }
    fsync(&vfs, file);
    assert_eq!(cluster.store.faults.lock().unwrap().puts, 5);
    let late = cluster.mount();
    let file = open(&late, "large", libc::O_RDONLY);
    for number in 0..40u64 * 8 {
        let from = (number % 8) as usize * (128 << 10);
        assert!(read(&late, file, number << 17, 128 << 10) == block[from..from + (128 << 10)]);
    }
    assert!(cluster.store.faults.lock().unwrap().gets < 100);
}

#[test]
fn small_files_share_chunks() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let files: Vec<_> = (0..200)
        .map(|number| create(&vfs, &format!("f{number}")))
        .collect();
    for (number, file) in files.iter().enumerate() {
        write(&vfs, *file, 0, &[number as u8; 3000]);
        vfs.release(file.0, file.1);
    }
    vfs.syncfs(&root()).unwrap();
    assert!(cluster.store.faults.lock().unwrap().puts <= 2);
    let late = cluster.mount();
    for number in [0usize, 77, 199] {
        let file = open(&late, &format!("f{number}"), libc::O_RDONLY);
        assert_eq!(read(&late, file, 0, 4096), vec![number as u8; 3000]);
    }
}

#[test]
fn what_was_written_here_is_read_from_memory() {
    let cluster = Cluster::start();
    let vfs = cluster.mount();
    let large = create(&vfs, "large");
    let content: Vec<u8> = (0..10u32 << 20).map(|place| (place / 7) as u8).collect();
    for (number, part) in content.chunks(128 << 10).enumerate() {
        write(&vfs, large, (number * part.len()) as u64, part);
    }
    let small: Vec<_> = (0..50)
        .map(|number| create(&vfs, &format!("f{number}")))
        .collect();
    for (number, file) in small.iter().enumerate() {
        write(&vfs, *file, 0, &[number as u8; 3000]);
    }
    vfs.syncfs(&root()).unwrap();
    for (number, part) in content.chunks(128 << 10).enumerate() {
        assert!(read(&vfs, large, (number * part.len()) as u64, 128 << 10) == part);
    }
    for (number, file) in small.iter().enumerate() {
        assert_eq!(read(&vfs, *file, 0, 4096), [number as u8; 3000]);
    }
    assert_eq!(cluster.store.faults.lock().unwrap().gets, 0);
    assert_eq!(vfs.cache_counters().miss_bytes, 0);
}
