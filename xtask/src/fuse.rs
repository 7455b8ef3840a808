//! Does this machine really mount FUSE, and what is mounted where. Called by `up`, `test` and `bench`.
use crate::shell::{self, Outcome};
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Mounts a FUSE file system that nobody serves and takes it away again: the device node alone proves nothing
/// in a container.
pub fn check() -> Outcome {
    let advice = "the tests and the mount need FUSE: load the module (`modprobe fuse`), and in a container pass \
                  --device /dev/fuse --cap-add SYS_ADMIN";
    let device = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|e| format!("cannot open /dev/fuse: {e}; {advice}"))?;
    let point = std::env::temp_dir().join(format!("dfs-fuse-check-{}", std::process::id()));
    std::fs::create_dir_all(&point).map_err(|e| format!("cannot make {}: {e}", point.display()))?;
    let outcome = mount_unserved(device.as_raw_fd(), &point);
    std::fs::remove_dir(&point).map_err(|e| format!("cannot remove {}: {e}", point.display()))?;
    outcome.map_err(|e| format!("FUSE does not mount here: {e}; {advice}"))
}

fn mount_unserved(fd: i32, point: &Path) -> std::io::Result<()> {
    let path = CString::new(point.as_os_str().as_encoded_bytes())?;
    let options = CString::new(format!("fd={fd},rootmode=40000,user_id=0,group_id=0"))?;
    // SAFETY: all pointers are NUL-terminated strings that outlive the call.
    let made = unsafe {
        libc::mount(
            c"dfs-check".as_ptr(),
            path.as_ptr(),
            c"fuse".as_ptr(),
            libc::MS_NOSUID,
            options.as_ptr().cast(),
        )
    };
    if made != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: path is a NUL-terminated string that outlives the call.
    if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// The type of the file system mounted exactly on `point`, if there is one.
pub fn mounted(point: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let wanted = point.to_string_lossy().replace(' ', "\\040");
    table.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next() == Some(&wanted)).then(|| fields.next().unwrap_or_default().to_owned())
    })
}

/// How long a busy mount may stay before it is taken away lazily.
const BUSY_GRACE: Duration = Duration::from_secs(10);

/// Unmounts; a mount still busy after a while is detached, and that is said.
pub fn unmount(point: &Path) -> Outcome {
    let begun = Instant::now();
    while mounted(point).is_some() {
        let mut umount = shell::command("umount");
        let refusal = match shell::capture(umount.arg(point)) {
            Ok(_) => continue,
            Err(refusal) => refusal,
        };
        if begun.elapsed() > BUSY_GRACE {
            println!("{} is still in use, detaching it: {refusal}", point.display());
            shell::run(shell::command("umount").arg("-l").arg(point))?;
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}
