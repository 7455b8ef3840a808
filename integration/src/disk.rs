//! A small disk of its own for a server that is to run full: ext4 on a loop device in the test's mount namespace.
use crate::{programs, sys};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Disk {
    point: PathBuf,
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
        let run = |command: &mut Command| {
            let output = command.output().unwrap();
            assert!(
                output.status.success(),
                "{command:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        run(Command::new(programs::debian("mkfs.ext4"))
            .args(["-q", "-m", "0"])
            .arg(&image));
        // The loop device goes away by itself with the mount.
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point));
        Self { point }
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
}

impl Drop for Disk {
    fn drop(&mut self) {
        sys::unmount_lazily(&self.point);
    }
}
