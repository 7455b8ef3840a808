//! What an operator asks: fsck, info, status, sync, in words and in JSON.
use crate::Scene;
use integration::programs;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

fn on_path(args: &[&str], path: &Path) -> Output {
    Command::new(programs::dfs())
        .args(args)
        .arg(path)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"))
}

/// Every number in the answer, wherever it is.
fn numbers(value: &Value) -> Vec<u64> {
    match value {
        Value::Number(number) => number.as_u64().into_iter().collect(),
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        Value::Object(fields) => fields.values().flat_map(numbers).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn info_shows_where_the_bytes_of_a_file_are() {
    let scene = Scene::new();
    let mut file = std::fs::File::create(scene.join("f")).unwrap();
    file.write_all(&vec![1; 12 << 20]).unwrap();
    file.sync_all().unwrap();
    let words = on_path(&["info"], &scene.join("f"));
    assert!(
        words.status.success(),
        "{}",
        String::from_utf8_lossy(&words.stderr)
    );
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    for node in &scene.cluster.datanodes {
        assert!(
            words.contains(&node.address.to_string()),
            "{} is not in\n{words}",
            node.address
        );
    }
    let answer = json(&on_path(&["info", "--json"], &scene.join("f")));
    let inode = std::os::unix::fs::MetadataExt::ino(&scene.join("f").metadata().unwrap());
    assert!(numbers(&answer).contains(&inode), "{answer}");
    assert!(numbers(&answer).contains(&(12 << 20)), "{answer}");
    let absent = on_path(&["info"], &scene.join("absent"));
    assert!(!absent.status.success() && String::from_utf8_lossy(&absent.stderr).contains("absent"));
}

#[test]
fn status_shows_nodes_and_health() {
    let mut scene = Scene::new();
    let answer = json(&scene.cluster.dfs(&["status", "--json"]));
    let text = answer.to_string();
    for node in &scene.cluster.datanodes {
        assert!(
            text.contains(&node.address.to_string()),
            "{} is not in {text}",
            node.address
        );
    }
    let words = scene.cluster.dfs(&["status"]);
    assert!(words.status.success());
    scene.cluster.datanodes[1].kill();
    let seen = || json(&scene.cluster.dfs(&["status", "--json"])) != answer;
    integration::patience::until_true("the dead node is seen", std::time::Duration::from_secs(40), seen);
}

// S30
#[test]
fn fsck_finds_damage_and_names_the_file() {
    let mut scene = Scene::new();
    let mut file = std::fs::File::create(scene.join("precious")).unwrap();
    let pattern = b"content that is on three disks and then on none";
    file.write_all(&vec![3; 2 << 20]).unwrap();
    file.write_all(pattern).unwrap();
    file.sync_all().unwrap();
    drop(file);
    scene.cluster.assert_clean();
    let answer = json(&scene.cluster.dfs(&["fsck", "--json"]));
    assert!(answer.is_object(), "{answer}");
    for node in &mut scene.cluster.datanodes {
        node.kill();
        assert_eq!(crate::luck::flip(&node.data, pattern), 1);
    }
    let complaint = |scene: &Scene| {
        let output = scene.cluster.dfs(&["fsck"]);
        assert!(
            !output.status.success(),
            "no good copy is there and fsck is content"
        );
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    complaint(&scene);
    for node in &mut scene.cluster.datanodes {
        node.start_again();
        node.wait_until_listening();
    }
    let said = complaint(&scene);
    assert!(said.contains("precious"), "the path is not in\n{said}");
}

// S16
#[test]
fn sync_makes_everything_durable() {
    let mut scene = Scene::new();
    for n in 0..50 {
        std::fs::write(scene.join(&format!("f{n}")), vec![n as u8; 50_000]).unwrap();
    }
    let output = on_path(&["sync"], scene.path());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    scene.mount.process().signal(libc::SIGKILL);
    scene.cluster.kill_all();
    scene.mount.kill();
    scene.cluster.start_all();
    scene.mount.mount();
    for n in 0..50 {
        assert!(
            std::fs::read(scene.join(&format!("f{n}"))).unwrap() == vec![n as u8; 50_000],
            "f{n}"
        );
    }
}
