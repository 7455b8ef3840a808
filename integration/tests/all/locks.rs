//! fcntl, flock and open-file-description locks, on one mount and between two; blocked callers stay killable.
use crate::Scene;
use integration::{patience, process::Process, sys};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);
/// Long enough that a lock which does not block would have been seen.
const PAUSE: Duration = Duration::from_millis(400);
/// How many lock and let go at once, and how often in all.
const LOCKERS: usize = 6;
const TURNS: u32 = 12_000;

fn file(path: &Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap()
}

fn flock(file: &File, how: i32) -> std::io::Result<()> {
    // SAFETY: the descriptor is open as long as the file.
    sys::check(unsafe { libc::flock(file.as_raw_fd(), how) }).map(drop)
}

fn range(kind: i32, start: i64, len: i64) -> libc::flock {
    // SAFETY: flock is plain numbers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as i16;
    lock.l_whence = libc::SEEK_SET as i16;
    lock.l_start = start;
    lock.l_len = len;
    lock
}

fn fcntl(file: &File, command: i32, lock: &mut libc::flock) -> std::io::Result<()> {
    // SAFETY: the lock outlives the call.
    sys::check(unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) }).map(drop)
}

/// Another process that takes a POSIX lock over the whole file by python's lockf, says so, and keeps it.
fn locker(scene: &Scene, path: &Path, name: &str) -> Process {
    let program = "import fcntl,sys,time\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX)\n\
                   print('locked',flush=True)\ntime.sleep(600)\n";
    let mut command = Command::new("python3");
    command.args(["-c", program]).arg(path);
    Process::start(name, &mut command, &scene.room.path().join(format!("{name}.log")))
}

fn has_lock(process: &Process) -> bool {
    process.log().contains("locked")
}

// S21
#[test]
fn flock_excludes_between_descriptors_and_between_mounts() {
    let scene = Scene::new();
    let second = scene.second();
    let a = file(&scene.join("f"));
    for path in [scene.join("f"), second.join("f")] {
        flock(&a, libc::LOCK_SH).unwrap();
        let b = file(&path);
        flock(&b, libc::LOCK_SH | libc::LOCK_NB).unwrap();
        assert_eq!(
            sys::errno(flock(&a, libc::LOCK_EX | libc::LOCK_NB)),
            libc::EWOULDBLOCK
        );
        flock(&b, libc::LOCK_UN).unwrap();
        flock(&a, libc::LOCK_EX | libc::LOCK_NB).unwrap();
        assert_eq!(
            sys::errno(flock(&b, libc::LOCK_SH | libc::LOCK_NB)),
            libc::EWOULDBLOCK
        );
        flock(&a, libc::LOCK_UN).unwrap();
    }
}

#[test]
fn a_blocked_flock_wakes_up_when_the_holder_closes() {
    let scene = Scene::new();
    let second = scene.second();
    for path in [scene.join("f"), second.join("f")] {
        let a = file(&scene.join("f"));
        flock(&a, libc::LOCK_EX).unwrap();
        let waiter = std::thread::Builder::new()
            .spawn(move || flock(&file(&path), libc::LOCK_EX))
            .unwrap();
        std::thread::sleep(PAUSE);
        assert!(!waiter.is_finished());
        drop(a);
        patience::until_true("the waiter has the lock", LIMIT, || waiter.is_finished());
        waiter.join().unwrap().unwrap();
    }
}

#[test]
fn posix_ranges_are_exact_and_getlk_names_the_holder() {
    let scene = Scene::new();
    let path = scene.join("f");
    let held = file(&path);
    fcntl(&held, libc::F_SETLK, &mut range(libc::F_WRLCK, 100, 100)).unwrap();
    fcntl(&held, libc::F_SETLK, &mut range(libc::F_UNLCK, 140, 20)).unwrap();
    // The same process never conflicts with itself: an OFD lock is another owner.
    let other = file(&path);
    for (start, len, free) in [
        (0, 100, true),
        (139, 1, false),
        (140, 20, true),
        (160, 1, false),
        (200, 0, true),
    ] {
        let mut lock = range(libc::F_WRLCK, start, len);
        let got = fcntl(&other, libc::F_OFD_SETLK, &mut lock);
        assert_eq!(got.is_ok(), free, "range {start}+{len}: {got:?}");
        fcntl(&other, libc::F_OFD_SETLK, &mut range(libc::F_UNLCK, start, len)).unwrap();
    }
    let mut question = range(libc::F_RDLCK, 0, 0);
    fcntl(&other, libc::F_OFD_GETLK, &mut question).unwrap();
    assert_eq!(
        (question.l_type, question.l_start, question.l_len),
        (libc::F_WRLCK as i16, 100, 40)
    );
    // Closing any descriptor of the file drops the process's POSIX locks.
    drop(file(&path));
    fcntl(&other, libc::F_OFD_SETLK, &mut range(libc::F_WRLCK, 0, 0)).unwrap();
}

/// Threads that open, lock and close again and again: the kernel gives the number of an open file that is gone to the
/// next one at once, while its end may still be on the way to us. Nobody may lose a lock to that.
fn one_at_a_time(lock: impl Fn(&File) -> std::io::Result<()> + Sync) {
    let scene = Scene::new();
    let second = scene.second();
    let paths = [scene.join("f"), second.join("f")];
    drop(file(&paths[0]));
    let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for worker in 0..LOCKERS {
            let (paths, lock, inside, turns) = (&paths, &lock, &inside, &turns);
            scope.spawn(move || {
                while turns.fetch_add(1, Ordering::Relaxed) < TURNS {
                    // Most on one mount, where open files follow one another.
                    let held = file(&paths[usize::from(worker == 0)]);
                    lock(&held).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
}

// S21
#[test]
fn no_flock_is_lost_to_an_open_file_that_is_gone() {
    one_at_a_time(|file| flock(file, libc::LOCK_EX));
}

// S21
#[test]
fn no_lock_of_an_open_file_is_lost_to_one_that_is_gone() {
    one_at_a_time(|file| fcntl(file, libc::F_OFD_SETLKW, &mut range(libc::F_WRLCK, 0, 1)));
}

// S21
#[test]
fn locks_of_an_open_file_end_with_its_last_close() {
    let scene = Scene::new();
    let second = scene.second();
    let path = scene.join("f");
    let held = file(&path);
    fcntl(&held, libc::F_OFD_SETLK, &mut range(libc::F_WRLCK, 0, 10)).unwrap();
    let copy = held.try_clone().unwrap();
    drop(held);
    let far = file(&second.join("f"));
    let try_far = || fcntl(&far, libc::F_OFD_SETLK, &mut range(libc::F_WRLCK, 5, 1));
    assert!(try_far().is_err(), "a copy of the descriptor keeps it");
    drop(copy);
    patience::until_true("the lock has gone with the open file", LIMIT, || {
        try_far().is_ok()
    });
}

// S21
#[test]
fn posix_locks_block_wake_and_die_with_their_process_on_both_mounts() {
    let scene = Scene::new();
    let second = scene.second();
    std::fs::write(scene.join("f"), "content").unwrap();
    let mut holder = locker(&scene, &scene.join("f"), "holder");
    patience::until_true("the holder has the lock", LIMIT, || has_lock(&holder));
    let near = locker(&scene, &scene.join("f"), "near");
    let mut far = locker(&scene, &second.join("f"), "far");
    std::thread::sleep(PAUSE);
    assert!(!has_lock(&near) && !has_lock(&far));
    // A blocked caller can be killed, and its wait goes with it.
    patience::until_true("the blocked process dies", LIMIT, || {
        far.signal(libc::SIGKILL);
        far.ended().is_some()
    });
    holder.kill();
    patience::until_true("the near waiter has the lock", LIMIT, || has_lock(&near));
    let again = locker(&scene, &second.join("f"), "again");
    std::thread::sleep(PAUSE);
    assert!(!has_lock(&again));
    drop(near);
    patience::until_true("the far waiter has the lock", LIMIT, || has_lock(&again));
}

// S21, S22
#[test]
fn a_dead_client_holds_no_lock_longer_than_its_lease() {
    let scene = Scene::new();
    let mut second = scene.second();
    let far = file(&second.join("f"));
    flock(&far, libc::LOCK_EX).unwrap();
    let near = file(&scene.join("f"));
    assert_eq!(
        sys::errno(flock(&near, libc::LOCK_EX | libc::LOCK_NB)),
        libc::EWOULDBLOCK
    );
    second.kill();
    drop(far);
    patience::until_true("the dead client's lock is free", LIMIT, || {
        flock(&near, libc::LOCK_EX | libc::LOCK_NB).is_ok()
    });
}

// S21
#[test]
fn locks_and_waits_for_them_outlive_a_restart_of_the_coordinator() {
    let mut scene = Scene::new();
    let second = scene.second();
    let held = file(&scene.join("f"));
    flock(&held, libc::LOCK_EX).unwrap();
    let path = second.join("f");
    let waiter = std::thread::Builder::new()
        .spawn(move || flock(&file(&path), libc::LOCK_EX))
        .unwrap();
    std::thread::sleep(PAUSE);
    scene.cluster.coordinator.restart();
    let other = file(&second.join("f"));
    assert_eq!(
        sys::errno(flock(&other, libc::LOCK_EX | libc::LOCK_NB)),
        libc::EWOULDBLOCK,
        "the holder has claimed it again"
    );
    assert!(!waiter.is_finished());
    flock(&held, libc::LOCK_UN).unwrap();
    patience::until_true("the waiter has the lock", LIMIT, || waiter.is_finished());
    waiter.join().unwrap().unwrap();
}

#[test]
fn a_deadlock_of_posix_locks_is_refused_or_ends_by_signal() {
    let scene = Scene::new();
    let program = "import fcntl,sys,time,signal,errno\nf=open(sys.argv[1],'r+')\na,b=int(sys.argv[2]),int(sys.argv[3])\n\
                   signal.signal(signal.SIGALRM,lambda *x:(_ for _ in ()).throw(InterruptedError()))\n\
                   fcntl.lockf(f,fcntl.LOCK_EX,1,a)\nprint('first',flush=True)\ntime.sleep(1)\nsignal.alarm(4)\n\
                   try:\n  fcntl.lockf(f,fcntl.LOCK_EX,1,b)\n  print('second',flush=True)\n\
                   except InterruptedError: print('interrupted',flush=True)\n\
                   except OSError as e: print(errno.errorcode[e.errno],flush=True)\n";
    std::fs::write(scene.join("f"), "content").unwrap();
    let start = |name: &str, a: &str, b: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", program]).arg(scene.join("f")).args([a, b]);
        Process::start(name, &mut command, &scene.room.path().join(name))
    };
    let mut both = [start("one", "0", "1"), start("two", "1", "0")];
    for process in &mut both {
        patience::until_true("the process ends", LIMIT, || process.ended().is_some());
    }
    let said = both[0].log() + &both[1].log();
    assert!(said.contains("EDEADL") || said.contains("interrupted"), "{said}");
}
