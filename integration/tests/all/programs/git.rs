//! git: clone, commit, branch, gc, fsck, and a clone back to the local disk.
use crate::Scene;
use integration::script;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn git_works_and_its_repositories_are_sound() {
    let mut scene = Scene::new();
    let local = scene.room.folder("local");
    let setup = "git config --global user.name t; git config --global user.email t@t
                 git config --global init.defaultBranch main; git config --global safe.directory '*'\n";
    script::run(
        &local,
        LIMIT,
        &format!(
            "export HOME={}\n{setup}
             git init -q origin; cd origin
             for d in a b c; do mkdir $d; for n in $(seq 150); do seq $n 3 900 > $d/f$n; done; done
             git add -A; git commit -qm first; seq 5000 > a/f1; git commit -qam second",
            scene.room.path().display()
        ),
    );
    let on_mount = format!(
        "export HOME={home}
         git clone -q {local}/origin clone; cd clone; git fsck --strict
         for n in $(seq 40); do echo $n >> b/f$n; git add b/f$n; done; git commit -qm third
         git checkout -qb side HEAD~1; echo side > c/side; git add -A; git commit -qm side
         git checkout -q main; git merge -q -m merged side
         test -z \"$(git status --porcelain)\"
         git gc -q --aggressive --prune=now; git fsck --strict; git count-objects -v | grep -q 'count: 0'",
        home = scene.room.path().display(),
        local = local.display()
    );
    script::run(scene.path(), LIMIT, &on_mount);
    scene.mount.remount();
    let back = format!(
        "export HOME={home}
         test -z \"$(git -C {mount}/clone status --porcelain)\"; git -C {mount}/clone fsck --strict
         git clone -q {mount}/clone back; diff -r --exclude=.git {mount}/clone back",
        home = scene.room.path().display(),
        mount = scene.path().display()
    );
    script::run(&local, LIMIT, &back);
    script::run(scene.path(), LIMIT, "rm -rf clone; test -z \"$(ls -A)\"");
}
