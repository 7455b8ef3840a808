//! Two mounts of one volume: what one did, the other sees with its next call.
use crate::Scene;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

// S20
#[test]
fn every_kind_of_change_is_seen_at_once() {
    let scene = Scene::new();
    let second = scene.second();
    for round in 0..20 {
        let (here, there) = if round % 2 == 0 {
            (&scene.mount, &second)
        } else {
            (&second, &scene.mount)
        };
        let name = format!("f{round}");
        assert!(!there.join(&name).exists(), "absence is seen, and cached");
        std::fs::write(here.join(&name), format!("content {round}")).unwrap();
        assert_eq!(
            std::fs::read_to_string(there.join(&name)).unwrap(),
            format!("content {round}")
        );
        std::fs::set_permissions(there.join(&name), PermissionsExt::from_mode(0o604)).unwrap();
        assert_eq!(here.join(&name).metadata().unwrap().mode() & 0o777, 0o604);
        File::options()
            .append(true)
            .open(there.join(&name))
            .unwrap()
            .write_all(b" more")
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(here.join(&name)).unwrap(),
            format!("content {round} more")
        );
        File::options()
            .write(true)
            .open(here.join(&name))
            .unwrap()
            .set_len(4)
            .unwrap();
        assert_eq!(std::fs::read_to_string(there.join(&name)).unwrap(), "cont");
        std::fs::rename(there.join(&name), there.join("moved")).unwrap();
        assert!(!here.join(&name).exists() && here.join("moved").exists());
        std::fs::remove_file(here.join("moved")).unwrap();
        assert!(!there.join("moved").exists());
    }
}

// S10, S20
#[test]
fn whole_pages_appended_in_turns_are_read_where_they_are() {
    const PAGE: usize = 4096;
    let scene = Scene::new();
    let second = scene.second();
    File::create(scene.join("log")).unwrap();
    let append = |mount: &std::path::Path| File::options().append(true).open(mount.join("log")).unwrap();
    let mut logs = [append(scene.path()), append(second.path())];
    let mut wanted = Vec::new();
    for round in 0..6u8 {
        for (log, pages) in logs.iter_mut().zip([1, 2]) {
            let record = vec![b'a' + 2 * round + pages as u8; pages * PAGE];
            log.write_all(&record).unwrap();
            wanted.extend(record);
            for mount in [scene.path(), second.path()] {
                let read = std::fs::read(mount.join("log")).unwrap();
                let wrong = read.iter().zip(&wanted).position(|(a, b)| a != b);
                assert_eq!((read.len(), wrong), (wanted.len(), None), "round {round}");
            }
        }
    }
}

// S10
#[test]
fn two_writers_of_one_file_lose_nothing() {
    const LINES: usize = 200;
    let scene = Scene::new();
    let second = scene.second();
    File::create(scene.join("log")).unwrap();
    let append = |path: std::path::PathBuf, letter: &'static str| {
        let work = move || {
            let mut log = File::options().append(true).open(path).unwrap();
            for n in 0..LINES {
                log.write_all(format!("{letter}{n:06}\n").as_bytes()).unwrap();
            }
        };
        std::thread::Builder::new().spawn(work).unwrap()
    };
    let writers = [append(scene.join("log"), "a"), append(second.join("log"), "b")];
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    for mount in [&scene.mount, &second] {
        let text = std::fs::read_to_string(mount.join("log")).unwrap();
        for letter in ["a", "b"] {
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with(letter)).collect();
            let wanted: Vec<_> = (0..LINES).map(|n| format!("{letter}{n:06}")).collect();
            assert_eq!(lines, wanted);
        }
        assert_eq!(text.lines().count(), 2 * LINES);
    }
}

// S20
#[test]
fn blocks_written_in_turns_are_all_there() {
    let scene = Scene::new();
    let second = scene.second();
    let near = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(scene.join("f"))
        .unwrap();
    let far = File::options()
        .read(true)
        .write(true)
        .open(second.join("f"))
        .unwrap();
    for block in 0..64u64 {
        let (writer, reader) = if block % 2 == 0 {
            (&near, &far)
        } else {
            (&far, &near)
        };
        // Not aligned to anything: neighbours share pages and blocks.
        writer
            .write_all_at(&[block as u8 + 1; 3000], block * 3000)
            .unwrap();
        let mut got = [0; 3000];
        reader.read_exact_at(&mut got, block * 3000).unwrap();
        assert!(got.iter().all(|b| *b == block as u8 + 1), "block {block}");
    }
    let bytes = std::fs::read(second.join("f")).unwrap();
    assert!(
        bytes
            .chunks(3000)
            .enumerate()
            .all(|(n, part)| part.iter().all(|b| *b == n as u8 + 1))
    );
}
