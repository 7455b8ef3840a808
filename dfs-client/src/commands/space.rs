//! What `dfs trash` and `dfs quota` share: the leader's service, and places on mounts and in volumes.

use super::{Failure, target};
use crate::channel::connect_lazy;
use crate::config::Source;
use dfs_proto::v1;
use dfs_proto::v1::space_client::SpaceClient;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

/// The number that the root of every mount has.
const MOUNT_ROOT: u64 = 1;

/// The leader's service for one volume.
pub(super) struct Space {
    pub client: SpaceClient<Channel>,
    volume: MetadataValue<Ascii>,
}

impl Space {
    pub async fn of(source: &Source) -> Result<Space, Failure> {
        let (_, status, address) = super::serving(source).await?;
        let channel = connect_lazy(&address).map_err(|error| Failure::Usage(error.to_string()))?;
        let volume = status.volume.parse();
        Ok(Space {
            client: SpaceClient::new(channel),
            volume: volume.map_err(|_| Failure::Usage("the volume's name is not plain text".to_owned()))?,
        })
    }

    /// A request about this volume.
    pub fn ask<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("dfs-volume", self.volume.clone());
        request
    }
}

/// A directory on a mount, or `dfs://HOST/VOLUME/PATH`.
pub(super) fn directory(given: &str) -> Result<(Source, v1::Place), Failure> {
    use v1::place::What;
    let named = |what| v1::Place { what: Some(what) };
    if given.starts_with("dfs://") {
        let source = Source::parse(given).map_err(|error| Failure::Usage(error.to_string()))?;
        let below = source.subdir.clone().into_bytes();
        return Ok((source, named(What::Path(below))));
    }
    let mounted = target::mount_of(Path::new(given))?;
    let found = Path::new(given).metadata().map_err(|error| Failure::Io {
        what: given.to_owned(),
        error,
    })?;
    if !found.is_dir() {
        return Err(Failure::Usage(format!("{given} is no directory")));
    }
    let what = match found.ino() {
        MOUNT_ROOT => What::Path(mounted.source.subdir.clone().into_bytes()),
        ino => What::Ino(ino),
    };
    Ok((mounted.source, named(what)))
}

/// The path in the volume of a name on a mount, which need not exist, or behind `dfs://HOST/VOLUME/`.
pub(super) fn path_in_volume(given: &str) -> Result<(Source, Vec<u8>), Failure> {
    if given.starts_with("dfs://") {
        let source = Source::parse(given).map_err(|error| Failure::Usage(error.to_string()))?;
        let below = format!("/{}", source.subdir).into_bytes();
        return Ok((source, below));
    }
    let path = Path::new(given);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let (dir, name) = match path.file_name() {
        Some(name) => (dir.unwrap_or(Path::new(".")), Some(name)),
        None => (path, None),
    };
    let failed = |error| Failure::Io {
        what: dir.display().to_string(),
        error,
    };
    let mounted = target::mount_of(dir)?;
    let dir = dir.canonicalize().map_err(failed)?;
    let below = dir.strip_prefix(&mounted.mountpoint).unwrap_or(&dir);
    let mut parts: Vec<Vec<u8>> = vec![mounted.source.subdir.clone().into_bytes()];
    parts.extend(below.iter().chain(name).map(|part| part.as_bytes().to_vec()));
    let mut whole = Vec::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        whole.push(b'/');
        whole.extend(part);
    }
    Ok((mounted.source, whole))
}

/// A number with an optional unit, of which each is so many of the one before: `10k`, `5GiB`.
pub(super) fn amount(text: &str, step: u64) -> Result<u64, Failure> {
    let wrong = || Failure::Usage(format!("{text:?} is no amount: write 500, 100k, 64MiB or 10G"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(step.pow(power))
        .filter(|value| *value < i64::MAX as u64)
        .ok_or_else(wrong)
}

/// Seconds: `0`, `90s`, `5m`, `24h`, `7d`.
pub(super) fn seconds(text: &str) -> Result<u64, Failure> {
    let wrong = || Failure::Usage(format!("{text:?} is no time: write 0, 90s, 5m, 24h or 7d"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "" if number == 0 => 1,
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times_are_read() {
        let read = |text| amount(text, 1024).ok();
        assert_eq!(
            (read("10GiB"), read("7"), read("3kb")),
            (Some(10 << 30), Some(7), Some(3072))
        );
        assert_eq!((read("x"), read("5q"), read("")), (None, None, None));
        assert_eq!(amount("100k", 1000).ok(), Some(100_000));
        let read = |text| seconds(text).ok();
        assert_eq!(
            (read("24h"), read("0"), read("5"), read("2w")),
            (Some(86_400), Some(0), None, None)
        );
    }
}
