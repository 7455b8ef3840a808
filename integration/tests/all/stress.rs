//! Two mounts that do everything at once to the same few files, with application locks: nothing may wait for something
//! that waits for it, and what the locks protect must add up. DFS_TEST_SECONDS makes a soak of it.
use crate::Scene;
use crate::mappings::Map;
use integration::figures::Figures;
use integration::{Cluster, Mount, Room, Setup, sys};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WORKERS: usize = 3;
const USUAL: Duration = Duration::from_secs(12);
/// Longer than any call takes when nothing waits in a circle, shorter than what breaks a circle up.
const LONGEST: Duration = Duration::from_secs(8);
const TERM: &str = "5s";
const NAMES: u32 = 6;
const LARGE: u64 = 1 << 20;
/// Errors that other workers' doings explain.
const EXPECTED: [i32; 6] = [
    libc::ENOENT,
    libc::EEXIST,
    libc::ENOTEMPTY,
    libc::ENOTDIR,
    libc::EISDIR,
    libc::ESTALE,
];

#[derive(Default)]
struct Tally {
    counted: AtomicU64,
    appended: AtomicU64,
    calls: AtomicU64,
    longest: AtomicU64,
}

struct Worker {
    root: PathBuf,
    random: StdRng,
    tally: Arc<Tally>,
    last: &'static str,
}

fn duration() -> Duration {
    let given = std::env::var("DFS_TEST_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    given.map_or(USUAL, Duration::from_secs)
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn flock(file: &File, how: i32) -> std::io::Result<()> {
    // SAFETY: the descriptor is open as long as the file.
    sys::check(unsafe { libc::flock(file.as_raw_fd(), how) }).map(drop)
}

/// An open file description's lock on one byte; waits for it.
fn lock_byte(file: &File, kind: i32) -> std::io::Result<()> {
    // SAFETY: flock is plain numbers, and outlives the call.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        (lock.l_type, lock.l_len) = (kind as i16, 1);
        sys::check(libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw mut lock)).map(drop)
    }
}

impl Worker {
    fn name(&mut self) -> PathBuf {
        self.root.join(format!("n{}", self.random.random_range(0..NAMES)))
    }

    /// Reads, adds one and writes under a lock: none may be lost.
    fn count(&mut self) -> std::io::Result<()> {
        self.last = "count";
        let file = open(&self.root.join("counter"))?;
        let by_range = self.random.random_bool(0.5);
        flock(&file, libc::LOCK_EX)?;
        if by_range {
            lock_byte(&file, libc::F_WRLCK)?;
        }
        let mut number = [0; 8];
        let got = file.read_at(&mut number, 0)?;
        assert!(got == 8 || got == 0, "a torn counter of {got} bytes");
        let next = u64::from_le_bytes(number) + 1;
        file.write_all_at(&next.to_le_bytes(), 0)?;
        self.tally.counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn append(&mut self) -> std::io::Result<()> {
        self.last = "append";
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(self.root.join("log"))?;
        file.write_all(b"0123456789abcde\n")?;
        self.tally.appended.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn names(&mut self) -> std::io::Result<()> {
        self.last = "names";
        let (a, b) = (self.name(), self.name());
        match self.random.random_range(0..6) {
            0 => File::create_new(a).map(drop),
            1 => std::fs::rename(a, b),
            2 => std::fs::remove_file(a),
            3 => std::fs::hard_link(a, b),
            4 => std::fs::read_dir(&self.root)?.try_for_each(|entry| entry.map(drop)),
            _ => a.metadata().map(drop),
        }
    }

    fn content(&mut self) -> std::io::Result<()> {
        self.last = "content";
        let file = open(&self.name())?;
        let at = self.random.random_range(0..LARGE);
        let bytes = vec![7; self.random.random_range(1..30_000)];
        match self.random.random_range(0..5) {
            0 => file.write_all_at(&bytes, at),
            1 => file.read_at(&mut vec![0; 100_000], at).map(drop),
            2 => file.set_len(at),
            3 => file.sync_all(),
            _ => {
                for part in 0..8 {
                    file.write_all_at(&bytes[..bytes.len().min(300)], at + part * 300)?;
                }
                Ok(())
            }
        }
    }

    /// Stores and loads through a mapping of a file that nobody cuts; opened for appending, its calls are direct, and setting
    /// its size, though it changes nothing, holds back what the kernel would write.
    fn mapping(&mut self) -> std::io::Result<()> {
        self.last = "mapping";
        let path = self.root.join("mapped");
        let direct = self.random.random_bool(0.25);
        let file = match direct {
            true => File::options().read(true).append(true).open(&path)?,
            false => open(&path)?,
        };
        let mut map = Map::new(&file, LARGE as usize, libc::MAP_SHARED);
        let at = self.random.random_range(0..LARGE as usize);
        if self.random.random_bool(0.5) {
            map.bytes()[at] = 1;
            map.sync();
        }
        std::hint::black_box(map.bytes()[LARGE as usize - 1 - at]);
        if self.random.random_bool(0.25) {
            map.bytes()[at / 2] = 2;
            file.set_len(LARGE)?;
        }
        match direct {
            true => Ok(()),
            false => file.write_all_at(b"call", at as u64 / 2),
        }
    }

    fn work(mut self, until: Instant) {
        while Instant::now() < until {
            let begun = Instant::now();
            let outcome = match self.random.random_range(0..10) {
                0..=1 => self.count(),
                2 => self.append(),
                3..=5 => self.names(),
                6..=8 => self.content(),
                _ => self.mapping(),
            };
            let took = begun.elapsed();
            if let Err(e) = outcome {
                let known = e.raw_os_error().is_some_and(|errno| EXPECTED.contains(&errno));
                assert!(known, "{}: {e}", self.last);
            }
            assert!(took < LONGEST, "{} took {took:?}", self.last);
            self.tally.calls.fetch_add(1, Ordering::Relaxed);
            self.tally
                .longest
                .fetch_max(took.as_millis() as u64, Ordering::Relaxed);
        }
    }
}

// S10, S20, S21, S23
#[test]
fn everything_at_once_on_two_mounts_waits_for_nothing_in_a_circle() {
    let room = Room::new();
    let coordinator_flags = ["--lease-term", TERM, "--gc-delay", TERM]
        .map(String::from)
        .to_vec();
    let setup = Setup {
        coordinator_flags,
        ..Setup::default()
    };
    let cluster = Cluster::with(room.path(), &setup);
    let mount = Mount::new(&cluster, room.path(), "mnt");
    let scene = Scene { mount, cluster, room };
    let second = scene.second();
    std::fs::create_dir(scene.join("s")).unwrap();
    open(&scene.join("s/mapped")).unwrap().set_len(LARGE).unwrap();
    let tally = Arc::new(Tally::default());
    let until = Instant::now() + duration();
    let workers: Vec<_> = (0..2 * WORKERS)
        .map(|n| {
            let worker = Worker {
                root: [scene.path(), second.path()][n % 2].join("s"),
                random: StdRng::seed_from_u64(rand::rng().random()),
                tally: tally.clone(),
                last: "",
            };
            std::thread::Builder::new()
                .spawn(move || worker.work(until))
                .unwrap()
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let figures = Figures::of(scene.cluster.coordinator.metrics);
    let revoked = figures.sum("dfs_coordinator_leases_revoked_total", "");
    let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
    println!(
        "{} calls, the longest {} ms; {} counted, {} appended, {} recalls",
        of(&tally.calls),
        of(&tally.longest),
        of(&tally.counted),
        of(&tally.appended),
        figures.sum("dfs_coordinator_recalls_total", "")
    );
    assert_eq!(revoked, 0.0, "a lease had to be taken from a living mount");
    for root in [scene.join("s"), second.join("s")] {
        let counter = std::fs::read(root.join("counter")).unwrap();
        assert_eq!(
            counter,
            of(&tally.counted).to_le_bytes(),
            "increments under a lock were lost"
        );
        let log = std::fs::read(root.join("log")).unwrap();
        assert_eq!(log.len() as u64, of(&tally.appended) * 16);
        assert!(log.chunks(16).all(|line| line == b"0123456789abcde\n"));
    }
    scene.cluster.assert_clean();
}
