//! Containers with the mount bound into them.
use crate::Scene;
use integration::script;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn bubblewrap_as_root_and_as_nobody() {
    let scene = Scene::new();
    std::fs::set_permissions(scene.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let inside = "bwrap --ro-bind / / --dev /dev --proc /proc --bind \"$PWD\" /mnt --unshare-pid sh -c 'cd /mnt; echo hello > $0; cat $0; ls -l; mkdir d-$0; rmdir d-$0'";
    assert!(script::run(scene.path(), LIMIT, &format!("{inside} root")).contains("hello"));
    let nobody = format!("setpriv --reuid nobody --regid nogroup --clear-groups {inside} nobody");
    assert!(script::run(scene.path(), LIMIT, &nobody).contains("hello"));
    let owner = std::os::unix::fs::MetadataExt::uid(&scene.join("nobody").metadata().unwrap());
    assert_eq!(owner, 65534);
}

#[test]
fn namespaces_of_mounts_and_users() {
    let scene = Scene::new();
    std::fs::set_permissions(scene.path(), PermissionsExt::from_mode(0o777)).unwrap();
    script::run(
        scene.path(),
        LIMIT,
        "unshare -m sh -c 'mount --bind \"$PWD\" /mnt; echo x > /mnt/a; cat /mnt/a'",
    );
    script::run(
        scene.path(),
        LIMIT,
        "unshare -Urm sh -c 'mount --bind \"$PWD\" /mnt; echo y > /mnt/b; cat /mnt/b; rm /mnt/b'",
    );
    assert_eq!(std::fs::read(scene.join("a")).unwrap(), b"x\n");
}

#[test]
fn runc_runs_a_container_whose_root_is_on_the_mount() {
    let scene = Scene::new();
    let script = r#"
        mkdir -p bundle/rootfs/bin bundle/rootfs/proc bundle/rootfs/dev bundle/rootfs/volume volume
        for program in sh cat mkdir; do
            cp "$(command -v $program)" bundle/rootfs/bin/
            for library in $(ldd "$(command -v $program)" | grep -o '/[^ ]*'); do
                mkdir -p bundle/rootfs$(dirname $library); cp -L $library bundle/rootfs$library
            done
        done
        cat > bundle/config.json <<END
{ "ociVersion": "1.0.0", "root": { "path": "rootfs", "readonly": false },
  "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "cwd": "/", "env": ["PATH=/bin"],
               "args": ["/bin/sh", "-c", "echo inside > /volume/file; mkdir /made; cat /volume/file"] },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" },
              { "destination": "/volume", "type": "bind", "source": "$PWD/volume", "options": ["rbind", "rw"] } ],
  "linux": { "namespaces": [ { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" } ] } }
END
        name=dfs-test-$$
        runc --root "$HOME/runc" run --bundle bundle $name
        cat volume/file; test -d bundle/rootfs/made
    "#;
    let home = scene.room.folder("home");
    let said = script::run(
        scene.path(),
        LIMIT,
        &format!("export HOME={}\n{script}", home.display()),
    );
    assert_eq!(said.matches("inside").count(), 2, "{said}");
}
