//! `dfs summary DIR`: the sums that the coordinator keeps of what is below a directory. Asks the mount for one extended
//! attribute; knows nothing of how the sums are kept.

use super::{CLEAN, Failure, finish, size, target};
use serde_json::{Value, json};
use std::ffi::CString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// All sums in one answer, so that they are of one moment.
const ALL: &std::ffi::CStr = c"dfs.rstat.all";
const ANSWER_MAX: usize = 256;
/// Between two questions while sums are behind, or a volume is counted for the first time.
const PAUSE: Duration = Duration::from_millis(300);
/// A volume of ten million files is counted within this.
const LONGEST: Duration = Duration::from_secs(3600);

struct Sums {
    bytes: u64,
    files: u64,
    dirs: u64,
}

pub fn run(dirs: Vec<PathBuf>, json: bool) -> ExitCode {
    finish("summary", async move {
        let mut all = Vec::new();
        for dir in &dirs {
            let sums = sums_of(dir).await?;
            match json {
                true => all.push(json!({
                    "path": dir.display().to_string(),
                    "bytes": sums.bytes,
                    "files": sums.files,
                    "directories": sums.dirs,
                })),
                false => say!("{}", line(dir, &sums)),
            }
        }
        if json {
            say!("{:#}", Value::from(all));
        }
        Ok(CLEAN)
    })
}

fn line(path: &Path, sums: &Sums) -> String {
    let plural = |count: u64, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {more}"),
    };
    let exact = match sums.bytes {
        0..1024 => String::new(),
        bytes => format!(" ({bytes} bytes)"),
    };
    format!(
        "{}: {}{exact} in {} and {}",
        path.display(),
        size(sums.bytes),
        plural(sums.files, "file", "files"),
        plural(sums.dirs, "directory", "directories"),
    )
}

/// Of a file, itself, as `du` does.
async fn sums_of(path: &Path) -> Result<Sums, Failure> {
    target::mount_of(path)?;
    let found = std::fs::metadata(path).map_err(|error| understood(path, error))?;
    if !found.is_dir() {
        return Ok(Sums {
            bytes: found.len(),
            files: 1,
            dirs: 0,
        });
    }
    counted(path).await
}

/// Waits while sums are behind, or the volume is counted for the first time.
async fn counted(dir: &Path) -> Result<Sums, Failure> {
    let until = Instant::now() + LONGEST;
    let terminal = io::stderr().is_terminal();
    let mut told = false;
    loop {
        let answer = asked(dir);
        let counting = matches!(&answer, Err(error) if error.raw_os_error() == Some(libc::EAGAIN));
        if counting && Instant::now() < until {
            if terminal && !told {
                eprint!(
                    "waiting: very much was changed a moment ago, or a volume from before is being counted..."
                );
                told = true;
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        if told {
            // Nobody reads it: then nobody misses it.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        return answer.map_err(|error| understood(dir, error));
    }
}

fn understood(dir: &Path, error: io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ENODATA | libc::EOPNOTSUPP) => Failure::Usage(format!(
            "{}: the servers of this volume are older than this program and keep no sums; use du until they are upgraded",
            dir.display()
        )),
        Some(libc::EAGAIN) => Failure::Usage(format!(
            "{}: the sums are not up to date yet (a volume from before is still being counted); try again later, or use du",
            dir.display()
        )),
        _ => Failure::Io {
            what: dir.display().to_string(),
            error,
        },
    }
}

fn asked(dir: &Path) -> io::Result<Sums> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut answer = [0_u8; ANSWER_MAX];
    // SAFETY: the path and the name end with zero, and the kernel writes at most so many bytes.
    let len = unsafe {
        libc::getxattr(
            path.as_ptr(),
            ALL.as_ptr(),
            answer.as_mut_ptr().cast(),
            ANSWER_MAX,
        )
    };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let text = String::from_utf8_lossy(&answer[..len]);
    parsed(&text).ok_or_else(|| io::Error::other("the mount's answer makes no sense"))
}

fn parsed(text: &str) -> Option<Sums> {
    let number = |name: &str| {
        let mut fields = text.split(' ');
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    Some(Sums {
        bytes: number("rbytes")?,
        files: number("rfiles")?,
        dirs: number("rsubdirs")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_people_read() {
        let of = |bytes, files, dirs| line(Path::new("d"), &Sums { bytes, files, dirs });
        assert_eq!(of(7, 1, 0), "d: 7 B in 1 file and 0 directories");
        assert_eq!(
            of(3 << 20, 2, 1),
            "d: 3.0 MiB (3145728 bytes) in 2 files and 1 directory"
        );
    }

    #[test]
    fn an_answer_is_read_whatever_else_it_says() {
        let sums = parsed("rbytes=7 rlater=1 rfiles=2 rsubdirs=3").unwrap();
        assert_eq!((sums.bytes, sums.files, sums.dirs), (7, 2, 3));
        assert!(parsed("rbytes=7 rfiles=x rsubdirs=3").is_none() && parsed("").is_none());
    }
}
