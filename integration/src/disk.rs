//! A small disk of its own for a server that is to run full or hang: ext4 on a loop device in the test's mount namespace.
use crate::{programs, sys};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel's request to stop an ext4 at once, and its way of doing so: nothing more is written, not even the
/// journal (`EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, linux/fs/ext4/ext4.h).
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
const WITHOUT_FLUSH: u32 = 2;

pub struct Disk {
    point: PathBuf,
    image: PathBuf,
}

impl Disk {
    pub fn new(dir: &Path, name: &str, mebibytes: u64) -> Self {
        let image = dir.join(format!("{name}.img"));
        std::fs::File::create(&image)
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        let point = dir.join(name);
        std::fs::create_dir_all(&point).unwrap();
        run(Command::new(programs::debian("mkfs.ext4"))
            .args(["-q", "-m", "0"])
            .arg(&image));
        let disk = Self { point, image };
        disk.attach();
        disk
    }

    fn attach(&self) {
        // The loop device goes away by itself with the mount.
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.point));
    }

    /// What a power cut leaves: all that was not yet flushed to the disk is gone.
    pub fn cut_power(&self) {
        let root = std::fs::File::open(&self.point).unwrap();
        // SAFETY: the kernel reads one u32 from the pointer during the call.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &WITHOUT_FLUSH) };
        sys::check(result).expect("ext4 can be shut down");
    }

    /// Mounts it again after a power cut, when nobody has it open any more; ext4 replays its journal.
    pub fn power_on(&self) {
        sys::unmount(&self.point).expect("nobody uses the disk any more");
        self.attach();
    }

    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Fills the disk to the last block; deleting the file gives the space back.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.point.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        for size in [1 << 20, 4096] {
            while std::io::Write::write_all(&mut file, &vec![0x5a; size]).is_ok() {}
        }
        ballast
    }

    pub fn freeze(&self) -> Frozen<'_> {
        run(Command::new("fsfreeze").arg("-f").arg(&self.point));
        Frozen(self)
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// While this lives the disk takes no write, and its writers hang.
pub struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // A panic must not hide the one that led here.
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0.point).status();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        sys::unmount_lazily(&self.point);
    }
}
