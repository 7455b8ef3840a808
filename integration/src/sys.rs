//! System calls that std does not have, with errors as std gives them. Called by the harness and the tests.
use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

/// -1 becomes the error.
pub fn check<T: Into<i64> + Copy>(result: T) -> Result<i64> {
    match result.into() {
        -1 => Err(Error::last_os_error()),
        value => Ok(value),
    }
}

/// The number of the error that a call must have given.
pub fn errno<T: std::fmt::Debug>(result: Result<T>) -> i32 {
    result
        .expect_err("the call must fail")
        .raw_os_error()
        .expect("an error of the system")
}

pub struct MountEntry {
    pub source: String,
    pub kind: String,
    pub options: String,
}

/// What is mounted on `point` in this thread's namespace, the topmost first.
pub fn mounted(point: &Path) -> Option<MountEntry> {
    let table = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let lines = table
        .lines()
        .rev()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let entry = lines.into_iter().find(|fields| Path::new(fields[1]) == point)?;
    Some(MountEntry {
        source: entry[0].into(),
        kind: entry[2].into(),
        options: entry[3].into(),
    })
}

pub fn unmount(point: &Path) -> Result<()> {
    // SAFETY: a NUL-terminated string that outlives the call.
    check(unsafe { libc::umount2(c_path(point).as_ptr(), 0) }).map(drop)
}

/// Takes away all mounts on `point`, also dead ones; what still waits in them fails.
pub fn unmount_lazily(point: &Path) {
    let flags = libc::MNT_DETACH | libc::MNT_FORCE;
    // SAFETY: a NUL-terminated string that outlives the call.
    while unsafe { libc::umount2(c_path(point).as_ptr(), flags) } == 0 {}
}

pub fn fallocate(file: &std::fs::File, mode: i32, offset: i64, length: i64) -> Result<()> {
    // SAFETY: the descriptor is open as long as the file.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) }).map(drop)
}

pub fn seek(file: &std::fs::File, offset: i64, whence: i32) -> Result<i64> {
    // SAFETY: the descriptor is open as long as the file.
    check(unsafe { libc::lseek(file.as_raw_fd(), offset, whence) })
}

pub fn open(path: &Path, flags: i32, mode: u32) -> Result<std::fs::File> {
    // SAFETY: a NUL-terminated string; the new descriptor belongs to nobody else.
    unsafe {
        let fd = check(libc::open(c_path(path).as_ptr(), flags | libc::O_CLOEXEC, mode))?;
        Ok(std::fs::File::from_raw_fd(fd as i32))
    }
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8], flags: i32) -> Result<()> {
    let (path, name) = (c_path(path), CString::new(name).unwrap());
    // SAFETY: strings and value outlive the call.
    let set = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    };
    check(set).map(drop)
}

pub fn get_xattr(path: &Path, name: &str) -> Result<Vec<u8>> {
    let (path, name) = (c_path(path), CString::new(name).unwrap());
    let mut value = vec![0u8; 65536];
    // SAFETY: the buffer has the length that is said.
    let got = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    let length = check(got as i64)?;
    value.truncate(length as usize);
    Ok(value)
}

pub fn list_xattrs(path: &Path) -> Result<Vec<String>> {
    let path = c_path(path);
    let mut list = vec![0u8; 65536];
    // SAFETY: the buffer has the length that is said.
    let got = unsafe { libc::llistxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    list.truncate(check(got as i64)? as usize);
    let names = list.split(|b| *b == 0).filter(|name| !name.is_empty());
    Ok(names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect())
}

pub fn remove_xattr(path: &Path, name: &str) -> Result<()> {
    let (path, name) = (c_path(path), CString::new(name).unwrap());
    // SAFETY: strings outlive the call.
    check(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

pub fn rename(from: &Path, to: &Path, flags: u32) -> Result<()> {
    let (from, to) = (c_path(from), c_path(to));
    // SAFETY: strings outlive the call.
    check(unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) })
        .map(drop)
}

pub fn statvfs(path: &Path) -> Result<libc::statvfs> {
    let path = c_path(path);
    // SAFETY: statvfs is plain numbers, and the call fills it.
    unsafe {
        let mut figures = std::mem::zeroed();
        check(libc::statvfs(path.as_ptr(), &mut figures)).map(|_| figures)
    }
}
