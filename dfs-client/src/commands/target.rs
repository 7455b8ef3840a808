//! What a command is about: a volume by name (`dfs://...`), or a path on a mount of one.

use super::Failure;
use crate::config::Source;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A DFS mount of this machine, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    pub mountpoint: PathBuf,
    pub source: Source,
    /// Who mounted it: whom the kernel lets in when the mount is not for others.
    pub owner: Option<(u32, u32)>,
}

/// Opens the root of a mount. Root, too, is kept out by the kernel where only the owner may enter: then this process
/// becomes the owner.
pub(super) fn open_root(mounted: &Mounted) -> Result<File, Failure> {
    let opened = match (File::open(&mounted.mountpoint), mounted.owner) {
        (Err(error), Some((user, group))) if error.kind() == io::ErrorKind::PermissionDenied => {
            // SAFETY: these calls take numbers and concern no memory.
            let became = unsafe {
                libc::setresgid(group, group, group) == 0 && libc::setresuid(user, user, user) == 0
            };
            match became {
                true => File::open(&mounted.mountpoint),
                false => Err(error),
            }
        }
        (opened, _) => opened,
    };
    opened.map_err(|error| Failure::Io {
        what: mounted.mountpoint.display().to_string(),
        error,
    })
}

/// The mount that `given` is on, or the only one of this machine. Asks no mount anything when it is the mountpoint.
pub(super) fn mounted(given: Option<&Path>) -> Result<Mounted, Failure> {
    let mut all = mounts()?;
    let Some(path) = given else {
        return match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(Failure::Usage("nothing is mounted here".to_owned())),
            (Some(_), false) => Err(Failure::Usage(
                "several volumes are mounted here; name a mountpoint".to_owned(),
            )),
        };
    };
    let absolute = std::path::absolute(path).map_err(|error| Failure::Io {
        what: path.display().to_string(),
        error,
    })?;
    // The one that was mounted last is the one that is seen.
    match all
        .into_iter()
        .rev()
        .find(|mounted| mounted.mountpoint == absolute)
    {
        Some(mounted) => Ok(mounted),
        None => mount_of(path),
    }
}

/// The volume that `given` names: `dfs://...`, or a path on a mount; without it, the only mount of this machine.
pub(super) fn volume(given: Option<&str>) -> Result<Source, Failure> {
    match given {
        Some(url) if url.starts_with("dfs://") => {
            Source::parse(url).map_err(|error| Failure::Usage(error.to_string()))
        }
        Some(path) => mount_of(Path::new(path)).map(|mounted| mounted.source),
        None => {
            let mut mounts = mounts()?;
            match (mounts.pop(), mounts.is_empty()) {
                (Some(only), true) => Ok(only.source),
                (None, _) => Err(Failure::Usage(
                    "nothing is mounted here; name a volume: dfs://HOST[:PORT]/VOLUME".to_string(),
                )),
                (Some(_), false) => Err(Failure::Usage(
                    "several volumes are mounted here; name one, or a path on it".to_string(),
                )),
            }
        }
    }
}

/// The mount that holds the path.
pub(super) fn mount_of(path: &Path) -> Result<Mounted, Failure> {
    let failed = |error| Failure::Io {
        what: path.display().to_string(),
        error,
    };
    // The path itself may be a symbolic link that is meant, not its target.
    let is_link = path.symlink_metadata().map_err(failed)?.is_symlink();
    let known = if is_link {
        path.parent().filter(|parent| !parent.as_os_str().is_empty())
    } else {
        Some(path)
    };
    let absolute = known.unwrap_or(Path::new(".")).canonicalize().map_err(failed)?;
    let holding = mounts()?
        .into_iter()
        .filter(|mounted| absolute.starts_with(&mounted.mountpoint));
    holding
        .max_by_key(|mounted| mounted.mountpoint.as_os_str().len())
        .ok_or_else(|| Failure::Usage(format!("{} is on no DFS mount", path.display())))
}

fn mounts() -> Result<Vec<Mounted>, Failure> {
    let table = "/proc/self/mountinfo";
    let text = std::fs::read(table).map_err(|error| Failure::Io {
        what: table.to_string(),
        error,
    })?;
    Ok(parse(&text))
}

/// The DFS mounts among the lines of mountinfo.
fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mounted> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let mountpoint = unescape(fields.get(4)?);
    if !fields.get(dash + 1)?.starts_with(b"fuse") {
        return None;
    }
    let options = fields.get(dash + 3).copied().unwrap_or_default();
    let number = |name: &[u8]| {
        let all = options.split(|byte| *byte == b',');
        let value = all.into_iter().find_map(|option| option.strip_prefix(name))?;
        std::str::from_utf8(value).ok()?.parse::<u32>().ok()
    };
    let owner = number(b"user_id=").zip(number(b"group_id="));
    let source = String::from_utf8(unescape(fields.get(dash + 2)?)).ok()?;
    let source = Source::parse(&source).ok()?;
    Some(Mounted {
        mountpoint: PathBuf::from(OsString::from_vec(mountpoint)),
        source,
        owner,
    })
}

/// Undoes the kernel's octal escapes of spaces and their like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let code = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_among_others() {
        let text = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 0:40 / /mnt/a\\040b rw,nosuid shared:1 - fuse.dfs dfs://localhost:7400/default/x rw,user_id=7,group_id=8,x=1\n\
            31 22 0:41 / /mnt/c rw - fuse.sshfs host:/ rw\n";
        let found = parse(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mountpoint, Path::new("/mnt/a b"));
        assert_eq!(found[0].source.coordinators, ["localhost:7400"]);
        assert_eq!(found[0].source.subdir, "x");
        assert_eq!(found[0].owner, Some((7, 8)));
    }
}
