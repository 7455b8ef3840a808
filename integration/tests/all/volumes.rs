//! Several volumes of one cluster: made, mounted, apart from one another, deleted with all that they hold.
use crate::Scene;
use integration::{Mount, Setup, patience};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

/// Several lots of deletions, a silent session's end and a heartbeat, on a loaded machine.
const GONE: Duration = Duration::from_secs(60);
const BYTES: usize = 3 << 20;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn volumes(scene: &Scene) -> Vec<(u64, String)> {
    let output = scene.cluster.dfs(&["volume", "list", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let volume = |volume: &Value| {
        let name = volume["name"].as_str().unwrap().to_owned();
        (volume["number"].as_u64().unwrap(), name)
    };
    list["volumes"].as_array().unwrap().iter().map(volume).collect()
}

fn make(scene: &Scene, name: &str) {
    let output = scene.cluster.dfs(&["volume", "create", name]);
    assert!(output.status.success(), "{}", said(&output));
}

/// Copies that the first volume should have, by its rows: what the datanodes tell of themselves is a heartbeat old, each
/// one's another.
fn owned(scene: &Scene) -> u64 {
    let output = scene.cluster.dfs(&["fsck", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    found["chunks"].as_u64().unwrap() * Setup::default().replication as u64
}

/// Chunks on all datanodes.
fn chunks(scene: &Scene) -> u64 {
    let output = scene.cluster.dfs(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["chunks"].as_u64().unwrap()).sum()
}

fn write(path: &Path, byte: u8) {
    std::fs::write(path, vec![byte; BYTES]).unwrap();
    File::open(path).unwrap().sync_all().unwrap();
}

fn assert_holds(path: &Path, byte: u8) {
    let found = std::fs::read(path).unwrap();
    assert!(
        found.len() == BYTES && found.iter().all(|own| *own == byte),
        "{}",
        path.display()
    );
}

// S41
#[test]
fn volumes_do_not_see_one_another_and_deletion_frees_what_they_held() {
    let mut scene = Scene::new();
    make(&scene, "second");
    assert_eq!(volumes(&scene), [(0, "default".into()), (1, "second".into())]);
    let again = scene.cluster.dfs(&["volume", "create", "second"]);
    assert!(
        !again.status.success() && said(&again).contains("already"),
        "{}",
        said(&again)
    );

    let mut second = Mount::of_volume(&scene.cluster, scene.room.path(), "second", "second");
    write(&scene.join("file"), 1);
    let alone = owned(&scene);
    assert!(alone > 0);
    patience::until_true("the first volume's chunks are told", GONE, || {
        chunks(&scene) == alone
    });
    write(&second.join("file"), 2);
    std::fs::create_dir(second.join("only here")).unwrap();
    assert_holds(&scene.join("file"), 1);
    assert!(!scene.join("only here").exists());
    patience::until_true("the second volume's chunks are told", GONE, || {
        chunks(&scene) > alone
    });

    // Both are there after a crash, under the same numbers and for the same clients.
    scene.cluster.coordinator.restart();
    write(&second.join("later"), 3);
    second.unmount();
    second.mount();
    assert_holds(&second.join("file"), 2);
    assert_holds(&second.join("later"), 3);

    let used = scene.cluster.dfs(&["volume", "delete", "second", "--yes"]);
    assert!(
        !used.status.success() && said(&used).contains("in use"),
        "{}",
        said(&used)
    );
    assert_holds(&second.join("file"), 2);
    second.unmount();
    let deleted = scene.cluster.dfs(&["volume", "delete", "second", "--yes"]);
    assert!(deleted.status.success(), "{}", said(&deleted));
    patience::until_true("the deleted volume is gone", GONE, || volumes(&scene).len() == 1);
    patience::until_true("its chunks are gone", GONE, || chunks(&scene) == alone);
    assert!(!scene.cluster.coordinator.data.join("volumes/1").exists());
    assert_holds(&scene.join("file"), 1);
    scene.cluster.assert_clean();

    make(&scene, "second");
    assert_eq!(
        volumes(&scene),
        [(0, "default".into()), (2, "second".into())],
        "numbers are not used again"
    );
    let fresh = Mount::of_volume(&scene.cluster, scene.room.path(), "fresh", "second");
    assert_eq!(std::fs::read_dir(fresh.path()).unwrap().count(), 0);
    write(&fresh.join("file"), 4);
    assert_holds(&fresh.join("file"), 4);
}
