//! What is mounted where, from /proc/self/mountinfo: asking the mount itself could hang on a dead server.
//! Called by mounting, unmounting and `dfs status`. Touches no file below a mountpoint.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// `major:minor`, which also names the mount's entry in /sys/class/bdi.
    pub device: String,
    pub mountpoint: PathBuf,
    /// VFS options, comma separated.
    pub options: String,
    pub fstype: String,
    pub source: OsString,
}

/// All mounts this process sees, lower ones first.
pub fn all() -> io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The topmost mount exactly at `mountpoint` (absolute, as `absolute` gives it).
pub fn at(mountpoint: &Path) -> io::Result<Option<Mounted>> {
    Ok(all()?.into_iter().rfind(|m| m.mountpoint == mountpoint))
}

/// `path` with its parents resolved but its last component untouched: the last one may be a mount whose server is
/// dead, and looking at it would wait.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            Ok(parent.canonicalize()?.join(name))
        }
        _ => path.canonicalize(),
    }
}

fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|&b| b == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /root /mountpoint options [optional fields] - fstype source superoptions`
fn line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|&b| b == b' ');
    let device = text(fields.nth(2)?);
    let mountpoint = PathBuf::from(unescape(fields.nth(1)?));
    let options = text(fields.next()?);
    fields.find(|&f| f == b"-")?;
    let fstype = text(fields.next()?);
    Some(Mounted {
        device,
        mountpoint,
        options,
        fstype,
        source: unescape(fields.next()?),
    })
}

fn text(bytes: &[u8]) -> String {
    OsStr::from_bytes(bytes).to_string_lossy().into_owned()
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|d| byte == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        match octal {
            Some(digits) => {
                out.push(
                    digits
                        .iter()
                        .fold(0u8, |n, d| n.wrapping_mul(8).wrapping_add(d - b'0')),
                );
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_optional_fields_are_read() {
        let text = b"36 35 0:45 / /mnt/a\\040b rw,noatime master:1 shared:2 - fuse.dfs dfs://h/default rw,user_id=0\n\
            37 35 8:1 / / rw - ext4 /dev/sda1 rw\nnonsense\n";
        let all = parse(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].device, "0:45");
        assert_eq!(all[0].mountpoint, Path::new("/mnt/a b"));
        assert_eq!(all[0].options, "rw,noatime");
        assert_eq!(
            (all[0].fstype.as_str(), all[0].source.to_str()),
            ("fuse.dfs", Some("dfs://h/default"))
        );
        assert_eq!(all[1].mountpoint, Path::new("/"));
    }

    #[test]
    fn escapes_are_undone_and_stray_backslashes_kept() {
        assert_eq!(unescape(b"a\\134b\\012"), OsString::from("a\\b\n"));
        assert_eq!(unescape(b"x\\9\\04"), OsString::from("x\\9\\04"));
    }

    #[test]
    fn the_last_component_is_not_resolved() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let expected = dir.path().canonicalize().unwrap().join("link");
        assert_eq!(absolute(&dir.path().join("link")).unwrap(), expected);
        assert_eq!(absolute(Path::new("/")).unwrap(), Path::new("/"));
    }
}
