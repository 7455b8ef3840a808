//! A datanode that is stopped, killed or cut off under load: no call waits a second longer than it would have. The
//! same load runs before and during the fault, so that a slow machine is not taken for a fault of ours.
use crate::Scene;
use integration::{Cluster, Mount, Network, Room, Setup, patience};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// More than the mount's memory for content below: random reads are cold.
const COLD: usize = 64 * MIB;
const OPTIONS: &str = "allow_other,buffer-size=16";
/// What a call may wait longer than usual.
const LONGER: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(90);

const CONTROL: Duration = Duration::from_secs(4);
const AFTERWARDS: Duration = Duration::from_secs(2);

/// DFS_TEST_FROZEN_SECONDS makes the fault longer.
fn fault(usual: u64) -> Duration {
    let asked = std::env::var("DFS_TEST_FROZEN_SECONDS").ok();
    Duration::from_secs(asked.and_then(|seconds| seconds.parse().ok()).unwrap_or(usual))
}

type Times = BTreeMap<(usize, &'static str), Vec<Duration>>;

/// What the load does: until it is told to end, each thread does one kind of call after another and notes how long
/// each took, and in which part of the test it began.
struct Load {
    part: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    times: Arc<Mutex<Times>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(dir: &Path) -> Self {
        let mut load = Self {
            part: Arc::default(),
            ended: Arc::default(),
            times: Arc::default(),
            threads: Vec::new(),
        };
        for n in 0..2 {
            let file = cold(&dir.join("cold"));
            let mut place = n * 7919 * 4096;
            load.thread("cold read of 256 KiB", move || {
                place = (place + 9_437_189 * 4096) % (COLD - MIB) / 4096 * 4096;
                let mut content = AlignedBlock::new();
                file.read_exact_at(content.bytes(), place as u64)?;
                assert!(
                    content
                        .bytes()
                        .iter()
                        .all(|byte| *byte == (place >> 20) as u8 || *byte == (place >> 20) as u8 + 1)
                );
                Ok(())
            });
        }
        for n in 0..2 {
            let mut file = File::create(dir.join(format!("small-{n}"))).unwrap();
            load.thread("write of 4 KiB and fsync", move || {
                file.write_all(&[n as u8; 4096])?;
                file.sync_data()
            });
        }
        let large = dir.join("large");
        load.thread("write of 24 MiB and fsync", move || {
            let mut file = File::create(&large)?;
            file.write_all(&vec![7; 24 * MIB])?;
            file.sync_all()
        });
        let dir = dir.to_owned();
        let mut number = 0;
        load.thread("new file, fsync, read, unlink", move || {
            number += 1;
            cycle(&dir.join(format!("file-{number}")))
        });
        load
    }

    fn thread(&mut self, what: &'static str, mut call: impl FnMut() -> std::io::Result<()> + Send + 'static) {
        let (part, ended, times) = (self.part.clone(), self.ended.clone(), self.times.clone());
        let work = move || {
            while !ended.load(Ordering::SeqCst) {
                let (part, begun) = (part.load(Ordering::SeqCst), Instant::now());
                call().unwrap_or_else(|error| panic!("{what}: {error}"));
                let mut times = times.lock().unwrap();
                times.entry((part, what)).or_default().push(begun.elapsed());
            }
        };
        let thread = std::thread::Builder::new().name(what.to_owned()).spawn(work);
        self.threads.push(thread.unwrap());
    }

    fn run(&self, part: usize, time: Duration) {
        self.part.store(part, Ordering::SeqCst);
        std::thread::sleep(time);
    }

    /// Prints and judges: part 0 is the usual, part 1 the fault, part 2 what follows.
    fn end(self) {
        self.ended.store(true, Ordering::SeqCst);
        for thread in self.threads {
            patience::within("the load ends", RECOVERY, move || thread.join()).expect("a call failed");
        }
        let mut times = std::mem::take(&mut *self.times.lock().unwrap());
        let mut worst = Vec::new();
        for ((part, what), times) in &mut times {
            times.sort_unstable();
            let at = |part: usize| times[(times.len() - 1) * part / 100].as_millis();
            let name = ["before", "during", "after"][*part];
            println!(
                "{name:>6} {what:<30} {:>5} calls, p50 {} ms, p99 {} ms, max {} ms",
                times.len(),
                at(50),
                at(99),
                at(100)
            );
            worst.push(((*part, *what), *times.last().unwrap()));
        }
        let worst: BTreeMap<_, _> = worst.into_iter().collect();
        for ((part, what), longest) in &worst {
            let usual = worst.get(&(0, what)).copied().unwrap_or_default();
            // What the machine did to the longest call before, it may do again.
            let bound = LONGER + usual * 2;
            assert!(
                *part == 0 || *longest <= bound,
                "{what}: a call took {longest:?} with a node gone, {usual:?} before"
            );
            assert!(
                worst.contains_key(&(1, what)),
                "{what}: no call ended during the fault"
            );
        }
    }
}

/// Memory that O_DIRECT accepts.
struct AlignedBlock(Vec<u8>);

impl AlignedBlock {
    const LEN: usize = 256 << 10;

    fn new() -> Self {
        Self(vec![0; Self::LEN + 4096])
    }

    fn bytes(&mut self) -> &mut [u8] {
        let from = self.0.as_ptr().align_offset(4096);
        &mut self.0[from..from + Self::LEN]
    }
}

/// Reads go past the kernel's cache.
fn cold(path: &Path) -> File {
    File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .unwrap()
}

fn cycle(path: &PathBuf) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(b"content")?;
    file.sync_all()?;
    assert_eq!(std::fs::read(path)?, b"content");
    std::fs::remove_file(path)
}

fn fill(scene: &Scene) {
    let content: Vec<u8> = (0..COLD).map(|at| (at >> 20) as u8).collect();
    std::fs::write(scene.join("cold"), content).unwrap();
    File::open(scene.join("cold")).unwrap().sync_all().unwrap();
}

/// All copies are made again and right.
fn whole(scene: &Scene) {
    let clean = || scene.cluster.dfs(&["fsck"]).status.success();
    patience::until_true("missing copies are made again", RECOVERY, clean);
}

fn scene(setup: &Setup) -> Scene {
    let room = Room::new();
    let cluster = Cluster::with(room.path(), setup);
    let mount = Mount::with(&cluster, room.path(), "mnt", "", OPTIONS);
    let scene = Scene { mount, cluster, room };
    fill(&scene);
    scene
}

// S25
#[test]
fn a_stopped_datanode_delays_no_call_by_a_second() {
    let mut scene = scene(&Setup::default());
    let load = Load::start(scene.path());
    load.run(0, CONTROL);
    scene.cluster.datanodes[0].process().freeze();
    load.run(1, fault(7));
    scene.cluster.datanodes[0].process().thaw();
    load.run(2, AFTERWARDS);
    load.end();
    whole(&scene);
}

// S25
#[test]
fn a_killed_datanode_delays_no_call_by_a_second() {
    let mut scene = scene(&Setup::default());
    let load = Load::start(scene.path());
    load.run(0, CONTROL);
    scene.cluster.datanodes[1].kill();
    load.run(1, fault(4));
    scene.cluster.datanodes[1].restart();
    load.run(2, AFTERWARDS);
    load.end();
    whole(&scene);
}

// S25
#[test]
fn a_datanode_behind_a_cut_cable_delays_no_call_by_a_second() {
    let setup = Setup {
        network: Some(Network::new()),
        ..Setup::default()
    };
    let scene = scene(&setup);
    let network = scene.cluster.network.clone().unwrap();
    let load = Load::start(scene.path());
    load.run(0, CONTROL);
    network.isolate("datanode-3");
    load.run(1, fault(6));
    network.heal_all();
    load.run(2, AFTERWARDS);
    load.end();
    whole(&scene);
}
