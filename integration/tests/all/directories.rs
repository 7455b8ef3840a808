//! Names and directories: listing under change, long names, renames, times.
use crate::Scene;
use integration::sys;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

// S4
#[test]
fn a_listing_is_whole_and_each_entry_comes_once_while_others_change() {
    let scene = Scene::new();
    let second = scene.second();
    let dir = scene.join("dir");
    std::fs::create_dir(&dir).unwrap();
    let stay: BTreeSet<String> = (0..3000).map(|n| format!("stay-{n}")).collect();
    for name in &stay {
        File::create(dir.join(name)).unwrap();
    }
    for changing in [scene.join("dir"), second.join("dir")] {
        let mut seen = Vec::new();
        for (at, entry) in std::fs::read_dir(&dir).unwrap().enumerate() {
            seen.push(entry.unwrap().file_name().into_string().unwrap());
            if at % 50 == 0 {
                File::create(changing.join(format!("come-{at}"))).unwrap();
                std::fs::rename(
                    changing.join(format!("come-{at}")),
                    changing.join(format!("go-{at}")),
                )
                .unwrap();
                std::fs::remove_file(changing.join(format!("go-{at}"))).unwrap();
            }
        }
        let once: BTreeSet<String> = seen
            .iter()
            .filter(|name| name.starts_with("stay"))
            .cloned()
            .collect();
        assert_eq!(once, stay);
        assert_eq!(
            seen.iter().filter(|name| name.starts_with("stay")).count(),
            stay.len(),
            "an entry came twice"
        );
    }
    assert_eq!(names(&dir), stay);
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(!second.join("dir").exists());
}

// S5
#[test]
fn names_and_links_have_the_limits_of_linux() {
    let scene = Scene::new();
    for name in ["x".repeat(255), "ü".repeat(127)] {
        std::fs::write(scene.join(&name), "content").unwrap();
        assert!(names(scene.path()).contains(&name));
        assert_eq!(std::fs::read(scene.join(&name)).unwrap(), b"content");
    }
    assert_eq!(
        sys::errno(File::create(scene.join(&"x".repeat(256)))),
        libc::ENAMETOOLONG
    );
    assert_eq!(
        sys::errno(std::fs::create_dir(scene.join(&"x".repeat(256)))),
        libc::ENAMETOOLONG
    );
    let target = "t/".repeat(2047) + "t";
    std::os::unix::fs::symlink(&target, scene.join("link")).unwrap();
    assert_eq!(
        std::fs::read_link(scene.join("link")).unwrap().to_str().unwrap(),
        target
    );
    for odd in ["with space", "new\nline", "\u{1}", "-rf", "a'b\"c"] {
        File::create(scene.join(odd)).unwrap();
        assert!(names(scene.path()).contains(odd));
    }
    let mut deep = scene.path().to_owned();
    for _ in 0..60 {
        deep = deep.join("d".repeat(30));
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("file"), "deep").unwrap();
    assert_eq!(std::fs::read(deep.join("file")).unwrap(), b"deep");
    std::fs::remove_dir_all(scene.join(&"d".repeat(30))).unwrap();
}

// S2
#[test]
fn renames_replace_exchange_and_refuse() {
    let scene = Scene::new();
    let at = |name: &str| scene.join(name);
    let write = |name: &str| std::fs::write(at(name), name).unwrap();
    write("a");
    write("b");
    assert_eq!(
        sys::errno(sys::rename(&at("a"), &at("b"), libc::RENAME_NOREPLACE)),
        libc::EEXIST
    );
    sys::rename(&at("a"), &at("b"), libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(
        (std::fs::read(at("a")).unwrap(), std::fs::read(at("b")).unwrap()),
        (b"b".to_vec(), b"a".to_vec())
    );
    assert_eq!(
        sys::errno(sys::rename(&at("a"), &at("absent"), libc::RENAME_EXCHANGE)),
        libc::ENOENT
    );
    std::fs::create_dir_all(at("d/e/f")).unwrap();
    assert_eq!(sys::errno(std::fs::rename(at("d"), at("d/e/f/g"))), libc::EINVAL);
    assert_eq!(sys::errno(std::fs::rename(at("a"), at("d"))), libc::EISDIR);
    assert_eq!(sys::errno(std::fs::rename(at("d"), at("a"))), libc::ENOTDIR);
    std::fs::create_dir(at("full")).unwrap();
    write("full/x");
    assert_eq!(sys::errno(std::fs::rename(at("d"), at("full"))), libc::ENOTEMPTY);
    sys::rename(&at("d/e"), &at("full"), libc::RENAME_EXCHANGE).unwrap();
    assert!(at("full/f").is_dir() && at("d/e/x").is_file());
    assert_eq!(
        (
            at("d").metadata().unwrap().nlink(),
            at("full").metadata().unwrap().nlink()
        ),
        (3, 3)
    );
    std::fs::hard_link(at("a"), at("a-link")).unwrap();
    std::fs::rename(at("a"), at("a-link")).unwrap();
    assert!(
        at("a").exists() && at("a-link").exists(),
        "rename between two links of one file does nothing"
    );
}

// S6
#[test]
fn times_are_exact_and_move_when_they_must() {
    let scene = Scene::new();
    let path = scene.join("f");
    std::fs::write(&path, "content").unwrap();
    let times = |path: &Path| {
        let m = path.symlink_metadata().unwrap();
        ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()))
    };
    let set = [libc::timespec {
        tv_sec: 1_000_000_007,
        tv_nsec: 123_456_789,
    }; 2];
    // SAFETY: the path and the times outlive the call.
    sys::check(unsafe { libc::utimensat(libc::AT_FDCWD, sys::c_path(&path).as_ptr(), set.as_ptr(), 0) })
        .unwrap();
    let (modified, changed) = times(&path);
    assert_eq!(modified, (1_000_000_007, 123_456_789));
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let (same, later) = times(&path);
    assert!(same == modified && later > changed);
    std::fs::write(&path, "other").unwrap();
    assert!(times(&path).0 > modified);
    let before = times(scene.path());
    std::thread::sleep(std::time::Duration::from_millis(20));
    File::create(scene.join("new")).unwrap();
    assert!(
        times(scene.path()).0 > before.0,
        "a new entry changes its directory's time"
    );
}

// S4, S28
#[test]
fn twenty_thousand_entries_are_made_listed_and_removed() {
    let scene = Scene::new();
    let dir = scene.join("many");
    std::fs::create_dir(&dir).unwrap();
    for n in 0..20_000 {
        File::create(dir.join(format!("entry-{n:06}"))).unwrap();
    }
    assert_eq!(names(&dir).len(), 20_000);
    let second = scene.second();
    assert_eq!(names(&second.join("many")).len(), 20_000);
    for n in (0..20_000).step_by(2) {
        std::fs::remove_file(dir.join(format!("entry-{n:06}"))).unwrap();
    }
    assert_eq!(names(&second.join("many")).len(), 10_000);
    std::fs::remove_dir_all(second.join("many")).unwrap();
    assert!(!dir.exists());
}

// S2
#[test]
fn a_name_that_is_replaced_is_never_absent_on_any_mount() {
    let scene = Scene::new();
    let second = scene.second();
    std::fs::write(scene.join("name"), "old content").unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watch = |path: std::path::PathBuf| {
        let stop = stop.clone();
        let look = move || {
            let mut looks = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut text = String::new();
                let mut file =
                    File::open(&path).unwrap_or_else(|e| panic!("{} is always there: {e}", path.display()));
                file.read_to_string(&mut text)
                    .expect("what is open stays readable");
                assert!(
                    text == "old content" || text == "new content",
                    "something third on {}: {text:?}",
                    path.display()
                );
                looks += 1;
            }
            looks
        };
        std::thread::Builder::new().spawn(look).unwrap()
    };
    let watchers = [watch(scene.join("name")), watch(second.join("name"))];
    for round in 0..150 {
        let fresh = scene.join("fresh");
        std::fs::write(&fresh, ["old content", "new content"][round % 2]).unwrap();
        std::fs::rename(&fresh, scene.join("name")).unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for watcher in watchers {
        assert!(watcher.join().unwrap() > 0);
    }
}
