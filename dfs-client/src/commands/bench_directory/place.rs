//! The directory that is measured: which file system it is on, what is free there, and the room inside it in which
//! everything is made. Called by `mod` and `report`.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory and what is known of the file system that it is on.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub dir: PathBuf,
    /// The type as the kernel lists it, and what was mounted.
    pub file_system: String,
    pub source: String,
    pub free_bytes: u64,
    /// Nothing where the file system does not count them.
    pub free_inodes: Option<u64>,
}

impl Place {
    pub fn look(dir: &Path) -> io::Result<Self> {
        let dir = dir.canonicalize()?;
        if !dir.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        }
        let (file_system, source) = mounted(&dir)?;
        let (free_bytes, free_inodes) = free(&dir)?;
        Ok(Self {
            dir,
            file_system,
            source,
            free_bytes,
            free_inodes,
        })
    }

    /// Where everything is made.
    pub fn room_path(&self) -> PathBuf {
        self.dir.join(format!(".dfs-bench-{}", std::process::id()))
    }

    pub fn make_room(&self) -> io::Result<Room> {
        let path = self.room_path();
        std::fs::create_dir(&path)?;
        Ok(Room { path, removed: false })
    }
}

/// A directory that goes away with everything in it.
pub(super) struct Room {
    path: PathBuf,
    removed: bool,
}

impl Room {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn remove(mut self) -> io::Result<()> {
        self.removed = true;
        std::fs::remove_dir_all(&self.path)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Only a panic comes here with the room still there; there is nobody left to tell.
        if !self.removed {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Bytes and inodes that this user may still take.
fn free(dir: &Path) -> io::Result<(u64, Option<u64>)> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    // SAFETY: all-zero is a valid statvfs, which the call fills in.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is NUL-terminated and both outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), &mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let inodes = (found.f_files > 0).then_some(found.f_favail);
    Ok((found.f_bavail * found.f_frsize, inodes))
}

/// Type and source of the mount that holds the directory.
fn mounted(dir: &Path) -> io::Result<(String, String)> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let holding = text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        let mut fields = after.split(' ');
        let kind = fields.next()?.to_owned();
        let source = fields.next()?.to_owned();
        dir.starts_with(&point).then_some((point.len(), kind, source))
    });
    // Of several mounts on one place the last listed is the one that is seen.
    let best = holding.max_by_key(|(length, ..)| *length);
    Ok(
        best.map_or(("unknown".to_owned(), String::new()), |(_, kind, source)| {
            (kind, source)
        }),
    )
}
