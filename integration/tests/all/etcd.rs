//! Logs in etcd beyond failover: moved there from a coordinator that was alone, longer than etcd's quota, and an
//! etcd that others have filled.
use crate::Scene;
use integration::{Cluster, Etcd, Mount, Room, Setup, patience, programs, sys};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const FILES: u32 = 80;
const QUOTA: u64 = 32 << 20;
const VALUE: usize = 60_000;

fn move_log(data: &Path, etcd: &Etcd) -> Command {
    let mut command = Command::new(programs::dfs_server());
    command
        .args(["move-log", "--etcd", &etcd.endpoints(), "--from"])
        .arg(data);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Killed three times on its way, then run to its end, then once more.
fn move_with_interruptions(data: &Path, etcd: &Etcd) {
    for wait in [5, 30, 60] {
        let mut child = move_log(data, etcd).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for _ in 0..2 {
        let moved = move_log(data, etcd).output().unwrap();
        assert!(moved.status.success(), "{}", said(&moved));
    }
}

fn content(number: u32) -> Vec<u8> {
    format!("content {number} ")
        .repeat(1 + number as usize * 40)
        .into_bytes()
}

fn check(mount: &Path) {
    for number in 0..FILES {
        let found = std::fs::read(mount.join(format!("f{number}"))).unwrap();
        assert!(found == content(number), "f{number}: {} bytes", found.len());
    }
}

// S43
#[test]
fn a_log_moves_to_etcd_whole_and_the_directory_is_not_used_alone_again() {
    let mut setup = Setup::default();
    setup
        .coordinator_flags
        .extend(["--checkpoint-records", "25"].map(String::from));
    let room = Room::new();
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    let mut scene = Scene { mount, cluster, room };
    for number in 0..FILES {
        std::fs::write(scene.join(&format!("f{number}")), content(number)).unwrap();
        File::open(scene.join(&format!("f{number}")))
            .unwrap()
            .sync_all()
            .unwrap();
    }
    scene.mount.unmount();
    let etcd = Etcd::start(scene.room.path(), 1, &[]);
    let data = scene.cluster.coordinator.data.clone();
    let running = move_log(&data, &etcd).output().unwrap();
    assert!(
        !running.status.success(),
        "the coordinator runs: {}",
        said(&running)
    );
    assert!(scene.cluster.coordinator.process().terminate().success());
    scene.cluster.coordinator.kill();
    move_with_interruptions(&data, &etcd);

    scene.cluster.coordinator.start_again();
    let alone = scene.cluster.coordinator.process();
    let status = patience::until("it refuses to start alone", LIMIT, || alone.ended());
    assert!(!status.success() && alone.log().contains("were moved to etcd"));
    let flags = ["--etcd".to_owned(), etcd.endpoints()];
    scene.cluster.coordinator.kill();
    scene.cluster.coordinator.add_flags(&flags);
    scene.cluster.etcd = Some(etcd);
    scene.cluster.coordinator.start_again();
    scene.cluster.coordinator.wait_until_listening();
    scene.mount.mount();
    check(scene.path());
    std::fs::write(scene.join("after"), "after").unwrap();
    File::open(scene.join("after")).unwrap().sync_all().unwrap();

    // Another one, with nothing: it has a checkpoint from the first, and leads in its place.
    setup.coordinator_flags.extend(flags);
    scene.cluster.join(scene.room.path(), &setup, "coordinator-2");
    let etcd = scene.cluster.etcd.as_ref().unwrap();
    patience::until_true("both have a checkpoint", LIMIT, || {
        let entries = etcd.coordinators();
        entries.len() == 2
            && entries
                .iter()
                .all(|entry| entry["checkpoints"]["0"].as_u64() > Some(0))
    });
    // This one is told of both.
    let second = scene.second();
    scene.cluster.coordinator.kill();
    check(second.path());
    std::fs::create_dir(second.join("with the second")).unwrap();
    assert_eq!(std::fs::read(second.join("after")).unwrap(), b"after");
    scene.cluster.coordinator.start_again();
    scene.cluster.coordinator.wait_until_listening();
    let clean = || scene.cluster.dfs(&["fsck"]).status.success();
    patience::until_true("dfs fsck finds nothing wrong", LIMIT, clean);
}

/// Writes one large attribute again and again, each time a record of the log. Who is faster than the trimming is slowed
/// down, and not refused.
fn write_records(file: &Path, records: usize) {
    for number in 0..records {
        let written = sys::set_xattr(file, "user.large", &vec![number as u8; VALUE], 0);
        written.unwrap_or_else(|error| panic!("record {number} of {records}: {error}"));
    }
}

/// Others fill etcd, until the cluster says so.
fn fill_by_others(scene: &Scene) {
    let etcd = scene.cluster.etcd.as_ref().unwrap();
    let junk = "x".repeat(120_000);
    let mut count = 0;
    let mut fill = || {
        while etcd.ctl(&["put", &format!("junk-{count}"), &junk]).is_some() {
            count += 1;
        }
    };
    fill();
    patience::until_true("etcd is full and the cluster says so", LIMIT, || {
        // One that failed may have met a member that was being defragmented: the next one tells.
        fill();
        let status = said(&scene.cluster.dfs(&["status"]));
        status.contains("HEALTH_ERR") && status.contains("full")
    });
}

// S44
#[test]
fn a_log_longer_than_the_quota_passes_and_an_etcd_filled_by_others_clears_itself() {
    let quota = QUOTA.to_string();
    let mut setup = Setup {
        coordinators: 2,
        etcd: 1,
        etcd_flags: ["--quota-backend-bytes", &quota].map(String::from).to_vec(),
        ..Setup::default()
    };
    setup.coordinator_flags = ["--lease-term", "5s", "--gc-delay", "5s", "--etcd-quota", &quota]
        .map(String::from)
        .to_vec();
    let room = Room::new();
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::with(&cluster, room.path(), "mnt", "", "allow_other,timeout=20");
    let scene = Scene { mount, cluster, room };
    let file = scene.join("file");
    std::fs::write(&file, "content").unwrap();
    File::open(&file).unwrap().sync_all().unwrap();
    let begun = Instant::now();
    let records = QUOTA as usize * 5 / 4 / VALUE;
    write_records(&file, records);
    eprintln!("{records} records of {VALUE} bytes in {:?}", begun.elapsed());
    assert_eq!(
        sys::get_xattr(&file, "user.large").unwrap(),
        vec![(records - 1) as u8; VALUE]
    );

    fill_by_others(&scene);
    let etcd = scene.cluster.etcd.as_ref().unwrap();
    let mut number = 0;
    let error = patience::until("mkdir is refused while etcd is full", LIMIT, || {
        number += 1;
        let path = scene.join(&format!("new-{number}"));
        let made = patience::within("mkdir and fsync while etcd is full", LIMIT, move || {
            std::fs::create_dir(&path)?;
            File::open(path)?.sync_all()
        });
        made.err().and_then(|error| error.raw_os_error())
    });
    assert!(
        [libc::ENOSPC, libc::EIO, libc::ETIMEDOUT].contains(&error),
        "{error}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
    assert!(
        etcd.ctl(&["del", "--prefix", "junk-"]).is_some(),
        "deleting works when full"
    );
    let mut number = 0;
    patience::until_true("writes go on by themselves", LIMIT, || {
        number += 1;
        let path = scene.join(&format!("after-{number}"));
        std::fs::create_dir(&path).is_ok_and(|()| File::open(path).is_ok_and(|dir| dir.sync_all().is_ok()))
    });
    patience::until_true("and the cluster is healthy", LIMIT, || {
        scene.cluster.dfs(&["status"]).status.success()
    });
    let clean = || scene.cluster.dfs(&["fsck"]).status.success();
    patience::until_true("dfs fsck finds nothing wrong", LIMIT, clean);
}
