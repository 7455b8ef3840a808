//! `dfs bench metadata` against a real coordinator: every operation succeeds, and nothing stays behind.
use crate::Scene;
use serde_json::Value;

#[test]
fn the_metadata_benchmark_does_all_its_phases_and_leaves_nothing() {
    let scene = Scene::new();
    let ops = "create,mkdir,lookup,list,rename,lookup,mix,unlink,rmdir";
    let args = [
        "bench",
        "metadata",
        "--sessions",
        "3",
        "--files",
        "700",
        "--per-dir",
        "90",
    ];
    let limits = ["--batch", "64", "--leases", "50", "--ops", ops, "--json"];
    let output = scene.cluster.dfs(&[&args[..], &limits].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let phases = report["phases"].as_array().unwrap();
    let names: Vec<&str> = phases
        .iter()
        .map(|phase| phase["phase"].as_str().unwrap())
        .collect();
    assert_eq!(names.join(","), ops);
    for phase in phases {
        assert_eq!(phase["errors"], 0, "{phase}");
        let done = phase["operations"].as_u64().unwrap();
        match phase["phase"].as_str().unwrap() {
            // Each session ends its last round.
            "mix" => assert!((700..730).contains(&done), "{phase}"),
            // Files and the directories beside them.
            "list" => assert_eq!(done, 1400, "{phase}"),
            _ => assert_eq!(done, 700, "{phase}"),
        }
    }
    assert_eq!(std::fs::read_dir(scene.mount.path()).unwrap().count(), 0);
    scene.cluster.assert_clean();
}
