//! Builds and installs the two executables and the mount helper. Called by `install` and `up`.
use crate::packages;
use crate::shell::{self, Outcome};
use std::path::Path;

/// `mount -t fuse.dfs` looks for its program here.
const MOUNT_PROGRAM: &str = "/sbin/mount.fuse.dfs";
pub const PROGRAMS: [&str; 2] = ["dfs", "dfs-server"];

pub fn run(bin_dir: &Path) -> Outcome {
    if !shell::is_root() {
        return Err(format!(
            "run as root: this writes {} and {MOUNT_PROGRAM}",
            bin_dir.display()
        ));
    }
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    build_release()?;
    install(bin_dir)
}

pub fn build_release() -> Outcome {
    shell::run(shell::cargo().args([
        "build",
        "--release",
        "--quiet",
        "-p",
        "dfs-server",
        "-p",
        "dfs-fuse",
    ]))
}

/// Puts the built programs in place, each by one rename so that a running one is never overwritten.
pub fn install(bin_dir: &Path) -> Outcome {
    std::fs::create_dir_all(bin_dir).map_err(|e| format!("cannot make {}: {e}", bin_dir.display()))?;
    for name in PROGRAMS {
        let built = shell::target_dir().join("release").join(name);
        let fresh = bin_dir.join(format!(".{name}.new"));
        let place = bin_dir.join(name);
        std::fs::copy(&built, &fresh)
            .and_then(|_| std::fs::rename(&fresh, &place))
            .map_err(|e| format!("cannot install {} as {}: {e}", built.display(), place.display()))?;
        println!("installed {}", place.display());
    }
    link(&bin_dir.join("dfs"))
}

fn link(dfs: &Path) -> Outcome {
    let place = Path::new(MOUNT_PROGRAM);
    if std::fs::read_link(place).is_ok_and(|to| to == dfs) {
        return Ok(());
    }
    let fresh = Path::new("/sbin/.mount.fuse.dfs.new");
    if fresh.is_symlink() {
        std::fs::remove_file(fresh).map_err(|e| format!("cannot remove {}: {e}", fresh.display()))?;
    }
    std::os::unix::fs::symlink(dfs, fresh)
        .and_then(|()| std::fs::rename(fresh, place))
        .map_err(|e| format!("cannot make {MOUNT_PROGRAM}: {e}"))?;
    println!("installed {MOUNT_PROGRAM} -> {}", dfs.display());
    Ok(())
}
