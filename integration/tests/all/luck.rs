//! Bad luck: disks run full, bits flip, strangers send garbage.
use crate::Scene;
use integration::{Cluster, Mount, Room, Setup, disk::Disk, patience, sys};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RECOVERY: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

fn with_disk(server: &str, mebibytes: u64) -> (Mount, Cluster, Disk, Room) {
    let room = Room::new();
    let disk = Disk::new(room.path(), "disk", mebibytes);
    let directories = vec![(server.to_owned(), disk.path().join("data"))];
    let cluster = Cluster::with(
        room.path(),
        &Setup {
            directories,
            ..Setup::default()
        },
    );
    let mount = Mount::new(&cluster, room.path(), "mnt");
    (mount, cluster, disk, room)
}

/// Writes and syncs; both must succeed.
fn store(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

// S27
#[test]
fn a_full_cluster_says_enospc_goes_on_reading_and_deleting_and_recovers() {
    let room = Room::new();
    let disks: Vec<Disk> = (1..=3)
        .map(|n| Disk::new(room.path(), &format!("disk-{n}"), 256))
        .collect();
    let of = |(n, disk): (usize, &Disk)| (format!("datanode-{}", n + 1), disk.path().join("data"));
    let directories = disks.iter().enumerate().map(of).collect();
    let cluster = Cluster::with(
        room.path(),
        &Setup {
            directories,
            ..Setup::default()
        },
    );
    let mount = Mount::new(&cluster, room.path(), "mnt");
    let content = |n: usize| vec![n as u8 + 1; 8 * MIB];
    let mut stored = 0;
    let refusal = loop {
        match store(&mount.join(&format!("f{stored}")), &content(stored)) {
            Ok(()) => stored += 1,
            Err(refusal) => break refusal,
        }
        assert!(stored < 40, "40 x 8 MiB do not fit on a disk of 256 MiB");
    };
    assert_eq!(refusal.raw_os_error(), Some(libc::ENOSPC), "{refusal}");
    assert!(stored >= 5, "only {stored} x 8 MiB fitted on 256 MiB");
    for n in 0..stored {
        assert!(std::fs::read(mount.join(&format!("f{n}"))).unwrap() == content(n));
    }
    for n in 0..stored {
        std::fs::remove_file(mount.join(&format!("f{n}"))).expect("deleting works when full");
    }
    std::fs::remove_file(mount.join(&format!("f{stored}"))).ok();
    let again = || store(&mount.join("again"), &content(9)).is_ok();
    patience::until_true("space comes back", RECOVERY, again);
    assert!(std::fs::read(mount.join("again")).unwrap() == content(9));
}

// S25, S27
#[test]
fn one_full_datanode_is_no_error_and_its_copies_come_when_there_is_space() {
    let (mount, cluster, disk, _room) = with_disk("datanode-2", 160);
    store(&mount.join("before"), &vec![1; 4 * MIB]).unwrap();
    let ballast = disk.fill();
    for n in 0..12 {
        store(&mount.join(&format!("f{n}")), &vec![n as u8; 8 * MIB]).expect("two members have space");
    }
    std::fs::remove_file(ballast).unwrap();
    for n in 0..12 {
        assert!(std::fs::read(mount.join(&format!("f{n}"))).unwrap() == vec![n as u8; 8 * MIB]);
    }
    patience::until_true("all copies are made", RECOVERY, || {
        cluster.dfs(&["fsck"]).status.success()
    });
}

// S27
#[test]
fn a_full_coordinator_refuses_changes_answers_questions_and_recovers() {
    let (mut mount, mut cluster, disk, _room) = with_disk("coordinator", 512);
    store(&mount.join("before"), b"content").unwrap();
    let ballast = disk.fill();
    let mut made = 0;
    // The log has preallocated room for a while.
    let refusal = loop {
        if let Err(refusal) = File::create(mount.join(&format!("{made}-{}", "x".repeat(200)))) {
            break refusal;
        }
        made += 1;
        assert!(made < 60_000, "the coordinator's disk is full");
    };
    assert_eq!(refusal.raw_os_error(), Some(libc::ENOSPC), "{refusal}");
    assert_eq!(std::fs::read(mount.join("before")).unwrap(), b"content");
    std::fs::remove_file(ballast).unwrap();
    patience::until_true("changes work again", RECOVERY, || {
        store(&mount.join("after"), b"content").is_ok()
    });
    // What came before the file that was synced is as durable as that, refused or not afterwards.
    cluster.coordinator.restart();
    mount.kill_and_mount();
    let names = std::fs::read_dir(mount.path()).unwrap().count();
    assert_eq!(names, made + 2, "every name whose maker was answered is there");
    let there = || std::fs::read(mount.join("after")).is_ok_and(|bytes| bytes == b"content");
    patience::until_true("nothing is lost", RECOVERY, there);
    assert_eq!(std::fs::read(mount.join("before")).unwrap(), b"content");
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

/// Flips a bit in each place of the datanode's files where `pattern` is stored; how many there were.
pub fn flip(dir: &Path, pattern: &[u8]) -> usize {
    let mut flipped = 0;
    for path in files(dir) {
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        for at in
            (0..bytes.len().saturating_sub(pattern.len())).filter(|at| bytes[*at..].starts_with(pattern))
        {
            file.seek(SeekFrom::Start(at as u64 + 3)).unwrap();
            file.write_all(&[bytes[at + 3] ^ 0x10]).unwrap();
            flipped += 1;
        }
        file.sync_all().unwrap();
    }
    flipped
}

// S26
#[test]
fn a_flipped_bit_is_never_read_and_the_copy_is_replaced() {
    let mut scene = Scene::new();
    let pattern = b"a pattern that nothing else on the disk has: 0ff1ce";
    let mut content = vec![7; 3 * MIB];
    content[MIB..MIB + pattern.len()].copy_from_slice(pattern);
    store(&scene.join("f"), &content).unwrap();
    scene.mount.unmount();
    for which in 0..2 {
        assert_eq!(
            flip(&scene.cluster.datanodes[which].data, pattern),
            1,
            "one copy on each datanode"
        );
        // Whatever a datanode remembers of the block is gone.
        scene.cluster.datanodes[which].restart();
    }
    scene.mount.mount();
    assert!(
        std::fs::read(scene.join("f")).unwrap() == content,
        "the right bytes come from the third member"
    );
    let healed = || scene.cluster.dfs(&["fsck"]).status.success();
    patience::until_true("the bad copies are replaced", RECOVERY, healed);
    // Now the last good copy goes bad: the healed ones must carry the file.
    scene.mount.unmount();
    assert_eq!(flip(&scene.cluster.datanodes[2].data, pattern), 1);
    scene.cluster.datanodes[2].restart();
    scene.mount.mount();
    assert!(std::fs::read(scene.join("f")).unwrap() == content);
}

// S29
#[test]
fn garbage_on_every_port_changes_nothing() {
    let mut scene = Scene::new();
    store(&scene.join("f"), b"content").unwrap();
    let addresses: Vec<_> = scene.cluster.all().map(|server| server.address).collect();
    let mut random = rand::rng();
    for round in 0..60 {
        for address in &addresses {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut bytes = vec![0u8; 4096];
            rand::Rng::fill_bytes(&mut random, &mut bytes);
            let preface: &[u8] = match round % 4 {
                0 => b"",
                1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                2 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            };
            stream.write_all(preface).ok();
            stream.write_all(&bytes).ok();
        }
    }
    for server in scene.cluster.all() {
        let lines = server.process().log().lines().count();
        assert!(server.process().ended().is_none(), "{} ended", server.name);
        assert!(
            lines < 400,
            "{} logged {lines} lines for 60 strangers",
            server.name
        );
    }
    assert_eq!(std::fs::read(scene.join("f")).unwrap(), b"content");
    store(&scene.join("g"), b"content").unwrap();
    scene.mount.remount();
    assert_eq!(std::fs::read(scene.join("g")).unwrap(), b"content");
    scene.cluster.assert_clean();
    assert_eq!(sys::errno(File::open(scene.join("absent"))), libc::ENOENT);
}

// S15
#[test]
fn a_write_that_could_not_be_kept_is_told() {
    let mut scene = Scene::new();
    let options = "allow_other,timeout=3";
    let mount = Mount::with(&scene.cluster, scene.room.path(), "impatient", "", options);
    let mut file = File::create(mount.join("f")).unwrap();
    file.write_all(b"kept").unwrap();
    file.sync_all().unwrap();
    let mut other = file.try_clone().unwrap();
    scene.cluster.kill_all();
    let told = patience::within("write and fsync without servers", RECOVERY, move || {
        file.write_all(&vec![1; 4 * MIB]).and_then(|()| file.sync_all())
    });
    assert!(told.is_err(), "nobody has these bytes");
    scene.cluster.start_all();
    // Told once, the file goes on; what it has now is what it was told to have.
    let mut goes_on = move || -> std::io::Result<()> {
        other.seek(SeekFrom::Start(0))?;
        other.write_all(b"more")?;
        other.sync_all()
    };
    patience::until_true("the file goes on", RECOVERY, || goes_on().is_ok());
    let bytes = std::fs::read(mount.join("f")).unwrap();
    assert_eq!(&bytes[..4], b"more");
    assert!(
        bytes[4..].iter().all(|b| *b == 1 || *b == 0),
        "bytes that nobody wrote"
    );
}
