//! tar, rsync, cp and fio: what goes in comes out, with all that belongs to a file.
use crate::Scene;
use integration::script;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(240);

/// A tree with everything that an archive must keep.
const TREE: &str = "
mkdir -p tree/deep/er tree/empty
for n in $(seq 200); do head -c $((n * 331)) /dev/urandom > tree/deep/f$n; done
head -c 3000000 /dev/urandom > tree/large
ln tree/large tree/deep/er/link; ln tree/deep/f1 tree/hard
ln -s ../large tree/deep/soft; ln -s nowhere tree/dangling
truncate -s 40M tree/sparse; printf middle | dd of=tree/sparse bs=1 seek=20000000 conv=notrunc status=none
setfattr -n user.note -v 'kept' tree/large; setfattr -n user.note -v 'dir' tree/deep
setfacl -m u:nobody:r tree/deep/f2; setfacl -m d:g:nogroup:rx tree/empty
mkfifo tree/fifo; mknod tree/device c 1 3
chmod 4751 tree/deep/f3; chown 1234:5678 tree/deep/f4; chmod 1777 tree/empty
touch -d '2001-02-03 04:05:06.789012345' tree/deep/f5 tree/deep
";

/// Everything about a tree except inode numbers and the sizes of directories.
const DESCRIBE: &str = "
describe() { (cd $1; find . -printf '%P %y %m %U %G %n %l %T@ ' \\( -type d -printf '\\n' -o -printf '%s\\n' \\) | sort
  find . -type f -print0 | sort -z | xargs -0 sha256sum; find . -print0 | sort -z | xargs -0 getfattr -h -d -m '^user' 2>/dev/null
  find . ! -type l -print0 | sort -z | xargs -0 getfacl -n 2>/dev/null) }
same() { diff <(describe $1) <(describe $2); }
";

#[test]
fn tar_and_rsync_keep_everything() {
    let mut scene = Scene::new();
    let local = scene.room.folder("local");
    script::run(&local, LIMIT, TREE);
    let mount = scene.path().display().to_string();
    let script = format!(
        "{DESCRIBE}
         tar --xattrs --xattrs-include='*' --acls -S -cf tree.tar tree
         mkdir {mount}/tar; tar --xattrs --xattrs-include='*' --acls -xpf tree.tar -C {mount}/tar; same tree {mount}/tar/tree
         rsync -aHAXS --modify-window=-1 --numeric-ids tree {mount}/rsync/; same tree {mount}/rsync/tree
         cp -a --sparse=always tree {mount}/cp; same tree {mount}/cp
         test $(du -k {mount}/cp/sparse | cut -f1) -lt 2000"
    );
    script::run(&local, LIMIT, &script);
    scene.mount.remount();
    let back = format!(
        "{DESCRIBE}
         same tree {mount}/tar/tree
         test -z \"$(rsync -aHAXSn --modify-window=-1 --checksum --itemize-changes --numeric-ids tree {mount}/rsync/)\"
         mkdir back; tar --xattrs --xattrs-include='*' --acls -S -cf - -C {mount}/tar tree | tar --xattrs --xattrs-include='*' --acls -xpf - -C back
         same tree back/tree
         rsync -aHAXS --modify-window=-1 --numeric-ids {mount}/rsync/tree again/; same tree again/tree
         rm -rf {mount}/tar {mount}/rsync {mount}/cp; test -z \"$(ls -A {mount})\""
    );
    script::run(&local, LIMIT, &back);
    scene.cluster.assert_clean();
}

#[test]
fn fio_verifies_what_it_wrote() {
    let scene = Scene::new();
    for (name, engine, direct) in [
        ("calls", "psync", 0),
        ("mapped", "mmap", 0),
        ("direct", "psync", 1),
        ("ring", "io_uring", 0),
    ] {
        let job = format!(
            "fio --name={name} --filename={name} --rw=randrw --rwmixread=30 --bsrange=4k-64k --bs_unaligned=0 --size=24m --io_size=32m \
             --ioengine={engine} --direct={direct} --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=64 \
             --fallocate=none --randseed=7 --output-format=terse > {}/fio-{name}.log 2>&1 || {{ cat {}/fio-{name}.log; exit 1; }}",
            scene.room.path().display(),
            scene.room.path().display()
        );
        script::run(scene.path(), LIMIT, &job);
    }
}
