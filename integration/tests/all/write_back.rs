//! Changes of names that a mount makes by itself under exclusive leases: others see them at once, a sync makes them and
//! all before them durable, and a killed client loses the end of the order, never the middle.
use crate::Scene;
use integration::figures::Figures;
use integration::{Cluster, Mount, Room, patience, programs};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const FILES: usize = 400;

fn calls(scene: &Scene) -> f64 {
    Figures::of(scene.cluster.coordinator.metrics).sum("dfs_coordinator_call_seconds_count", "")
}

pub fn names(dir: &Path) -> BTreeSet<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    std::fs::read_dir(dir).unwrap().map(name).collect()
}

pub fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// Two mounts that change names by themselves.
pub fn scene() -> (Scene, Mount) {
    let room = Room::new();
    let cluster = Cluster::start(room.path());
    let mount = |name: &str| Mount::with(&cluster, room.path(), name, "", "allow_other,nowsync");
    let (first, second) = (mount("mnt"), mount("mnt-2"));
    (
        Scene {
            mount: first,
            cluster,
            room,
        },
        second,
    )
}

/// The mount has what it needs to make names by itself.
pub fn warm(scene: &Scene) {
    patience::until_true("names are made without a call for each", LIMIT, || {
        let before = calls(scene);
        for n in 0..10 {
            std::fs::write(scene.join(&format!("warm{n}")), "").unwrap();
            std::fs::remove_file(scene.join(&format!("warm{n}"))).unwrap();
        }
        calls(scene) - before < 10.0
    });
}

// S63
#[test]
fn many_small_files_cost_few_calls_and_others_see_each_at_once() {
    let (scene, second) = scene();
    warm(&scene);
    let before = calls(&scene);
    std::fs::create_dir(scene.join("d")).unwrap();
    for n in 0..FILES {
        std::fs::write(scene.join(&format!("d/f{n}")), format!("content {n}")).unwrap();
    }
    let made = calls(&scene) - before;
    assert!(made < FILES as f64 / 4.0, "{made} calls for {FILES} files");
    // In the middle of it, and at the end.
    assert_eq!(names(&second.join("d")).len(), FILES);
    for n in (0..FILES).step_by(17) {
        let read = std::fs::read_to_string(second.join(&format!("d/f{n}"))).unwrap();
        assert_eq!(read, format!("content {n}"));
    }
    for n in 0..FILES {
        std::fs::rename(scene.join(&format!("d/f{n}")), scene.join(&format!("d/g{n}"))).unwrap();
        if n % 100 == 7 {
            let seen = names(&second.join("d"));
            let renamed = seen.iter().filter(|name| name.starts_with('g')).count();
            assert_eq!((seen.len(), renamed), (FILES, n + 1));
        }
    }
    let removed = std::fs::remove_dir_all(scene.join("d"));
    let left = || (names(&scene.join("d")), names(&second.join("d")));
    assert!(removed.is_ok(), "{removed:?}, and there is {:?}", left());
    assert!(!second.join("d").exists());
    scene.cluster.assert_clean();
}

// S64
#[test]
fn a_killed_client_loses_the_end_of_what_it_did_and_nothing_that_was_synced() {
    let (mut scene, _second) = scene();
    for round in 0..6u64 {
        warm(&scene);
        let dir = format!("r{round}");
        std::fs::create_dir(scene.join(&dir)).unwrap();
        let file = |n: usize| format!("{dir}/f{n:04}");
        let synced = 37 * (round as usize + 1);
        for n in 0..FILES {
            std::fs::write(scene.join(&file(n)), format!("content {n}")).unwrap();
            if n == synced {
                sync(&scene.join(&file(n)));
            }
        }
        std::thread::sleep(Duration::from_millis(300 * round));
        scene.mount.kill_and_mount();
        let left: Vec<String> = names(&scene.join(&dir)).into_iter().collect();
        let wanted: Vec<String> = (0..left.len()).map(|n| format!("f{n:04}")).collect();
        assert_eq!(left, wanted, "round {round}: what is left is the beginning");
        assert!(
            left.len() > synced,
            "round {round}: {} of {synced} are left",
            left.len()
        );
        let read = std::fs::read_to_string(scene.join(&file(synced))).unwrap();
        assert_eq!(read, format!("content {synced}"));
        scene.cluster.assert_clean();
    }
}

// S65
#[test]
fn a_replaced_file_is_whole_after_the_client_was_killed() {
    let (mut scene, _second) = scene();
    for round in 0..5u64 {
        warm(&scene);
        let (config, fresh) = (scene.join("config"), scene.join("config.new"));
        for version in 0..60 {
            std::fs::write(&fresh, format!("{round} {version} ").repeat(1000)).unwrap();
            std::fs::rename(&fresh, &config).unwrap();
            if version == 0 {
                sync(&config);
            }
            std::thread::sleep(Duration::from_millis(10 * round));
        }
        scene.mount.kill_and_mount();
        let text = std::fs::read_to_string(&config).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let there: Vec<(String, u64)> = names(scene.path())
            .into_iter()
            .map(|name| (name.clone(), scene.join(&name).metadata().unwrap().len()))
            .collect();
        assert!(
            words.len() > 1,
            "round {round}: {} bytes of {there:?}",
            text.len()
        );
        assert_eq!(
            text,
            format!("{} {} ", words[0], words[1]).repeat(1000),
            "round {round}"
        );
        assert_eq!(words[0], round.to_string());
    }
    scene.cluster.assert_clean();
}

// S63
#[test]
fn two_mounts_make_names_in_one_directory() {
    let (scene, second) = scene();
    let dir = scene.join("d");
    std::fs::create_dir(&dir).unwrap();
    let make = |mount: &Path, who: &'static str| {
        let dir = mount.join("d");
        let work = move || {
            for n in 0..FILES / 4 {
                std::fs::write(dir.join(format!("{who}{n}")), who).unwrap();
                std::fs::create_dir(dir.join(format!("{who}{n}.d"))).unwrap();
                std::fs::write(dir.join(format!("{who}{n}.d/x")), who).unwrap();
            }
        };
        std::thread::Builder::new().name(who.into()).spawn(work).unwrap()
    };
    for thread in [make(scene.path(), "one"), make(second.path(), "two")] {
        patience::within("names", LIMIT, move || thread.join().unwrap());
    }
    assert_eq!(names(&dir), names(&second.join("d")));
    assert_eq!(names(&dir).len(), FILES);
    for who in ["one", "two"] {
        for n in 0..FILES / 4 {
            let path = format!("d/{who}{n}.d/x");
            assert_eq!(std::fs::read_to_string(scene.join(&path)).unwrap(), who);
            assert_eq!(std::fs::read_to_string(second.join(&path)).unwrap(), who);
        }
    }
    scene.cluster.assert_clean();
}

const TREE: usize = 12;
const LEAVES: usize = 20;

/// Directories with files, made by a mount that is gone: nobody holds anything of them.
fn tree_of_nobody(scene: &mut Scene) {
    for n in 0..TREE {
        std::fs::create_dir_all(scene.join(&format!("tree/d{n}"))).unwrap();
        for leaf in 0..LEAVES {
            std::fs::write(scene.join(&format!("tree/d{n}/f{leaf}")), "leaf").unwrap();
        }
    }
    scene.mount.remount();
}

/// Names and sizes of all of it, in order.
fn walk(dir: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for name in names(dir) {
        let path = dir.join(&name);
        let meta = path.symlink_metadata().unwrap();
        found.push((name, meta.len()));
        if meta.is_dir() {
            found.extend(walk(&path));
        }
    }
    found
}

// S63
#[test]
fn a_tree_that_was_listed_is_listed_again_renamed_and_removed_with_few_calls() {
    let (mut scene, second) = scene();
    tree_of_nobody(&mut scene);
    warm(&scene);
    let tree = scene.join("tree");
    let first = walk(&tree);
    let before = calls(&scene);
    assert_eq!(walk(&tree), first);
    let listed = calls(&scene) - before;
    assert!(listed < TREE as f64 / 2.0, "{listed} calls for a second walk");
    // Others' changes are in the next listing.
    std::fs::write(second.join("tree/d3/other"), "of another").unwrap();
    assert!(names(&tree.join("d3")).contains("other"));
    std::fs::remove_file(second.join("tree/d3/other")).unwrap();
    assert_eq!(walk(&tree), first);
    let before = calls(&scene);
    for n in 4..TREE {
        for leaf in 0..LEAVES {
            let of = |name: &str| tree.join(format!("d{n}/{name}{leaf}"));
            std::fs::rename(of("f"), of("g")).unwrap();
        }
    }
    let renamed = calls(&scene) - before;
    let most = (TREE * LEAVES / 4) as f64;
    assert!(
        renamed < most,
        "{renamed} calls to rename {} files",
        TREE * LEAVES
    );
    let before = calls(&scene);
    std::fs::remove_dir_all(&tree).unwrap();
    let removed = calls(&scene) - before;
    assert!(
        removed < most,
        "{removed} calls to remove {} files",
        TREE * LEAVES
    );
    assert!(!second.join("tree").exists());
    scene.cluster.assert_clean();
}

// S9, S63
#[test]
fn sizes_from_the_coordinator_are_not_lost_to_changes_made_here_meanwhile() {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let (scene, _second) = scene();
    warm(&scene);
    let file = File::create(scene.join("f")).unwrap();
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let mut mode = 0o600;
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    mode ^= 0o040;
                    file.set_permissions(std::fs::Permissions::from_mode(mode))
                        .unwrap();
                }
            });
        }
        let mut wrong = None;
        for size in (1..=200).map(|n| n * 1000) {
            (&file).write_all(&[7; 1000]).unwrap();
            // It commits while the kernel's lock of the inode is free, unlike fsync.
            let synced = Command::new(programs::dfs())
                .arg("sync")
                .arg(scene.path())
                .output()
                .unwrap();
            let seen = file.metadata().unwrap().len();
            if !synced.status.success() || seen != size {
                wrong = Some((size, seen, synced));
                break;
            }
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(wrong, None, "size, size seen, and what the sync said");
    });
    scene.cluster.assert_clean();
}

// S63: what was changed after its last name went, and then closed, takes none of the other changes with it.
#[test]
fn a_removed_file_that_is_changed_once_more_spoils_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let (scene, second) = scene();
    warm(&scene);
    std::fs::create_dir(scene.join("d")).unwrap();
    for n in 0..8 {
        let path = scene.join(&format!("d/gone{n}"));
        let file = File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        match n % 2 {
            0 => file
                .set_permissions(std::fs::Permissions::from_mode(0o600))
                .unwrap(),
            _ => file.set_len(5000).unwrap(),
        }
        drop(file);
        std::fs::write(scene.join(&format!("d/kept{n}")), "kept").unwrap();
    }
    sync(&scene.join("d"));
    let kept: BTreeSet<String> = (0..8).map(|n| format!("kept{n}")).collect();
    assert_eq!(names(&second.join("d")), kept);
    scene.cluster.assert_clean();
}

// S63
#[test]
fn what_one_mount_took_to_remove_it_another_reads_and_keeps() {
    let (mut scene, second) = scene();
    tree_of_nobody(&mut scene);
    warm(&scene);
    let dir = scene.join("tree/d0");
    let all = names(&dir);
    let gone: Vec<&String> = all.iter().take(LEAVES / 2).collect();
    for (n, name) in gone.iter().enumerate() {
        std::fs::remove_file(dir.join(name)).unwrap();
        if n == LEAVES / 4 {
            // Those that were taken and not touched yet.
            let last = second.join("tree/d0").join(all.last().unwrap());
            assert_eq!(std::fs::read_to_string(&last).unwrap(), "leaf");
            std::fs::write(&last, "of another").unwrap();
            assert_eq!(names(&second.join("tree/d0")).len(), LEAVES - n - 1);
        }
    }
    let left = names(&dir);
    assert_eq!(left.len(), LEAVES - gone.len());
    assert_eq!(names(&second.join("tree/d0")), left);
    let last = std::fs::read_to_string(dir.join(all.last().unwrap())).unwrap();
    assert_eq!(last, "of another");
    scene.cluster.assert_clean();
}
