//! The trash: removed files come back as they were, and go when their time is over.
use crate::Scene;
use integration::patience;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

fn listed(scene: &Scene) -> Vec<(u64, String)> {
    let output = scene.cluster.dfs(&["trash", "list", "--json", "--volume"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let items = said["items"].as_array().cloned().unwrap_or_default();
    let item = |item: &Value| {
        (
            item["id"].as_u64().unwrap(),
            item["path"].as_str().unwrap().to_owned(),
        )
    };
    items.iter().map(item).collect()
}

fn trash(scene: &Scene, args: &[&str]) -> bool {
    let all: Vec<&str> = ["trash"]
        .iter()
        .chain(args)
        .chain(&["--volume"])
        .copied()
        .collect();
    scene.cluster.dfs(&all).status.success()
}

// S32
#[test]
fn what_was_removed_comes_back_and_goes_after_its_time() {
    let scene = Scene::new();
    std::fs::write(scene.join("before"), "gone at once").unwrap();
    std::fs::remove_file(scene.join("before")).unwrap();
    // What is told after the retention was set goes to the trash.
    std::fs::File::open(scene.path()).unwrap().sync_all().unwrap();
    assert!(trash(&scene, &["retain", "2m"]));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::create_dir(scene.join("d")).unwrap();
    let path = scene.join("d/f");
    std::fs::write(&path, &bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let ino = path.metadata().unwrap().ino();
    std::fs::remove_dir_all(scene.join("d")).unwrap();
    // The kernel lets go of removed inodes a moment later.
    let wanted = (ino, "/d/f".to_owned());
    patience::until_true(
        "file and directory are in the trash",
        Duration::from_secs(30),
        || {
            let found = listed(&scene);
            found.len() == 2 && found.contains(&wanted)
        },
    );
    // Content that was never flushed before the removal is kept as well.
    let id = ino.to_string();
    assert!(trash(&scene, &["restore", &id]));
    assert!(
        std::fs::read(&path).unwrap() == bytes,
        "the file comes back whole"
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!trash(&scene, &["restore", &id]), "it is not there any more");
    // A kill of the coordinator changes nothing, and the retention's end empties the trash and the disks.
    std::fs::remove_file(&path).unwrap();
    let mut scene = scene;
    scene.cluster.coordinator.kill();
    scene.cluster.coordinator.restart();
    patience::until_true("the trash is listed again", Duration::from_secs(30), || {
        listed(&scene).len() == 1
    });
    assert!(trash(&scene, &["retain", "1s"]));
    patience::until_true("the trash is empty", Duration::from_secs(30), || {
        listed(&scene).is_empty()
    });
    scene.cluster.assert_clean();
}
