//! Bits that flip on a datanode's disk, many of them, in content and in headers: readers get the right bytes all the
//! while, and every copy is made again, also of what nobody reads.
use crate::Scene;
use integration::{Cluster, Mount, Room, Setup, patience};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const RECOVERY: Duration = Duration::from_secs(90);
const MIB: usize = 1 << 20;
const FILES: usize = 24;
/// One flipped bit for so many bytes: several in each chunk.
const EVERY: u64 = 200_003;

fn content(n: usize) -> Vec<u8> {
    (0..MIB + n * 1000)
        .map(|at| (at / 7 + at / 4099 + n * 31) as u8)
        .collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                segments(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect()
}

/// Flips bits all over the chunks, behind the first page of each segment; how many.
fn flip(dir: &Path) -> usize {
    let mut flipped = 0;
    for path in segments(dir) {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let end = file.metadata().unwrap().len();
        let mut at = 4096 + 60;
        let mut byte = [0];
        while at < end && file.read_exact_at(&mut byte, at).is_ok() {
            file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
            flipped += 1;
            at += EVERY;
        }
    }
    flipped
}

/// Reads whole files past the kernel's cache, again and again; how many were read.
fn readers(dir: &Path, end: &Arc<AtomicBool>, count: &Arc<AtomicUsize>) -> Vec<std::thread::JoinHandle<()>> {
    let reader = |first: usize| {
        let (dir, end, count) = (dir.to_owned(), end.clone(), count.clone());
        let work = move || {
            // The files of the second half are read by nobody.
            for n in (0..FILES / 2).cycle().skip(first) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let wanted = content(n);
                let file = File::options()
                    .read(true)
                    .custom_flags(libc::O_DIRECT)
                    .open(dir.join(format!("f{n}")))
                    .unwrap();
                let mut got = vec![0; wanted.len() + 8192];
                let from = got.as_ptr().align_offset(4096);
                let mut len = 0;
                while len < wanted.len() {
                    let part = (len + 65_536).min(wanted.len().next_multiple_of(4096));
                    let more = file.read_at(&mut got[from + len..from + part], len as u64);
                    len += more.expect("reading goes on");
                }
                assert!(got[from..from + wanted.len()] == wanted, "f{n} is wrong");
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        std::thread::Builder::new()
            .name(format!("reader-{first}"))
            .spawn(work)
            .unwrap()
    };
    [0, 5].map(reader).into()
}

// S26
#[test]
fn many_flipped_bits_are_never_read_and_all_copies_are_made_again() {
    let room = Room::new();
    let setup = Setup {
        datanode_flags: ["--scrub-period", "3s"].map(String::from).to_vec(),
        ..Setup::default()
    };
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::with(&cluster, room.path(), "mnt", "", "allow_other,buffer-size=16");
    let scene = Scene { mount, cluster, room };
    for n in 0..FILES {
        std::fs::write(scene.join(&format!("f{n}")), content(n)).unwrap();
        File::open(scene.join(&format!("f{n}")))
            .unwrap()
            .sync_all()
            .unwrap();
    }
    scene.cluster.assert_clean();
    let (end, count) = (Arc::default(), Arc::default());
    let readers = readers(scene.path(), &end, &count);
    let flipped = flip(&scene.cluster.datanodes[1].data);
    assert!(flipped >= FILES * 5, "only {flipped} bits");
    assert!(
        !scene.cluster.dfs(&["fsck"]).status.success(),
        "fsck sees the damage"
    );
    let healed = || scene.cluster.dfs(&["fsck"]).status.success();
    patience::until_true("all copies are made again", RECOVERY, healed);
    let seen = count.load(Ordering::SeqCst);
    patience::until_true("the readers go on", RECOVERY, || {
        count.load(Ordering::SeqCst) > seen + FILES
    });
    end.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.join().expect("right bytes, always");
    }
    println!("{flipped} flipped bits, {} reads", count.load(Ordering::SeqCst));
}

// S26
#[test]
fn a_copy_that_nobody_reads_is_found_by_the_scrub() {
    let room = Room::new();
    let setup = Setup {
        datanode_flags: ["--scrub-period", "2s"].map(String::from).to_vec(),
        // The inventory does not look: what is found is found by the scrub.
        coordinator_flags: ["--inventory-interval", "1h"].map(String::from).to_vec(),
        ..Setup::default()
    };
    let mut cluster = Cluster::with(room.path(), &setup);
    let mut mount = Mount::new(&cluster, room.path(), "mnt");
    std::fs::write(mount.join("f"), content(1)).unwrap();
    File::open(mount.join("f")).unwrap().sync_all().unwrap();
    mount.unmount();
    assert!(flip(&cluster.datanodes[0].data) > 0);
    let repaired = || cluster.datanodes[0].process().log().contains("repaired");
    patience::until_true("the scrub has the copy replaced", RECOVERY, repaired);
    patience::until_true("all is well", RECOVERY, || {
        cluster.dfs(&["fsck"]).status.success()
    });
    // The healed copy carries the file alone.
    cluster.datanodes[1].kill();
    cluster.datanodes[2].kill();
    mount.mount();
    assert!(std::fs::read(mount.join("f")).unwrap() == content(1));
}
