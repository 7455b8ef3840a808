//! What is below a directory is known at once and exactly: on the mount that made it, on another, and after the
//! coordinator was killed.
use crate::Scene;
use integration::{patience, programs};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Bytes, files and directories, as `dfs summary` tells them.
fn summary(dir: &Path) -> (u64, u64, u64) {
    let mut command = Command::new(programs::dfs());
    command.arg("summary").arg(dir).arg("--json");
    let output = patience::within("dfs summary", LIMIT, move || command.output().unwrap());
    assert!(output.status.success(), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| all[0][name].as_u64().unwrap_or_else(|| panic!("{name} in {all}"));
    (number("bytes"), number("files"), number("directories"))
}

#[test]
fn a_directory_knows_what_is_below_it() {
    let mut scene = Scene::new();
    let other = scene.second();
    let top = scene.join("top");
    for dir in 0..4 {
        let dir = top.join(format!("d{dir}/e"));
        std::fs::create_dir_all(&dir).unwrap();
        for file in 0..5 {
            std::fs::write(dir.join(format!("f{file}")), "0123456789").unwrap();
        }
    }
    assert_eq!(summary(&top), (200, 20, 8));
    std::fs::rename(top.join("d0"), scene.join("away")).unwrap();
    std::fs::hard_link(top.join("d1/e/f0"), top.join("d1/again")).unwrap();
    std::fs::remove_file(top.join("d1/e/f0")).unwrap();
    std::fs::remove_file(top.join("d2/e/f0")).unwrap();
    std::fs::write(top.join("d3/e/f0"), "01234").unwrap();
    assert_eq!(summary(&top), (135, 14, 6));
    assert_eq!(summary(&scene.join("away")), (50, 5, 1));
    assert_eq!(summary(&other.join("top")), (135, 14, 6));
    scene.cluster.coordinator.restart();
    assert_eq!(summary(&other.join("top")), (135, 14, 6));
    std::fs::remove_dir_all(other.join("away")).unwrap();
    assert_eq!(summary(other.path()), (135, 14, 7));
}
