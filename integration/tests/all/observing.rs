//! What operators see: figures of every process, whether it is ready, and one request in all logs that it touched.
use crate::Scene;
use integration::cluster::{Setup, free_ports};
use integration::figures::{Figures, get};
use integration::{Cluster, Mount, Room, patience};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const SEEN_LIMIT: Duration = Duration::from_secs(30);

/// A mount that shows its figures, and where.
fn shown_mount(cluster: &Cluster, dir: &Path, name: &str) -> (Mount, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    let options = format!("allow_other,metrics={address}");
    (Mount::with(cluster, dir, name, "", &options), address)
}

fn write_durably(path: &Path, content: &[u8]) {
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
}

fn assert_documented(figures: &Figures) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/OPERATIONS.md")).unwrap();
    for name in figures.names() {
        assert!(document.contains(&format!("`{name}`")), "{name} is not described");
    }
}

#[test]
fn every_process_shows_figures_that_are_described() {
    let room = Room::new();
    let mut cluster = Cluster::start(room.path());
    let (mut mount, address) = shown_mount(&cluster, room.path(), "mnt");
    write_durably(&mount.join("f"), &vec![7; 3 << 20]);
    let (mut second, other) = shown_mount(&cluster, room.path(), "mnt-2");
    assert_eq!(std::fs::read(second.join("f")).unwrap().len(), 3 << 20);
    let own = Figures::of(address);
    let coordinator = Figures::of(cluster.coordinator.metrics);
    assert_documented(&own);
    assert_documented(&coordinator);
    assert_eq!(own.sum("dfs_mount_upload_bytes_total", ""), (3 << 20) as f64);
    assert_eq!(own.sum("dfs_mount_connected", ""), 1.0);
    assert!(own.sum("dfs_mount_call_seconds_count", "op=\"fsync\"") >= 1.0);
    assert!(Figures::of(other).sum("dfs_mount_read_bytes_total", "datanodes") >= (3 << 20) as f64);
    for name in ["make", "commit"] {
        let label = format!("op=\"{name}\"");
        assert!(
            coordinator.sum("dfs_coordinator_call_seconds_count", &label) >= 1.0,
            "{name}"
        );
    }
    assert!(coordinator.sum("dfs_coordinator_log_append_seconds_count", "") >= 1.0);
    patience::until_true("the sessions are counted", SEEN_LIMIT, || {
        Figures::of(cluster.coordinator.metrics).sum("dfs_coordinator_sessions", "") == 2.0
    });
    for node in &cluster.datanodes {
        let figures = Figures::of(node.metrics);
        assert_documented(&figures);
        assert_eq!(
            figures.sum("dfs_datanode_received_bytes_total", ""),
            (3 << 20) as f64,
            "{}",
            node.name
        );
        assert!(figures.sum("dfs_datanode_request_seconds_count", "op=\"put\"") >= 1.0);
    }
    for server in cluster.all() {
        for path in ["/healthz", "/readyz"] {
            let (status, text) = get(server.metrics, path).unwrap();
            assert_eq!(status, 200, "{} {path}: {text}", server.name);
        }
    }
    // Cached calls ask nobody; that the file was read at all is told behind them.
    let asked = |figures: &Figures| {
        let of = |label| figures.sum("dfs_mount_request_seconds_count", label);
        of("") - of("op=\"set_attr\"")
    };
    let before = Figures::of(other);
    for _ in 0..100 {
        std::fs::metadata(second.join("f")).unwrap();
        std::fs::read(second.join("f")).unwrap();
    }
    assert_eq!(asked(&Figures::of(other)), asked(&before));
    cluster.coordinator.kill();
    patience::until_true(
        "the mount is not ready without its coordinator",
        SEEN_LIMIT,
        || get(address, "/readyz").is_ok_and(|(status, _)| status == 503),
    );
    assert_eq!(get(address, "/healthz").unwrap().0, 200);
    cluster.coordinator.start_again();
    patience::until_true("the mount is ready again", SEEN_LIMIT, || {
        get(address, "/readyz").is_ok_and(|(status, _)| status == 200)
    });
    mount.unmount();
    second.unmount();
}

/// The lines of a log that have the request's id.
fn lines_with(log: &str, id: &str) -> usize {
    log.lines().filter(|line| line.contains(id)).count()
}

// S61
#[test]
fn one_write_is_found_by_its_id_in_the_logs_of_all_that_carried_it() {
    let room = Room::new();
    let mut setup = Setup::default();
    let loud = ["--log-level", "debug"].map(String::from);
    setup.coordinator_flags.extend(loud.clone());
    setup.datanode_flags.extend(loud);
    let mut cluster = Cluster::with(room.path(), &setup);
    let mut mount = Mount::with(&cluster, room.path(), "mnt", "", "allow_other,slow-call=1ms");
    mount.log_as("info,dfs_client=debug,dfs_fuse=debug");
    write_durably(&mount.join("f"), b"followed to the disk");
    let log = mount.process().log();
    let upload = log
        .lines()
        .find(|line| line.contains("uploaded"))
        .expect("an upload");
    let id = upload
        .split("request=")
        .nth(1)
        .unwrap()
        .split([' ', ','])
        .next()
        .unwrap();
    let id = id.trim_matches('"').to_owned();
    assert!(lines_with(&log, &id) >= 2, "upload and commit in\n{log}");
    assert!(
        log.contains("a slow call") && log.contains("flush"),
        "the slow fsync is not in\n{log}"
    );
    for server in cluster.all() {
        let name = server.name.clone();
        let process = server.process();
        patience::until_true(&format!("{name} logs {id}"), SEEN_LIMIT, || {
            lines_with(&process.log(), &id) >= 1
        });
    }
}

#[test]
fn top_shows_what_each_client_does() {
    let scene = Scene::new();
    let mut rounds = 0;
    let busy = || {
        for _ in 0..20 {
            write_durably(&scene.join(&format!("f{rounds}")), &[1; 10_000]);
            rounds += 1;
        }
        let output = scene.cluster.dfs(&["top", "--once", "--json", "--interval", "1"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let picture: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let client = &picture["clients"][0];
        assert!(client["client"].as_str().unwrap().contains("mnt"), "{picture}");
        client["written_bytes_per_second"].as_f64().unwrap() > 0.0
    };
    patience::until_true("the written bytes are told with a heartbeat", SEEN_LIMIT, busy);
    let words = scene.cluster.dfs(&["top", "--once", "--interval", "1"]);
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(
        words.contains("CALLS/s") && words.contains("1 clients"),
        "{words}"
    );
}

/// The usual scene shows nothing of its mount: the option is off unless asked for.
#[test]
fn a_mount_listens_nowhere_unless_told_to() {
    let mut scene = Scene::new();
    let pid = scene.mount.process().pid();
    let sockets = std::process::Command::new("ls")
        .args(["-l", &format!("/proc/{pid}/fd")])
        .output()
        .unwrap();
    let open: Vec<String> = String::from_utf8_lossy(&sockets.stdout)
        .split("socket:[")
        .skip(1)
        .filter_map(|rest| rest.split(']').next().map(str::to_owned))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let listening = table.lines().filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A")
            && fields
                .get(9)
                .is_some_and(|inode| open.iter().any(|own| own == inode))
    });
    assert_eq!(listening.count(), 0, "{table}");
}
