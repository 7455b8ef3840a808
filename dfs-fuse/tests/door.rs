//! The kernel's door on a real mount: the plain operations, interrupts, invalidation, unmounting. Needs /dev/fuse and
//! root, and fails without them.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod memory_fs;

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::thread::JoinHandleExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dfs_fuse::kernel::mount::{self, Attach, Detach};
use dfs_fuse::kernel::{Notice, Notifier, Serving, Session, Threads, mountinfo};
use memory_fs::MemoryFs;
use nix::mount::MsFlags;
use nix::sys::signal::Signal;

/// Promised: a killed caller is gone within this time.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

struct Mount {
    directory: tempfile::TempDir,
    fs: Arc<MemoryFs>,
    serving: Serving,
    notifier: Notifier,
}

impl Mount {
    fn new(valid: Duration, threads: Threads) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let attach = Attach {
            source: "dfs://test/door".into(),
            mountpoint: directory.path().to_path_buf(),
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            allow_other: true,
            default_permissions: true,
        };
        let fd = attach.mount().expect("these tests need /dev/fuse and root");
        let session = Session::negotiate(fd).unwrap();
        let notifier = session.notifier();
        let fs = Arc::new(MemoryFs::new(valid));
        let serving = session.serve(fs.clone(), threads).unwrap();
        Self {
            directory,
            fs,
            serving,
            notifier,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn unmount(&self) {
        mount::unmount(self.directory.path(), Detach::Clean).unwrap();
        self.serving.wait();
        assert_eq!(mount::find(self.directory.path()).unwrap(), None);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A failed test must not leave its mount behind.
        let _ = mount::unmount(self.directory.path(), Detach::Force);
    }
}

fn long() -> Duration {
    Duration::from_secs(3600)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills a child and says how long it took to go.
fn kill_and_time(child: &mut std::process::Child) -> Duration {
    let start = Instant::now();
    child.kill().unwrap();
    child.wait().unwrap();
    start.elapsed()
}

extern "C" fn nothing(_: libc::c_int) {}

/// Catches the signal without SA_RESTART, so that EINTR is seen.
fn catch(signal: Signal) {
    // SAFETY: all zeros is an action without flags; the function that it names does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        assert_eq!(
            libc::sigaction(signal as libc::c_int, &action, std::ptr::null_mut()),
            0
        );
    }
}

#[test]
fn plain_operations_reach_the_file_system_and_unmounting_ends_it() {
    let m = Mount::new(long(), Threads::default());
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    fs::write(m.path("file"), &content).unwrap();
    let stat = fs::metadata(m.path("file")).unwrap();
    assert_eq!((stat.size(), stat.blocks()), (3_000_000, 5860));
    assert_eq!(fs::read(m.path("file")).unwrap(), content);
    fs::create_dir(m.path("dir")).unwrap();
    for i in 0..500 {
        fs::write(m.path(&format!("dir/{i:03}")), [b'x'; 7]).unwrap();
    }
    let mut names: Vec<String> = fs::read_dir(m.path("dir"))
        .unwrap()
        .map(|e| {
            let e = e.unwrap();
            assert_eq!(e.metadata().unwrap().size(), 7);
            e.file_name().into_string().unwrap()
        })
        .collect();
    names.sort();
    assert_eq!(names, (0..500).map(|i| format!("{i:03}")).collect::<Vec<_>>());
    fs::remove_file(m.path("dir/007")).unwrap();
    assert!(!m.path("dir/007").exists());
    assert_eq!(
        fs::rename(m.path("file"), m.path("other"))
            .unwrap_err()
            .raw_os_error(),
        Some(libc::ENOSYS)
    );
    let mounted = mount::find(m.directory.path()).unwrap().unwrap();
    assert_eq!(
        (mounted.fstype.as_str(), mounted.source.to_str()),
        ("fuse.dfs", Some("dfs://test/door"))
    );
    m.unmount();
    assert!(fs::read_dir(m.directory.path()).unwrap().next().is_none());
}

#[test]
fn read_ahead_is_raised_and_a_remount_changes_flags_in_place() {
    let m = Mount::new(long(), Threads::default());
    let mounted = mount::find(m.directory.path()).unwrap().unwrap();
    mount::raise_read_ahead(&mounted).unwrap();
    let set = fs::read_to_string(format!("/sys/class/bdi/{}/read_ahead_kb", mounted.device)).unwrap();
    assert!(set.trim().parse::<u32>().unwrap() >= 1024, "{set}");
    mount::remount(m.directory.path(), MsFlags::MS_RDONLY).unwrap();
    assert_eq!(
        fs::write(m.path("x"), b"").unwrap_err().raw_os_error(),
        Some(libc::EROFS)
    );
    mount::remount(m.directory.path(), MsFlags::empty()).unwrap();
    fs::write(m.path("x"), b"").unwrap();
    let message = mount::check_mountpoint(m.directory.path(), false)
        .unwrap_err()
        .to_string();
    assert!(message.contains("is mounted already"), "{message}");
}

// S21
#[test]
fn a_signal_ends_the_wait_for_a_lock_with_eintr() {
    let m = Mount::new(long(), Threads::default());
    fs::write(m.path("locked"), b"").unwrap();
    let holder = fs::File::open(m.path("locked")).unwrap();
    assert_eq!(unsafe { libc::flock(holder.as_raw_fd(), libc::LOCK_EX) }, 0);
    catch(Signal::SIGALRM);
    let path = m.path("locked");
    let waiter = std::thread::Builder::new().name("waiter".into()).spawn(move || {
        let file = fs::File::open(path).unwrap();
        let rc = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
        (rc, std::io::Error::last_os_error().raw_os_error())
    });
    let waiter = waiter.unwrap();
    wait_until("a waiter for the lock", || m.fs.waiting() == 1);
    let start = Instant::now();
    assert_eq!(
        unsafe { libc::pthread_kill(waiter.as_pthread_t(), libc::SIGALRM) },
        0
    );
    assert_eq!(waiter.join().unwrap(), (-1, Some(libc::EINTR)));
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(m.fs.waiting(), 0);
}

#[test]
fn a_released_lock_goes_to_the_waiter_and_a_killed_waiter_dies() {
    let m = Mount::new(long(), Threads::default());
    fs::write(m.path("locked"), b"").unwrap();
    let holder = fs::File::open(m.path("locked")).unwrap();
    assert_eq!(unsafe { libc::flock(holder.as_raw_fd(), libc::LOCK_EX) }, 0);
    let wait = || {
        Command::new("flock")
            .arg(m.path("locked"))
            .arg("true")
            .spawn()
            .unwrap()
    };
    let mut killed = wait();
    wait_until("the first waiter", || m.fs.waiting() == 1);
    let took = kill_and_time(&mut killed);
    assert!(took < KILLED_WITHIN, "{took:?}");
    let mut granted = wait();
    wait_until("the second waiter", || m.fs.waiting() == 1);
    drop(holder);
    assert!(granted.wait().unwrap().success());
}

// S23
#[test]
fn a_killed_caller_leaves_a_blocked_operation_within_a_second() {
    let m = Mount::new(long(), Threads::default());
    fs::write(m.path("slow"), b"12345").unwrap();
    // The page cache would answer what was just written.
    m.notifier
        .and_wait([Notice::Inode {
            node: 2,
            offset: 0,
            len: 0,
        }])
        .unwrap();
    let mut reader = Command::new("cat")
        .arg(m.path("slow"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("a blocked read", || m.fs.blocked.load(Ordering::SeqCst) > 0);
    let took = kill_and_time(&mut reader);
    assert!(took < KILLED_WITHIN, "{took:?}");
    wait_until("no blocked read", || m.fs.blocked.load(Ordering::SeqCst) == 0);
    m.unmount();
}

#[test]
fn a_harmless_signal_does_not_end_a_read_but_a_later_kill_does() {
    let m = Mount::new(long(), Threads::default());
    fs::write(m.path("slow"), b"12345").unwrap();
    m.notifier
        .and_wait([Notice::Inode {
            node: 2,
            offset: 0,
            len: 0,
        }])
        .unwrap();
    let script = "trap : USR1; read line < \"$0\"";
    let mut reader = Command::new("bash")
        .arg("-c")
        .arg(script)
        .arg(m.path("slow"))
        .spawn()
        .unwrap();
    wait_until("a blocked read", || m.fs.blocked.load(Ordering::SeqCst) > 0);
    let pid = nix::unistd::Pid::from_raw(reader.id() as i32);
    nix::sys::signal::kill(pid, Signal::SIGUSR1).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(
        m.fs.blocked.load(Ordering::SeqCst) > 0,
        "a trapped signal ended the read"
    );
    let took = kill_and_time(&mut reader);
    assert!(took < KILLED_WITHIN, "{took:?}");
}

// S23
#[test]
fn more_blocked_callers_than_threads_can_all_be_killed_and_the_mount_lives() {
    let m = Mount::new(Duration::ZERO, Threads { idle: 2, limit: 3 });
    fs::write(m.path("slow"), b"12345").unwrap();
    m.notifier
        .and_wait([Notice::Inode {
            node: 2,
            offset: 0,
            len: 0,
        }])
        .unwrap();
    let start = |path: &Path| {
        Command::new("cat")
            .arg(path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    // Direct reads of one file do not wait for one another's page locks; distinct files stand in for that.
    let mut readers = vec![start(&m.path("slow"))];
    for i in 0..6 {
        fs::create_dir(m.path(&format!("d{i}"))).unwrap();
        fs::write(m.path(&format!("d{i}/slow")), b"12345").unwrap();
        let node = fs::metadata(m.path(&format!("d{i}/slow"))).unwrap().ino();
        m.notifier
            .and_wait([Notice::Inode {
                node,
                offset: 0,
                len: 0,
            }])
            .unwrap();
    }
    readers.extend((0..6).map(|i| start(&m.path(&format!("d{i}/slow")))));
    wait_until("all threads but one blocked", || {
        m.fs.blocked.load(Ordering::SeqCst) == 2
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(m.serving.threads() <= 3);
    for reader in &mut readers {
        let took = kill_and_time(reader);
        assert!(took < KILLED_WITHIN, "{took:?}");
    }
    assert_eq!(fs::metadata(m.path("slow")).unwrap().size(), 5);
    m.unmount();
}

#[test]
fn invalidation_makes_the_kernel_ask_again() {
    let m = Mount::new(long(), Threads::default());
    fs::write(m.path("file"), b"old").unwrap();
    let mut file = fs::File::open(m.path("file")).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    m.fs.overwrite(2, b"new");
    assert_eq!(
        fs::read(m.path("file")).unwrap(),
        b"old",
        "the kernel must believe its cache"
    );
    m.notifier
        .and_wait([Notice::Inode {
            node: 2,
            offset: 0,
            len: 0,
        }])
        .unwrap();
    assert_eq!(fs::read(m.path("file")).unwrap(), b"new");
    m.notifier
        .and_wait([Notice::Entry {
            parent: 1,
            name: b"file".to_vec(),
            expire: false,
        }])
        .unwrap();
    // A name and an inode that the kernel does not know count as dropped.
    let unknown = [
        Notice::Entry {
            parent: 1,
            name: b"never".to_vec(),
            expire: true,
        },
        Notice::Inode {
            node: 999,
            offset: 0,
            len: 0,
        },
        Notice::Delete {
            parent: 1,
            child: 2,
            name: b"file".to_vec(),
        },
        Notice::Epoch,
    ];
    m.notifier.and_wait(unknown).unwrap();
    assert_eq!(fs::metadata(m.path("file")).unwrap().size(), 3);
}

#[test]
fn xattr_sizes_and_ranges_follow_the_call() {
    let m = Mount::new(long(), Threads::default());
    fs::write(m.path("file"), b"").unwrap();
    let path = std::ffi::CString::new(m.path("file").to_str().unwrap()).unwrap();
    let get = |size: usize| {
        let mut buffer = [0u8; 16];
        // SAFETY: the name and path end with NUL and the buffer holds at least `size` bytes.
        let rc = unsafe {
            libc::getxattr(
                path.as_ptr(),
                c"user.test".as_ptr(),
                buffer.as_mut_ptr().cast(),
                size,
            )
        };
        (rc, buffer)
    };
    assert_eq!(get(0).0, 5);
    assert_eq!(get(16).1[..5], *b"value");
    assert_eq!(get(4).0, -1);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ERANGE));
}

#[test]
fn a_lost_server_is_detached_by_force_and_mountpoints_are_checked() {
    let m = Mount::new(long(), Threads::default());
    fs::write(m.path("slow"), b"12345").unwrap();
    m.notifier
        .and_wait([Notice::Inode {
            node: 2,
            offset: 0,
            len: 0,
        }])
        .unwrap();
    let mut reader = Command::new("cat")
        .arg(m.path("slow"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("a blocked read", || m.fs.blocked.load(Ordering::SeqCst) > 0);
    assert!(mount::unmount(m.directory.path(), Detach::Clean).is_err());
    mount::unmount(m.directory.path(), Detach::Force).unwrap();
    assert!(!reader.wait().unwrap().success());
    assert_eq!(mountinfo::at(m.directory.path()).unwrap(), None);
    fs::write(m.directory.path().join("thing"), b"").unwrap();
    let refusal = |path: &Path| mount::check_mountpoint(path, false).unwrap_err().to_string();
    assert!(refusal(m.directory.path()).contains("is not empty"));
    assert!(refusal(&m.directory.path().join("thing")).contains("is not a directory"));
    assert!(refusal(Path::new("/no/such/place")).contains("No such file"));
    assert!(mount::check_mountpoint(m.directory.path(), true).is_ok());
}

#[test]
fn a_storm_of_signals_loses_no_caller() {
    const CALLERS: usize = 8;
    const STORM: Duration = Duration::from_millis(1500);
    let m = Mount::new(long(), Threads::default());
    fs::write(m.path("locked"), b"").unwrap();
    catch(Signal::SIGALRM);
    let end = Instant::now() + STORM;
    let callers: Vec<_> = (0..CALLERS)
        .map(|i| {
            let path = m.path("locked");
            let caller = move || {
                let (mut taken, mut interrupted) = (0, 0);
                while Instant::now() < end {
                    let Ok(file) = fs::File::open(&path) else { continue };
                    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } == 0 {
                        taken += 1;
                        std::thread::sleep(Duration::from_micros(300));
                    } else {
                        interrupted += 1;
                    }
                }
                (taken, interrupted)
            };
            std::thread::Builder::new()
                .name(format!("caller {i}"))
                .spawn(caller)
                .unwrap()
        })
        .collect();
    while Instant::now() < end {
        for caller in &callers {
            assert_eq!(
                unsafe { libc::pthread_kill(caller.as_pthread_t(), libc::SIGALRM) },
                0
            );
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    let results: Vec<(u32, u32)> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    let (taken, interrupted) = results
        .iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(taken > 100 && interrupted > 10, "{results:?}");
    assert_eq!(m.fs.waiting(), 0);
    m.unmount();
}
