//! Who may do what: POSIX ACLs, set-id bits, sticky and set-gid directories, as the kernel enforces them.
use crate::Scene;
use integration::script;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn sh(scene: &Scene, script: &str) -> String {
    script::run(scene.path(), LIMIT, script)
}

/// Runs a command as nobody; true when it succeeds.
fn nobody(scene: &Scene, command: &str) -> bool {
    let line = format!("setpriv --reuid nobody --regid nogroup --clear-groups sh -c '{command}'");
    script::attempt(scene.path(), LIMIT, &line).status.success()
}

// S7
#[test]
fn acl_entries_are_enforced_and_shown_in_the_mode() {
    let scene = Scene::new();
    std::fs::set_permissions(scene.path(), PermissionsExt::from_mode(0o755)).unwrap();
    sh(&scene, "echo content > f; chmod 640 f");
    assert!(!nobody(&scene, "cat f"));
    sh(&scene, "setfacl -m u:nobody:rw f");
    assert!(nobody(&scene, "cat f && echo more >> f"));
    assert_eq!(
        scene.join("f").metadata().unwrap().mode() & 0o777,
        0o660,
        "the mask is the group's bits"
    );
    sh(&scene, "chmod 640 f");
    assert!(
        nobody(&scene, "cat f") && !nobody(&scene, "echo more >> f"),
        "the mask limits the entry"
    );
    let listed = sh(&scene, "getfacl -c f");
    assert!(
        listed.contains("user:nobody:rw-") && listed.contains("mask::r--"),
        "{listed}"
    );
    sh(&scene, "setfacl -b f");
    assert!(!nobody(&scene, "cat f"));
}

// S7
#[test]
fn default_acls_are_inherited_and_survive_a_remount() {
    let mut scene = Scene::new();
    sh(
        &scene,
        "mkdir d; chmod 755 d; setfacl -m d:u:nobody:rwx,d:o::- d; umask 022; echo x > d/f; mkdir d/sub; echo y > d/sub/g",
    );
    let check = |scene: &Scene| {
        let file = sh(scene, "getfacl -c d/f");
        assert!(
            file.contains("user:nobody:rwx") && file.contains("other::---"),
            "{file}"
        );
        let sub = sh(scene, "getfacl -c d/sub");
        assert!(sub.contains("default:user:nobody:rwx"), "{sub}");
        assert!(nobody(scene, "cat d/f") && nobody(scene, "echo z > d/sub/new && rm d/sub/new"));
    };
    check(&scene);
    scene.mount.remount();
    check(&scene);
}

// S7
#[test]
fn set_id_bits_go_when_somebody_else_writes() {
    let scene = Scene::new();
    sh(&scene, "cp /bin/true f; chmod 6777 f");
    assert!(nobody(&scene, "echo x >> f"));
    assert_eq!(scene.join("f").metadata().unwrap().mode() & 0o7777, 0o777);
    sh(&scene, "chmod 6755 f; chown nobody f");
    assert_eq!(scene.join("f").metadata().unwrap().mode() & 0o6000, 0);
    sh(&scene, "chown root f; chmod 6777 f");
    assert!(nobody(&scene, "truncate -s 3 f"));
    assert_eq!(scene.join("f").metadata().unwrap().mode() & 0o6000, 0);
    for command in ["fallocate -l 100 f", "fallocate -p -l 1 f"] {
        sh(&scene, "chmod 6777 f");
        assert!(nobody(&scene, command));
        assert_eq!(
            scene.join("f").metadata().unwrap().mode() & 0o6000,
            0,
            "{command}"
        );
    }
}

// S7
#[test]
fn sticky_and_set_gid_directories() {
    let scene = Scene::new();
    std::fs::set_permissions(scene.path(), PermissionsExt::from_mode(0o755)).unwrap();
    sh(
        &scene,
        "mkdir -m 1777 sticky; mkdir -m 2777 group; chgrp 4242 group; chmod g+s group; echo x > sticky/roots",
    );
    assert!(!nobody(&scene, "rm -f sticky/roots") && !nobody(&scene, "mv sticky/roots sticky/other"));
    assert!(nobody(
        &scene,
        "echo x > sticky/own && mv sticky/own sticky/own2 && rm sticky/own2"
    ));
    assert!(nobody(&scene, "umask 0; echo x > group/f; mkdir group/d"));
    assert_eq!(scene.join("group/f").metadata().unwrap().gid(), 4242);
    let made = scene.join("group/d").metadata().unwrap();
    assert_eq!((made.gid(), made.mode() & 0o2000), (4242, 0o2000));
}
