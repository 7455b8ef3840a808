//! Where the bytes of a file are and are not: holes, fallocate, shared extents, great offsets, true figures.
use crate::Scene;
use integration::{patience, sys};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn create(path: &Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap()
}

/// The data ranges of a file as SEEK_DATA and SEEK_HOLE tell them.
fn data(file: &File) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(begin) = sys::seek(file, at, libc::SEEK_DATA) {
        let end = sys::seek(file, begin, libc::SEEK_HOLE).unwrap();
        found.push((begin as u64, end as u64));
        at = end;
    }
    found
}

/// Is every byte of `wanted` inside the ranges, and no range reaches more than a block around them.
fn covers(found: &[(u64, u64)], wanted: &[(u64, u64)], block: u64) -> bool {
    let inside = |&(a, b): &(u64, u64)| found.iter().any(|&(from, to)| from <= a && b <= to);
    let near = |&(a, b): &(u64, u64)| {
        wanted
            .iter()
            .any(|&(from, to)| from.saturating_sub(block) <= a && b <= to + block)
    };
    wanted.iter().all(inside) && found.iter().all(near)
}

// S9, S11
#[test]
fn holes_read_as_zeros_cost_nothing_and_are_found() {
    let mut scene = Scene::new();
    let file = create(&scene.join("f"));
    file.write_all_at(&vec![1; MIB as usize], 0).unwrap();
    file.write_all_at(&vec![2; MIB as usize], 64 * MIB).unwrap();
    file.set_len(128 * MIB).unwrap();
    let check = |file: &File| {
        let found = data(file);
        assert!(
            covers(&found, &[(0, MIB), (64 * MIB, 65 * MIB)], 65536),
            "{found:?}"
        );
        assert_eq!(
            sys::errno(sys::seek(file, 66 * MIB as i64, libc::SEEK_DATA)),
            libc::ENXIO
        );
        assert_eq!(
            sys::errno(sys::seek(file, 128 * MIB as i64, libc::SEEK_HOLE)),
            libc::ENXIO
        );
        let mut bytes = vec![9; 4096];
        file.read_exact_at(&mut bytes, 32 * MIB).unwrap();
        assert!(bytes.iter().all(|b| *b == 0));
    };
    check(&file);
    file.sync_all().unwrap();
    check(&file);
    let blocks = file.metadata().unwrap().blocks() * 512;
    assert!(
        (2 * MIB..3 * MIB).contains(&blocks),
        "{blocks} bytes for 2 MiB of content"
    );
    drop(file);
    scene.mount.remount();
    check(&File::open(scene.join("f")).unwrap());
}

// S11
#[test]
fn fallocate_modes_do_what_linux_says() {
    let scene = Scene::new();
    let path = scene.join("f");
    let file = create(&path);
    sys::fallocate(&file, 0, 0, 3 * MIB as i64).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3 * MIB);
    assert!(file.metadata().unwrap().blocks() * 512 >= 3 * MIB);
    file.write_all_at(&vec![7; 3 * MIB as usize], 0).unwrap();
    sys::fallocate(&file, libc::FALLOC_FL_KEEP_SIZE, 2 * MIB as i64, 4 * MIB as i64).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3 * MIB);

    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    sys::fallocate(&file, punch, 1_000_001, 500_003).unwrap();
    sys::fallocate(&file, libc::FALLOC_FL_ZERO_RANGE, 2 * MIB as i64 + 11, 77_777).unwrap();
    let mut model = vec![7; 3 * MIB as usize];
    model[1_000_001..1_500_004].fill(0);
    model[2 * MIB as usize + 11..][..77_777].fill(0);
    assert!(
        std::fs::read(&path).unwrap() == model,
        "content after punch and zero"
    );
    file.sync_all().unwrap();
    assert!(std::fs::read(&path).unwrap() == model, "content after fsync");

    sys::fallocate(&file, libc::FALLOC_FL_ZERO_RANGE, 3 * MIB as i64, MIB as i64).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 4 * MIB);
    assert_eq!(
        sys::errno(sys::fallocate(&file, libc::FALLOC_FL_PUNCH_HOLE, 0, 10)),
        libc::EOPNOTSUPP
    );
    assert_eq!(sys::errno(sys::fallocate(&file, 0, -1, 10)), libc::EINVAL);
    assert_eq!(sys::errno(sys::fallocate(&file, 0, 0, 0)), libc::EINVAL);
    for mode in [libc::FALLOC_FL_COLLAPSE_RANGE, libc::FALLOC_FL_INSERT_RANGE] {
        if let Err(e) = sys::fallocate(&file, mode, 65536, 65536) {
            assert_eq!(e.raw_os_error(), Some(libc::EOPNOTSUPP));
        }
    }
}

// S12
#[test]
fn copy_file_range_copies_the_bytes_and_shares_the_chunks() {
    let scene = Scene::new();
    let from = create(&scene.join("from"));
    let content: Vec<u8> = (0..8 * MIB)
        .map(|at| ((at * 2_654_435_761) >> 13) as u8)
        .collect();
    from.write_all_at(&content, 0).unwrap();
    from.sync_all().unwrap();
    let used_before = used(&scene);
    let to = create(&scene.join("to"));
    let (mut begin, mut end) = (1000i64, 50i64);
    let mut left = 7 * MIB as usize;
    while left > 0 {
        // SAFETY: both offsets outlive the call.
        let copied =
            unsafe { libc::copy_file_range(from.as_raw_fd(), &mut begin, to.as_raw_fd(), &mut end, left, 0) };
        let copied = sys::check(copied as i64).unwrap() as usize;
        assert_ne!(copied, 0);
        left -= copied;
    }
    let got = std::fs::read(scene.join("to")).unwrap();
    assert!(got[..50].iter().all(|b| *b == 0) && got[50..] == content[1000..1000 + 7 * MIB as usize]);
    to.sync_all().unwrap();
    let grown = used(&scene).saturating_sub(used_before);
    assert!(grown < 2 * MIB, "a copy inside the volume stored {grown} bytes");
    // The source may change and go: the copy stays.
    from.write_all_at(&vec![0; MIB as usize], 0).unwrap();
    drop(from);
    std::fs::remove_file(scene.join("from")).unwrap();
    assert!(std::fs::read(scene.join("to")).unwrap()[50..] == content[1000..1000 + 7 * MIB as usize]);
}

fn used(scene: &Scene) -> u64 {
    let figures = sys::statvfs(scene.path()).unwrap();
    (figures.f_blocks - figures.f_bfree) * figures.f_frsize
}

// S28
#[test]
fn statfs_follows_what_is_stored_and_deletion_gives_space_back() {
    let scene = Scene::new();
    let figures = sys::statvfs(scene.path()).unwrap();
    let said = (
        figures.f_blocks,
        figures.f_bfree,
        figures.f_bavail,
        figures.f_frsize,
    );
    assert!(
        figures.f_blocks > 0 && figures.f_bavail > 0 && figures.f_bavail <= figures.f_blocks,
        "{said:?}"
    );
    assert_eq!(figures.f_namemax, 255);
    assert!(figures.f_files > figures.f_ffree && figures.f_ffree > 0);
    let before = used(&scene);
    let mut file = create(&scene.join("f"));
    file.write_all(&vec![3; 48 * MIB as usize]).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let limit = Duration::from_secs(30);
    patience::until_true("statfs shows the file", limit, || {
        used(&scene) >= before + 40 * MIB
    });
    let full = used(&scene);
    let on_disk = |scene: &Scene| -> u64 {
        let blocks = |path: &Path| integration::script::run(path, limit, "du -s -B1 . | cut -f1");
        scene
            .cluster
            .datanodes
            .iter()
            .map(|node| blocks(&node.data).trim().parse::<u64>().unwrap())
            .sum()
    };
    let disk_full = on_disk(&scene);
    std::fs::remove_file(scene.join("f")).unwrap();
    patience::until_true("statfs shows the deletion", limit, || {
        used(&scene) <= full - 40 * MIB
    });
    let given_back = || on_disk(&scene) <= disk_full - 3 * 40 * MIB;
    patience::until_true(
        "the datanodes give the space back",
        Duration::from_secs(60),
        given_back,
    );
}

// S5
#[test]
fn offsets_go_up_to_the_end_of_a_signed_64_bit_number() {
    let scene = Scene::new();
    let mut file = create(&scene.join("f"));
    let last = i64::MAX as u64;
    file.set_len(last).unwrap();
    assert_eq!(file.metadata().unwrap().len(), last);
    file.write_all_at(b"end", last - 4096).unwrap();
    let mut got = [0; 3];
    file.read_exact_at(&mut got, last - 4096).unwrap();
    assert_eq!(&got, b"end");
    assert_eq!(file.seek(SeekFrom::Start(1 << 60)).unwrap(), 1 << 60);
    file.write_all(b"middle").unwrap();
    file.sync_all().unwrap();
    let found = data(&file);
    assert!(
        covers(
            &found,
            &[(1 << 60, (1 << 60) + 6), (last - 4096, last - 4093)],
            65536
        ),
        "{found:?}"
    );
    // The kernel itself refuses a write that would end beyond the largest offset.
    assert_eq!(sys::errno(file.write_all_at(b"x", last)), libc::EINVAL);
}

// S10
#[test]
fn append_truncate_and_direct_io_agree() {
    let scene = Scene::new();
    let path = scene.join("f");
    let mut file = sys::open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_APPEND, 0o644).unwrap();
    file.write_all(b"0123456789").unwrap();
    file.seek(SeekFrom::Start(2)).unwrap();
    file.write_all(b"abc").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"0123456789abc");
    file.set_len(4).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"0123\0\0\0\0");
    drop(sys::open(&path, libc::O_WRONLY | libc::O_TRUNC, 0).unwrap());
    assert_eq!(path.metadata().unwrap().len(), 0);

    let direct = sys::open(&path, libc::O_RDWR | libc::O_DIRECT, 0).unwrap();
    let mut room = vec![0u8; 3 * 4096];
    let skip = room.as_ptr().align_offset(4096);
    let block = &mut room[skip..skip + 4096];
    block.fill(0x42);
    direct.write_all_at(block, 8192).unwrap();
    block.fill(0);
    direct.read_exact_at(block, 8192).unwrap();
    assert!(block.iter().all(|b| *b == 0x42));
    let cached = std::fs::read(&path).unwrap();
    assert_eq!(cached.len(), 12288);
    assert!(cached[..8192].iter().all(|b| *b == 0) && cached[8192..].iter().all(|b| *b == 0x42));
}

// S3, S28
#[test]
fn what_another_mount_only_looked_at_gives_its_space_back_when_it_is_removed() {
    let scene = Scene::new();
    let second = scene.second();
    let dir = scene.join("dir");
    std::fs::create_dir(&dir).unwrap();
    let before = used(&scene);
    let names: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
    for name in &names {
        let mut file = create(&dir.join(name));
        file.write_all(&vec![4; MIB as usize]).unwrap();
        file.sync_all().unwrap();
    }
    let limit = Duration::from_secs(30);
    for (count, name) in names.iter().enumerate() {
        // The kernel learns of them by listing, by name, and by reading.
        let path = second.join("dir").join(name);
        match count % 3 {
            0 => assert_eq!(path.metadata().unwrap().len(), MIB),
            1 => assert_eq!(std::fs::read(&path).unwrap().len() as u64, MIB),
            _ => assert_eq!(second.join("dir").read_dir().unwrap().count(), names.len()),
        }
    }
    patience::until_true("statfs shows the files", limit, || {
        used(&scene) >= before + 38 * MIB
    });
    for name in &names {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    patience::until_true("the space of removed files comes back", limit, || {
        used(&scene) <= before + 2 * MIB
    });
}
