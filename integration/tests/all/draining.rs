//! Orderly restarts under load: each server in turn is told to stop and started again, and applications notice nothing.
use crate::Scene;
use integration::figures::get;
use integration::patience;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BACK_LIMIT: Duration = Duration::from_secs(40);
/// The longest that a call may take while a server is restarted; a loaded machine adds to it.
const CALL_LIMIT: Duration = Duration::from_secs(4);
/// What the clients read all the time: more than their memory holds, so that datanodes are asked.
const LIBRARY: usize = 12;

/// What one client went through.
#[derive(Debug, Default)]
struct Lived {
    calls: usize,
    longest: Duration,
}

impl Lived {
    fn time<T>(&mut self, what: &str, call: impl FnOnce() -> std::io::Result<T>) -> T {
        let begun = Instant::now();
        let result = call().unwrap_or_else(|error| panic!("{what}: {error}"));
        self.calls += 1;
        self.longest = self.longest.max(begun.elapsed());
        result
    }
}

/// Creates, writes durably, reads back, lists and removes, until told to stop.
fn work(dir: &Path, name: &str, stop: &AtomicBool) -> Lived {
    let mut lived = Lived::default();
    let content = vec![b'x'; 200_000];
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        let path = dir.join(format!("{name}-{round}"));
        let mut file = lived.time("create", || File::create(&path));
        lived.time("write", || file.write_all(&content));
        lived.time("fsync", || file.sync_all());
        let book = dir.join(format!("book-{}", round % LIBRARY));
        let mut read = Vec::new();
        lived.time("open and read", || File::open(&book)?.read_to_end(&mut read));
        assert!(
            read == vec![(round % LIBRARY) as u8; 2 << 20],
            "{} has other content",
            book.display()
        );
        lived.time("readdir", || std::fs::read_dir(dir).map(Iterator::count));
        lived.time("unlink", || std::fs::remove_file(&path));
        round += 1;
    }
    lived
}

// S60
#[test]
fn orderly_restarts_of_every_server_are_no_error_and_no_long_wait() {
    let mut scene = Scene::new();
    let library = scene.join("library");
    std::fs::create_dir(&library).unwrap();
    for number in 0..LIBRARY {
        let mut book = File::create(library.join(format!("book-{number}"))).unwrap();
        book.write_all(&vec![number as u8; 2 << 20]).unwrap();
        book.sync_all().unwrap();
    }
    let mut second = integration::Mount::with(
        &scene.cluster,
        scene.room.path(),
        "mnt-2",
        "",
        "allow_other,buffer-size=16M",
    );
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = [("one", library.clone()), ("two", second.join("library"))]
        .into_iter()
        .map(|(name, dir)| {
            let stop = stop.clone();
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || work(&dir, name, &stop))
                .unwrap()
        })
        .collect();
    for number in 0..scene.cluster.datanodes.len() {
        let node = &mut scene.cluster.datanodes[number];
        node.stop();
        let name = node.name.clone();
        let said = String::from_utf8_lossy(&scene.cluster.dfs(&["status"]).stdout).into_owned();
        assert!(
            said.contains("DATANODE_STOPPED"),
            "{name} stopped in order, and status says\n{said}"
        );
        assert!(!said.contains("DATANODE_SILENT"), "{said}");
        scene.cluster.datanodes[number].start_again();
        scene.cluster.datanodes[number].wait_until_listening();
        patience::until_true(&format!("{name} is back with all its copies"), BACK_LIMIT, || {
            let status = scene.cluster.dfs(&["status"]);
            String::from_utf8_lossy(&status.stdout).contains("HEALTH_OK")
        });
    }
    scene.cluster.coordinator.stop();
    scene.cluster.coordinator.start_again();
    scene.cluster.coordinator.wait_until_listening();
    scene.cluster.wait_until_healthy();
    patience::until_true("the coordinator is ready", BACK_LIMIT, || {
        get(scene.cluster.coordinator.metrics, "/readyz").is_ok_and(|(status, _)| status == 200)
    });
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let name = client.thread().name().unwrap_or_default().to_owned();
        let lived = client.join().expect("a client met an error");
        eprintln!(
            "client {name}: {} calls, the longest {:?}",
            lived.calls, lived.longest
        );
        assert!(lived.calls > 50, "{lived:?}");
        assert!(lived.longest < CALL_LIMIT, "{lived:?}");
    }
    second.unmount();
    scene.mount.unmount();
    scene.cluster.assert_clean();
}

// S60
#[test]
fn a_mount_told_to_stop_saves_what_was_written() {
    let mut scene = Scene::new();
    std::fs::write(scene.join("late"), vec![5; 1 << 20]).unwrap();
    let status = scene.mount.process().terminate();
    assert!(status.success(), "{status}");
    scene.mount.kill();
    scene.mount.mount();
    assert!(std::fs::read(scene.join("late")).unwrap() == vec![5; 1 << 20]);
}
