//! What a mount has changed by itself and not told yet, when something comes between: another mount that looks, a killed
//! client or coordinator, a lease that is lost. What was synced is there, what is lost is the end, and it is never silent.
use crate::Scene;
use crate::write_back::{names, scene, sync, warm};
use integration::{Room, patience, script};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);
/// Directories of a tree, and files in each.
const DIRECTORIES: usize = 6;
const FILES: usize = 20;
/// What one fsync may take on a machine that runs other tests.
const ONE_SYNC: Duration = Duration::from_secs(15);

fn content(directory: usize, file: usize) -> String {
    format!("{directory} {file} ").repeat(1 + directory * file)
}

/// A tree outside of the file system under test, and an archive of it: the archive's path.
fn archive(room: &Room, name: &str) -> String {
    let tree = room.path().join(name);
    for directory in 0..DIRECTORIES {
        let dir = tree.join(format!("{name}-{directory}"));
        std::fs::create_dir_all(&dir).unwrap();
        for file in 0..FILES {
            std::fs::write(dir.join(format!("f{file}")), content(directory, file)).unwrap();
        }
        std::os::unix::fs::symlink("f1", dir.join("link")).unwrap();
        std::fs::hard_link(dir.join("f2"), dir.join("second name")).unwrap();
    }
    script::run(room.path(), LIMIT, &format!("tar cf {name}.tar -C {name} ."));
    room.path()
        .join(format!("{name}.tar"))
        .to_str()
        .unwrap()
        .to_owned()
}

fn thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name(name.into()).spawn(work).unwrap()
}

fn untar(archive: String, dir: &Path) -> JoinHandle<()> {
    let dir = dir.to_owned();
    thread("untar", move || {
        script::run(&dir, LIMIT, &format!("tar xf {archive}"));
    })
}

/// Lists and reads everything: each file has the beginning of its content. How many files there were.
fn look(dir: &Path) -> usize {
    let mut found = 0;
    for name in names(dir) {
        let directory: usize = name.rsplit('-').next().unwrap().parse().unwrap();
        for file in names(&dir.join(&name)) {
            found += 1;
            let number = match file.as_str() {
                "link" => "1",
                "second name" => "2",
                other => other.strip_prefix('f').unwrap(),
            };
            let path = dir.join(&name).join(&file);
            // What the link names may come later.
            if file == "link" && !path.exists() {
                continue;
            }
            let read =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let whole = content(directory, number.parse().unwrap());
            assert!(
                whole.starts_with(&read),
                "{}: {} bytes",
                path.display(),
                read.len()
            );
        }
    }
    found
}

fn same(one: &Path, other: &Path) {
    let (one, other) = (one.display(), other.display());
    script::run(
        Path::new("/"),
        LIMIT,
        &format!("diff -r --no-dereference {one} {other}"),
    );
}

// S20, S63
#[test]
fn another_mount_looks_while_an_archive_is_unpacked() {
    let (scene, second) = scene();
    warm(&scene);
    let archive = archive(&scene.room, "tree");
    std::fs::create_dir(scene.join("d")).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let (dir, told) = (second.join("d"), ended.clone());
    let looker = thread("looker", move || {
        let mut looks = 0;
        while !told.load(Ordering::Relaxed) {
            look(&dir);
            looks += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        looks
    });
    let untar = untar(archive, &scene.join("d"));
    patience::within("tar", LIMIT, move || untar.join().unwrap());
    ended.store(true, Ordering::Relaxed);
    let looks = patience::within("the other mount", LIMIT, move || looker.join().unwrap());
    assert!(looks > 0);
    assert_eq!(look(&second.join("d")), DIRECTORIES * (FILES + 2));
    same(&scene.join("d"), &second.join("d"));
    same(&scene.join("d"), &scene.room.path().join("tree"));
    scene.cluster.assert_clean();
}

// S20, S63
#[test]
fn two_mounts_unpack_into_one_directory() {
    let (scene, second) = scene();
    let archives = ["one", "two"].map(|name| archive(&scene.room, name));
    std::fs::create_dir(scene.join("d")).unwrap();
    let [first_archive, second_archive] = archives;
    let threads = [
        untar(first_archive, &scene.join("d")),
        untar(second_archive, &second.join("d")),
    ];
    for thread in threads {
        patience::within("tar", LIMIT, move || thread.join().unwrap());
    }
    same(&scene.join("d"), &second.join("d"));
    assert_eq!(look(&scene.join("d")), 2 * DIRECTORIES * (FILES + 2));
    scene.cluster.assert_clean();
}

/// Files made in this order: those that are left are the first ones. How many.
fn beginning(dir: &Path, round: usize) -> usize {
    let left: Vec<String> = names(dir).into_iter().collect();
    let wanted: Vec<String> = (0..left.len()).map(|n| format!("f{n:05}")).collect();
    assert_eq!(left, wanted, "round {round}: what is left is the beginning");
    left.len()
}

// S18, S64
#[test]
fn a_client_killed_between_telling_and_the_answer_loses_the_end_at_most() {
    let (mut scene, _second) = scene();
    for round in 0..3 {
        warm(&scene);
        let dir = scene.join(&format!("r{round}"));
        std::fs::create_dir(&dir).unwrap();
        for n in 0..100 {
            File::create(dir.join(format!("f{n:05}"))).unwrap();
        }
        sync(&dir);
        for n in 100..200 {
            File::create(dir.join(format!("f{n:05}"))).unwrap();
        }
        scene.cluster.coordinator.process().freeze();
        let path = dir.clone();
        let told = thread("syncer", move || File::open(path).and_then(|dir| dir.sync_all()));
        // Between nothing sent yet and all of it in the coordinator's socket.
        std::thread::sleep(Duration::from_millis(10 + 400 * round as u64));
        scene.mount.process().signal(libc::SIGKILL);
        scene.cluster.coordinator.process().thaw();
        let told = patience::within("fsync of a killed client", LIMIT, move || told.join().unwrap());
        scene.mount.kill_and_mount();
        let left = beginning(&dir, round);
        let promised = if told.is_ok() { 200 } else { 100 };
        assert!(left >= promised, "round {round}: {left} of {promised}");
        scene.cluster.assert_clean();
    }
}

// S13, S64
#[test]
fn one_file_of_thousands_is_synced_with_all_that_came_before_it() {
    let (mut scene, _second) = scene();
    warm(&scene);
    let dir = scene.join("d");
    std::fs::create_dir(&dir).unwrap();
    let (all, synced) = (3000, 1700);
    let mut file = None;
    for n in 0..all {
        let path = dir.join(format!("f{n:05}"));
        std::fs::write(&path, format!("content {n}")).unwrap();
        if n == synced {
            file = Some(File::open(&path).unwrap());
        }
    }
    let begun = Instant::now();
    file.unwrap().sync_all().unwrap();
    let took = begun.elapsed();
    assert!(took < ONE_SYNC, "fsync of one file took {took:?}");
    scene.mount.process().signal(libc::SIGKILL);
    scene.cluster.coordinator.kill();
    scene.mount.kill();
    scene.cluster.coordinator.start_again();
    scene.cluster.coordinator.wait_until_listening();
    scene.mount.mount();
    let left = beginning(&dir, 0);
    assert!(left > synced, "{left} are left");
    let read = std::fs::read_to_string(dir.join(format!("f{synced:05}"))).unwrap();
    assert_eq!(read, format!("content {synced}"));
    scene.cluster.assert_clean();
}

// S16, S64
#[test]
fn an_unmount_tells_everything() {
    let (mut scene, second) = scene();
    warm(&scene);
    std::fs::create_dir(scene.join("d")).unwrap();
    for n in 0..500 {
        std::fs::write(scene.join(&format!("d/f{n:05}")), format!("content {n}")).unwrap();
    }
    std::fs::rename(scene.join("d"), scene.join("e")).unwrap();
    scene.mount.unmount();
    assert_eq!(beginning(&second.join("e"), 0), 500);
    for n in 0..500 {
        let read = std::fs::read_to_string(second.join(&format!("e/f{n:05}"))).unwrap();
        assert_eq!(read, format!("content {n}"));
    }
    scene.mount.mount();
}

/// Loses the lease on `d` while `first` has changes there that it has not told, and says when it is back.
fn lose_changes(scene: &mut Scene, near: &Path) {
    warm(scene);
    std::fs::create_dir(scene.join("d")).unwrap();
    sync(&scene.join("d"));
    File::create(scene.join("d/kept")).unwrap();
    sync(&scene.join("d"));
    File::create(scene.join("d/late")).unwrap();
    scene.mount.process().freeze();
    let path = near.join("d/near");
    let made = patience::within("others get the directory", LIMIT, move || {
        File::create(path).map(|_| ())
    });
    made.unwrap();
    scene.mount.process().thaw();
}

// S15, S22, S64
#[test]
fn changes_that_were_lost_with_a_lease_are_reported_to_whoever_syncs_next() {
    let (mut scene, second) = scene();
    let mut reported = 0;
    // A freeze may come after the change was told.
    for round in 0..4 {
        lose_changes(&mut scene, second.path());
        patience::until_true("the mount is back", LIMIT, || scene.join("d/near").exists());
        let late = scene.join("d/late").exists();
        assert_eq!(late, second.join("d/late").exists(), "both see the same");
        let path = scene.join("d");
        let open_and_sync = || File::open(&path).and_then(|dir| dir.sync_all());
        let synced = open_and_sync();
        assert_eq!(
            synced.is_ok(),
            late,
            "round {round}: what is lost is told: {synced:?}"
        );
        reported += usize::from(synced.is_err());
        open_and_sync().expect("it is told once");
        assert!(scene.join("d/kept").exists());
        std::fs::write(scene.join("d/again"), "again").unwrap();
        sync(&scene.join("d"));
        assert_eq!(std::fs::read_to_string(second.join("d/again")).unwrap(), "again");
        std::fs::remove_dir_all(&path).unwrap();
        if reported > 0 {
            break;
        }
    }
    assert!(reported > 0, "nothing was ever lost: the test shows nothing");
    scene.cluster.assert_clean();
}
