//! What it costs to work in turns on two mounts, against what the same durable steps cost on one.
use crate::Scene;
use integration::figures::Figures;
use integration::{Mount, patience};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const TURNS: usize = 60;
/// A turn is a flush of the other mount's bytes and a few messages: so many times an append with its own fsync.
const FACTOR: u32 = 4;
/// For a machine that does other things.
const SLACK: Duration = Duration::from_millis(25);

/// Longer than what a mount keeps for later without a hurry.
const SILENCE: Duration = Duration::from_secs(2);
const SILENCE_LIMIT: Duration = Duration::from_secs(40);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn appender(mount: &Path, name: &str) -> File {
    File::options()
        .append(true)
        .create(true)
        .open(mount.join(name))
        .unwrap()
}

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

// S10, S20
#[test]
fn appending_in_turns_costs_a_few_round_trips() {
    let scene = Scene::new();
    let second = scene.second();
    let mut alone = appender(scene.path(), "alone");
    let append = |file: &mut File, n: usize| file.write_all(format!("{n:09}\n").as_bytes()).unwrap();
    let durable = (0..TURNS).map(|n| {
        timed(|| {
            append(&mut alone, n);
            alone.sync_data().unwrap();
        })
    });
    let durable = median(durable.collect());
    let mut both = [appender(scene.path(), "log"), appender(second.path(), "log")];
    let turns = median(
        (0..TURNS)
            .map(|n| timed(|| append(&mut both[n % 2], n)))
            .collect(),
    );
    let text = std::fs::read_to_string(scene.join("log")).unwrap();
    let wanted: String = (0..TURNS).map(|n| format!("{n:09}\n")).collect();
    assert!(text == wanted, "{text}");
    // Through the kernel's pages, at places that are known.
    let both = [scene.path(), second.path()]
        .map(|mount| File::options().write(true).open(mount.join("log")).unwrap());
    let write =
        |n: usize| std::os::unix::fs::FileExt::write_all_at(&both[n % 2], b"x", n as u64 * 10).unwrap();
    let writes = median((0..TURNS).map(|n| timed(|| write(n))).collect());
    println!("append with fsync on one mount {durable:?}, a turn of appends {turns:?}, of writes {writes:?}");
    for turn in [turns, writes] {
        assert!(
            turn < durable * FACTOR + SLACK,
            "a turn costs {turn:?}, an append with fsync {durable:?}"
        );
    }
}

/// Calls that clients have made.
fn calls(scene: &Scene) -> f64 {
    Figures::of(scene.cluster.coordinator.metrics).sum("dfs_coordinator_call_seconds_count", "")
}

// S20
#[test]
fn what_did_not_change_is_seen_again_without_a_question() {
    let scene = Scene::new();
    let second = scene.second();
    std::fs::create_dir(scene.join("d")).unwrap();
    for n in 0..20 {
        std::fs::write(scene.join(&format!("d/f{n}")), vec![n; 200_000]).unwrap();
    }
    let look = |mount: &Path| {
        for n in 0..20u8 {
            let path = mount.join(format!("d/f{n}"));
            assert_eq!(path.metadata().unwrap().len(), 200_000);
            assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == n));
            assert!(!mount.join(format!("d/none{n}")).exists());
        }
    };
    let look = || [scene.path(), second.path()].iter().for_each(|mount| look(mount));
    look();
    // Access times that these reads moved are told within a moment; then nothing is left to say.
    let mut before = calls(&scene);
    patience::until_true("the mounts fall silent", SILENCE_LIMIT, || {
        std::thread::sleep(SILENCE);
        look();
        before == std::mem::replace(&mut before, calls(&scene))
    });
    for _ in 0..20 {
        look();
    }
    assert_eq!(
        calls(&scene),
        before,
        "2,400 looks, opens and reads asked the coordinator"
    );
}

// S10, S20
#[test]
fn two_mounts_that_append_without_pause_share_the_file() {
    let scene = Scene::new();
    let second = scene.second();
    let begun = Instant::now();
    let writers = [scene.path(), second.path()].map(|mount| {
        let mut file = appender(mount, "log");
        std::thread::Builder::new()
            .spawn(move || {
                let mut most = Duration::ZERO;
                for n in 0..300 {
                    most = most.max(timed(|| file.write_all(format!("{n:09}\n").as_bytes()).unwrap()));
                }
                most
            })
            .unwrap()
    });
    let most = writers.map(|writer| writer.join().unwrap());
    println!("600 appends in {:?}, the longest {most:?}", begun.elapsed());
    let text = std::fs::read_to_string(scene.join("log")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    assert!(
        lines.len() == 600 && lines.iter().all(|line| line.len() == 9),
        "{}",
        lines.len()
    );
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 300);
}

// S20
#[test]
fn what_one_mount_makes_the_other_finds_at_the_cost_of_a_few_round_trips() {
    // What a mount makes by itself asks nobody: turns are compared with calls.
    let options = "allow_other,wsync";
    let scene = Scene::with(options);
    let second = Mount::with(&scene.cluster, scene.room.path(), "mnt-2", "", options);
    std::fs::create_dir(scene.join("d")).unwrap();
    let own = median(
        (0..TURNS)
            .map(|n| timed(|| drop(File::create(scene.join(&format!("d/own-{n}"))).unwrap())))
            .collect(),
    );
    let (mut makes, mut looks) = (Vec::new(), Vec::new());
    for n in 0..TURNS {
        let (here, there) = [(scene.path(), second.path()), (second.path(), scene.path())][n % 2];
        let name = format!("d/f-{n}");
        assert!(!there.join(&name).exists());
        makes.push(timed(|| drop(File::create(here.join(&name)).unwrap())));
        looks.push(timed(|| assert!(there.join(&name).exists())));
    }
    let (makes, looks) = (median(makes), median(looks));
    println!(
        "create on one mount {own:?}; in turns with a look from the other {makes:?}, the look {looks:?}"
    );
    assert!(
        makes < own * FACTOR + SLACK && looks < own * FACTOR + SLACK,
        "{own:?} {makes:?} {looks:?}"
    );
}
