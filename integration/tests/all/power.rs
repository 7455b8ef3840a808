//! The power of every server's disk is cut at a random moment: what was not flushed is gone, as after pulling the
//! plug. What fsync acknowledged must be there all the same.
use integration::disk::Disk;
use integration::oracle::Oracle;
use integration::{Cluster, Mount, Room, Setup, patience};
use rand::RngExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const ROUNDS: u32 = 8;
const WORK_LIMIT: Duration = Duration::from_secs(60);
const CLEAN_LIMIT: Duration = Duration::from_secs(60);
const SERVERS: [&str; 4] = ["coordinator", "datanode-1", "datanode-2", "datanode-3"];

fn work_until_the_cut(
    mut oracle: Oracle,
    mount: &mut Mount,
    cluster: &mut Cluster,
    disks: &[Disk],
) -> Oracle {
    let stop = Arc::new(AtomicBool::new(false));
    let (dir, told, seed) = (mount.join("work"), stop.clone(), rand::rng().random());
    let worker = std::thread::Builder::new().name("worker".into()).spawn(move || {
        // An error is part of the cut: the machine is gone.
        let _ = oracle.work(&dir, seed, &told);
        oracle
    });
    std::thread::sleep(Duration::from_millis(rand::rng().random_range(300..2500)));
    disks.iter().for_each(Disk::cut_power);
    stop.store(true, Ordering::Relaxed);
    cluster.kill_all();
    mount.kill();
    patience::within("the worker", WORK_LIMIT, move || worker.unwrap().join().unwrap())
}

// S13
#[test]
fn a_power_cut_of_every_server_loses_nothing_acknowledged() {
    let room = Room::new();
    let disks: Vec<Disk> = SERVERS
        .iter()
        .map(|name| Disk::new(room.path(), &format!("disk-{name}"), 1024))
        .collect();
    let directories = SERVERS
        .iter()
        .zip(&disks)
        .map(|(name, disk)| ((*name).to_owned(), disk.path().join("data")));
    let setup = Setup {
        directories: directories.collect(),
        ..Setup::default()
    };
    let mut cluster = Cluster::with(room.path(), &setup);
    let mut mount = Mount::new(&cluster, room.path(), "mnt");
    std::fs::create_dir(mount.join("work")).unwrap();
    std::fs::File::open(mount.path()).unwrap().sync_all().unwrap();
    let mut oracle = Oracle::default();
    for round in 1..=ROUNDS {
        oracle = work_until_the_cut(oracle, &mut mount, &mut cluster, &disks);
        disks.iter().for_each(Disk::power_on);
        cluster.start_all();
        mount.mount();
        oracle.verify(&mount.join("work"));
        eprintln!("round {round}: {} acknowledged so far", oracle.acknowledged());
    }
    assert!(
        oracle.acknowledged() > u64::from(ROUNDS),
        "too little work was done to show anything"
    );
    let clean = || cluster.dfs(&["fsck"]).status.success();
    patience::until_true("dfs fsck finds nothing wrong", CLEAN_LIMIT, clean);
}
