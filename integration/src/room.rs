//! A place for one test: a temporary directory and a mount namespace of the calling thread's own, so that no mount
//! outlives the test, whatever ends it. Threads and processes started from here live in it too.
use crate::{process, programs, script, sys};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const MOUNT_LIMIT: Duration = Duration::from_secs(20);

pub struct Room {
    dir: TempDir,
}

impl Room {
    pub fn new() -> Self {
        // SAFETY: unshare of the mount namespace changes this thread only; the strings are NUL-terminated.
        unsafe {
            assert_eq!(
                libc::unshare(libc::CLONE_NEWNS),
                0,
                "unshare: {}",
                std::io::Error::last_os_error()
            );
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let none = std::ptr::null();
            assert_eq!(libc::mount(none, c"/".as_ptr(), none, private, none.cast()), 0);
        }
        let dir = tempfile::Builder::new()
            .prefix("dfs-test-")
            .tempdir_in(Self::base())
            .unwrap();
        // Other accounts act on mounts in here.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { dir }
    }

    /// A disk, not the memory file system that /tmp may be.
    fn base() -> PathBuf {
        std::env::var_os("DFS_TEST_DIR").map_or_else(|| "/var/tmp".into(), PathBuf::from)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The mount program under the name that mount(8) looks for, in this room's own /sbin.
    pub fn install_mount_program(&self) {
        let (upper, work) = (self.folder("sbin-upper"), self.folder("sbin-work"));
        std::os::unix::fs::symlink(programs::dfs(), upper.join("mount.fuse.dfs")).unwrap();
        let real = std::fs::canonicalize("/sbin").unwrap();
        let (real, upper, work) = (real.display(), upper.display(), work.display());
        let options = format!("lowerdir={real},upperdir={upper},workdir={work}");
        let line = format!("mount -t overlay overlay -o {options} {real}");
        script::run(self.path(), MOUNT_LIMIT, &line);
    }

    /// A new directory in the room.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Room {
    /// Mounts below first, or else removing the directory would go into them; then processes that stayed behind.
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
        let points = table
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .map(Path::new);
        for point in points.filter(|point| point.starts_with(self.path())) {
            sys::unmount_lazily(point);
        }
        for pid in process::naming(self.path()) {
            // SAFETY: a signal to a process whose command line names this room, which no other test has.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}
