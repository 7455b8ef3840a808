//! Builds and installs the two executables and the mount helper. Called by `install` and `up`.
use crate::packages;
use crate::shell::{self, Outcome};
use std::path::Path;

/// `mount -t fuse.dfs` and `umount` look for their programs here. With the second, umount(8) returns when
/// everything is flushed, as with a local file system.
const MOUNT_PROGRAMS: [&str; 2] = ["/sbin/mount.fuse.dfs", "/sbin/umount.fuse.dfs"];
pub const PROGRAMS: [&str; 2] = ["dfs", "dfs-server"];

pub fn run(bin_dir: &Path) -> Outcome {
    if !shell::is_root() {
        return Err(format!(
            "run as root: this writes {}, {}",
            bin_dir.display(),
            MOUNT_PROGRAMS.join(" and ")
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
    MOUNT_PROGRAMS
        .iter()
        .try_for_each(|place| link(&bin_dir.join("dfs"), Path::new(place)))
}

fn link(dfs: &Path, place: &Path) -> Outcome {
    if std::fs::read_link(place).is_ok_and(|to| to == dfs) {
        return Ok(());
    }
    let fresh = place.with_extension("new");
    if fresh.is_symlink() {
        std::fs::remove_file(&fresh).map_err(|e| format!("cannot remove {}: {e}", fresh.display()))?;
    }
    std::os::unix::fs::symlink(dfs, &fresh)
        .and_then(|()| std::fs::rename(&fresh, place))
        .map_err(|e| format!("cannot make {}: {e}", place.display()))?;
    println!("installed {} -> {}", place.display(), dfs.display());
    Ok(())
}
