//! What calls cost, counted: syncs and round trips of a small durable write, and which way small transfers go. The table
//! is in docs/ARCHITECTURE.md, "What a call costs".
use crate::Scene;
use integration::cluster::free_ports;
use integration::figures::Figures;
use integration::{Cluster, Mount, Room, patience};
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

const WRITES: u64 = 40;
/// Segments and ranges of ids begin now and then, and the mount tells an access time.
const SLACK: f64 = 8.0;
const CONNECTED_LIMIT: Duration = Duration::from_secs(60);

struct Counted {
    /// Of each datanode.
    syncs: Vec<f64>,
    records: f64,
    calls: f64,
    uploads: f64,
    quick: f64,
}

fn count(cluster: &Cluster, mount: SocketAddr) -> Counted {
    let coordinator = Figures::of(cluster.coordinator.metrics);
    let mount = Figures::of(mount);
    let nodes = cluster.datanodes.iter();
    Counted {
        syncs: nodes
            .map(|node| Figures::of(node.metrics).sum("dfs_datanode_syncs_total", ""))
            .collect(),
        records: coordinator.sum("dfs_coordinator_log_append_seconds_count", ""),
        calls: coordinator.sum("dfs_coordinator_call_seconds_count", ""),
        uploads: mount.sum("dfs_mount_upload_seconds_count", ""),
        quick: mount.sum("dfs_mount_quick_uploads_total", ""),
    }
}

// S13
#[test]
fn a_small_durable_write_costs_one_sync_of_each_member_and_one_of_the_log() {
    let room = Room::new();
    let cluster = Cluster::start(room.path());
    let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    let options = format!("allow_other,metrics={address}");
    let mount = Mount::with(&cluster, room.path(), "mnt", "", &options);
    let file = File::create(mount.join("file")).unwrap();
    let mut place = 0;
    let mut write = || {
        file.write_all_at(&[place as u8; 4096], place * 8192).unwrap();
        file.sync_data().unwrap();
        place += 1;
    };
    // Framed connections are made behind the writer's back.
    patience::until_true(
        "a small chunk goes to all members at once",
        CONNECTED_LIMIT,
        || {
            write();
            Figures::of(address).sum("dfs_mount_quick_uploads_total", "") >= 1.0
        },
    );
    let before = count(&cluster, address);
    (0..WRITES).for_each(|_| write());
    let after = count(&cluster, address);
    let writes = WRITES as f64;
    for (node, (before, after)) in before.syncs.iter().zip(&after.syncs).enumerate() {
        let syncs = after - before;
        assert!(
            (writes..=writes + SLACK).contains(&syncs),
            "datanode {node}: {syncs} syncs for {WRITES} durable writes"
        );
    }
    let records = after.records - before.records;
    assert!(
        (writes..=writes + SLACK).contains(&records),
        "{records} log records"
    );
    let calls = after.calls - before.calls;
    assert!(
        (writes..=writes + SLACK).contains(&calls),
        "{calls} calls of the coordinator"
    );
    assert_eq!(after.uploads - before.uploads, writes, "one chunk for each");
    // A loaded machine may send a few the long way.
    let quick = after.quick - before.quick;
    assert!(
        quick >= writes / 2.0,
        "{quick} of {WRITES} went to all members at once"
    );
}

#[test]
fn small_reads_go_the_quick_way_and_leave_it_when_a_member_dies() {
    let room = Room::new();
    let mut cluster = Cluster::start(room.path());
    let content: Vec<u8> = (0..6u32 << 20).map(|at| (at / 4096 % 251) as u8).collect();
    {
        let writer = Mount::new(&cluster, room.path(), "mnt");
        std::fs::write(writer.join("file"), &content).unwrap();
        File::open(writer.join("file")).unwrap().sync_all().unwrap();
    }
    let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    let options = format!("allow_other,metrics={address}");
    let mount = Mount::with(&cluster, room.path(), "mnt-2", "", &options);
    let file = File::open(mount.join("file")).unwrap();
    // Every block once, in an order that no read-ahead foresees.
    let blocks = content.len() / 65_536;
    let read = |number: usize| {
        let at = number * 37 % blocks * 65_536;
        let mut got = [0; 4096];
        file.read_exact_at(&mut got, at as u64).unwrap();
        assert_eq!(got[..], content[at..at + 4096], "at {at}");
    };
    let half = blocks / 2;
    (0..half).for_each(read);
    let figures = Figures::of(address);
    let (quick, all) = (
        figures.sum("dfs_mount_quick_downloads_total", ""),
        figures.sum("dfs_mount_download_seconds_count", ""),
    );
    assert!(
        quick >= all / 3.0,
        "{quick} of {all} downloads went the quick way"
    );
    cluster.datanodes[0].kill();
    (half..blocks).for_each(read);
}

#[test]
fn what_was_just_written_is_read_without_the_datanodes() {
    let scene = Scene::new();
    let content: Vec<u8> = (0..12u32 << 20).map(|at| (at / 4096 % 251) as u8).collect();
    std::fs::write(scene.join("large"), &content).unwrap();
    for n in 0..50 {
        std::fs::write(scene.join(&format!("f{n}")), &content[n * 4096..][..3000]).unwrap();
    }
    for name in std::fs::read_dir(scene.path()).unwrap() {
        File::open(name.unwrap().path()).unwrap().sync_all().unwrap();
    }
    let gets = || -> f64 {
        let nodes = scene.cluster.datanodes.iter();
        nodes
            .map(|node| Figures::of(node.metrics).sum("dfs_datanode_sent_bytes_total", ""))
            .sum()
    };
    let before = gets();
    // Past the kernel's pages.
    let read = |name: &str, len: usize| {
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(scene.join(name))
            .unwrap();
        let mut got = vec![0; len + 8192];
        let from = got.as_ptr().align_offset(4096);
        let read = file.read_at(&mut got[from..from + len.next_multiple_of(4096)], 0);
        assert_eq!(read.unwrap(), len);
        got[from..from + len].to_vec()
    };
    assert!(read("large", content.len()) == content);
    for n in 0..50 {
        assert!(read(&format!("f{n}"), 3000) == content[n * 4096..][..3000]);
    }
    assert_eq!(gets(), before);
}

const REWRITTEN: usize = 60;

/// As `> file` does, then a write: how many calls of the coordinator that is for all files.
fn rewrite(scene: &Scene, round: u8) -> f64 {
    let calls =
        || Figures::of(scene.cluster.coordinator.metrics).sum("dfs_coordinator_call_seconds_count", "");
    let before = calls();
    for n in 0..REWRITTEN {
        std::fs::write(scene.join(&format!("f{n}")), [round; 100]).unwrap();
    }
    calls() - before
}

fn assert_rewritten(dir: &Path, round: u8) {
    for n in 0..REWRITTEN {
        assert_eq!(
            std::fs::read(dir.join(format!("f{n}"))).unwrap(),
            [round; 100],
            "f{n}"
        );
    }
}

// S63
#[test]
fn writing_a_file_anew_costs_one_call_and_none_where_it_is_held_alone() {
    let mut scene = Scene::with("allow_other,nowsync");
    for n in 0..REWRITTEN {
        std::fs::write(scene.join(&format!("f{n}")), [1; 70_000]).unwrap();
    }
    for (number, options) in ["allow_other", "allow_other,nowsync"].into_iter().enumerate() {
        scene.mount.unmount();
        scene.mount = Mount::with(
            &scene.cluster,
            scene.room.path(),
            &format!("mnt-{number}"),
            "",
            options,
        );
        assert_eq!(std::fs::read_dir(scene.path()).unwrap().count(), REWRITTEN);
        let (round, limit) = (10 + number as u8, REWRITTEN as f64 + SLACK);
        let first = rewrite(&scene, round);
        assert!(first <= limit, "{options}: {first} calls for {REWRITTEN} files");
    }
    let second = rewrite(&scene, 12);
    assert!(second <= SLACK, "{second} calls for {REWRITTEN} files held alone");
    let other = Mount::new(&scene.cluster, scene.room.path(), "other");
    assert_rewritten(other.path(), 12);
    rewrite(&scene, 13);
    File::open(scene.join("f0")).unwrap().sync_all().unwrap();
    scene.mount.kill();
    assert_eq!(std::fs::read(other.join("f0")).unwrap(), [13; 100]);
    scene.cluster.assert_clean();
}

const LISTED: usize = 200;

#[test]
fn a_walk_looks_up_no_entry_by_name() {
    let scene = Scene::new();
    for n in 0..LISTED {
        std::fs::write(scene.join(&format!("f{n}")), [1; 10]).unwrap();
    }
    let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    let options = format!("allow_other,metrics={address}");
    let other = Mount::with(&scene.cluster, scene.room.path(), "other", "", &options);
    let sizes = || -> u64 {
        let entries = std::fs::read_dir(other.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    };
    assert_eq!(sizes(), LISTED as u64 * 10);
    let calls = |op: &str| {
        let label = format!("op=\"{op}\"");
        Figures::of(address).sum("dfs_mount_call_seconds_count", &label)
    };
    assert!(calls("readdirplus") >= 1.0);
    let lookups = calls("lookup");
    assert!(lookups < LISTED as f64 / 10.0, "{lookups} names were looked up");
    // What the listing told the kernel is taken back when it is no longer true.
    std::fs::rename(scene.join("f0"), scene.join("f1")).unwrap();
    std::fs::write(scene.join("f2"), [1; 15]).unwrap();
    assert!(!other.join("f0").exists());
    assert_eq!(sizes(), LISTED as u64 * 10 - 5);
}
