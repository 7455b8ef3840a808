//! Several coordinators and their checkpoints: one that lost its disk and one that was away for long catch up from a
//! peer, although the log does not reach back to them, and can lead then.
use crate::Scene;
use integration::{Cluster, Mount, Room, Setup, patience};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// Records until a checkpoint: two are made within the directories of a test.
const RECORDS: u64 = 60;

fn scene() -> Scene {
    let flags = [
        "--lease-term",
        "3s",
        "--gc-delay",
        "3s",
        "--session-timeout",
        "1m",
    ];
    let mut flags = flags.map(String::from).to_vec();
    flags.extend(["--checkpoint-records".to_owned(), RECORDS.to_string()]);
    let setup = Setup {
        coordinators: 3,
        etcd: 1,
        coordinator_flags: flags,
        ..Setup::default()
    };
    let room = Room::new();
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    Scene { mount, cluster, room }
}

/// The newest checkpoint in a coordinator's directory.
fn checkpoint(data: &Path) -> u64 {
    let Ok(found) = std::fs::read_dir(data) else {
        return 0;
    };
    let index = |name: String| name.strip_prefix("checkpoint-")?.parse().ok();
    let names = found.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(index).max().unwrap_or(0)
}

/// Makes directories until the leader has made so many further checkpoints.
fn work(scene: &Scene, made: &mut BTreeSet<String>, leader: &Path, further: usize) {
    for _ in 0..further {
        let before = checkpoint(leader);
        patience::until_true("a checkpoint is made", PATIENCE, || {
            for _ in 0..RECORDS / 4 {
                let name = format!("dir-{}", made.len());
                std::fs::create_dir(scene.join(&name)).unwrap();
                // A record of its own.
                std::fs::File::open(scene.path()).unwrap().sync_all().unwrap();
                made.insert(name);
            }
            checkpoint(leader) > before
        });
    }
}

fn found(scene: &Scene) -> BTreeSet<String> {
    let entries = std::fs::read_dir(scene.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The first index of the log in etcd.
fn log_begins(scene: &Scene) -> u64 {
    let etcd = scene.cluster.etcd.as_ref().unwrap();
    let keys = etcd.ctl(&["get", "--prefix", "--keys-only", "/dfs/"]).unwrap();
    let log = keys.lines().filter(|key| key.contains("/log/"));
    let index = |key: &str| u64::from_str_radix(key.rsplit('/').next()?.get(..16)?, 16).ok();
    log.filter_map(index).min().unwrap_or(0)
}

// S42
#[test]
fn coordinators_that_the_log_does_not_reach_catch_up_from_a_peer_and_can_lead() {
    let mut scene = scene();
    let mut made = BTreeSet::new();
    let leader = scene.cluster.leader();
    let (first, data) = (leader.name.clone(), leader.data.clone());
    let others: Vec<String> = coordinators(&mut scene).filter(|name| *name != first).collect();
    work(&scene, &mut made, &data, 1);
    others.iter().for_each(|name| server(&mut scene, name).kill());
    // Whoever is away holds nothing up once its lease in etcd is over.
    work(&scene, &mut made, &data, 3);
    let away = checkpoint(&server(&mut scene, &others[1]).data);
    patience::until_true("the log is trimmed beyond who is away", PATIENCE, || {
        log_begins(&scene) > away + 1 && log_begins(&scene) > 1
    });

    let newest = checkpoint(&data);
    server(&mut scene, &others[0]).start_anew();
    server(&mut scene, &others[1]).start_again();
    for name in &others {
        let data = server(&mut scene, name).data.clone();
        patience::until_true("a checkpoint has come", PATIENCE, || checkpoint(&data) >= newest);
    }
    for _ in 0..2 {
        scene.cluster.leader().kill();
        let name = format!("dir-{}", made.len());
        std::fs::create_dir(scene.join(&name)).unwrap();
        made.insert(name);
        assert_eq!(found(&scene), made);
    }
    // Nothing of it came from a cache.
    scene.mount.unmount();
    scene.mount.mount();
    assert_eq!(found(&scene), made);
}

fn coordinators(scene: &mut Scene) -> impl Iterator<Item = String> {
    let all = scene.cluster.all().map(|server| server.name.clone());
    all.filter(|name| name.starts_with("coordinator"))
}

fn server<'a>(scene: &'a mut Scene, name: &str) -> &'a mut integration::cluster::Server {
    let found = scene.cluster.all().find(|server| server.name == name);
    found.expect("a server of this cluster")
}
