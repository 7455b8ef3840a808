//! What a mount is told: where the coordinators are and how to cache. The kernel's door fills it in from options.

use crate::observe::{Listen, Observer};
use std::path::PathBuf;
use std::time::Duration;

/// The coordinators' port when none is given.
pub const DEFAULT_PORT: u16 = 7400;
/// Longest wait of a call for a server.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Memory for content of chunks.
pub const DEFAULT_BUFFER_SIZE: u64 = 256 << 20;
/// Local disk for content of chunks, when a directory for it is given.
pub const DEFAULT_DISK_CACHE_SIZE: u64 = 10 << 30;
/// How long the kernel may keep what a lease protects; a recall invalidates it sooner.
pub const DEFAULT_CACHE_TTL: Duration = Duration::from_secs(3600);

/// Calls of the kernel that take longer get a line in the log.
pub const DEFAULT_SLOW_CALL: Duration = Duration::from_secs(1);

/// Whether reading a file moves its access time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atime {
    /// When it is not newer than the last change, or a day old.
    #[default]
    Relatime,
    Noatime,
}

/// A volume, or a directory in it, at some coordinators: `dfs://HOST[:PORT][,HOST[:PORT]...]/VOLUME[/SUBDIR]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `host:port` each.
    pub coordinators: Vec<String>,
    pub volume: String,
    /// Without leading or trailing slash; empty is the volume's root.
    pub subdir: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no volume: {reason}; write dfs://HOST[:PORT][,HOST...]/VOLUME[/SUBDIR]")]
pub struct SourceError {
    pub given: String,
    pub reason: &'static str,
}

impl Source {
    pub fn parse(given: &str) -> Result<Source, SourceError> {
        let wrong = |reason| SourceError {
            given: given.to_string(),
            reason,
        };
        let rest = given
            .strip_prefix("dfs://")
            .ok_or_else(|| wrong("it does not begin with dfs://"))?;
        let (hosts, path) = rest.split_once('/').ok_or_else(|| wrong("it names no volume"))?;
        let coordinators = hosts
            .split(',')
            .map(address)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| wrong("a host is bad"))?;
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let volume = parts
            .next()
            .ok_or_else(|| wrong("it names no volume"))?
            .to_string();
        let subdir = parts.collect::<Vec<_>>().join("/");
        if subdir.split('/').any(|part| part == "." || part == "..") {
            return Err(wrong("the directory is not plain"));
        }
        Ok(Source {
            coordinators,
            volume,
            subdir,
        })
    }
}

fn address(host: &str) -> Option<String> {
    let (name, port) = match host.rsplit_once(':') {
        // A bare IPv6 address in brackets ends in `]`, not in a port.
        Some((name, port)) if !host.ends_with(']') => (name, port.parse().ok()?),
        _ => (host, DEFAULT_PORT),
    };
    let bracketed = name.starts_with('[') && name.ends_with(']');
    (!name.is_empty() && (bracketed || !name.contains([':', '[', ']', '@', ' '])))
        .then(|| format!("{name}:{port}"))
}

/// A cache of content on a local disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCacheConfig {
    /// Mounts may share it: each volume has a directory in it, and each mount a file of its own there.
    pub dir: PathBuf,
    /// Most bytes on the disk for this mount.
    pub size: u64,
}

/// Everything that a mount is told.
#[derive(Clone, Debug)]
pub struct MountConfig {
    /// `host:port` each.
    pub coordinators: Vec<String>,
    pub volume: String,
    /// Directory below the volume's root that becomes the mount's root; empty is the root itself.
    pub subdir: String,
    /// Longest wait of a call for servers; then it fails with ETIMEDOUT.
    pub timeout: Duration,
    /// Memory for content of chunks, bytes.
    pub buffer_size: u64,
    pub disk_cache: Option<DiskCacheConfig>,
    pub read_only: bool,
    pub atime: Atime,
    /// Host, process and mountpoint, for people.
    pub client_name: String,
    /// How long the kernel may keep attributes under a lease.
    pub attr_ttl: Duration,
    /// How long the kernel may keep names, and their absence, under a lease.
    pub entry_ttl: Duration,
    /// Where the mount's figures are counted.
    pub observer: Observer,
    /// Where they are served.
    pub metrics_listen: Listen,
    /// Calls that take longer get a line in the log.
    pub slow_call: Duration,
    /// Names and attributes are changed by the mount itself where leases allow it, and told within a second.
    pub writes_back: bool,
}

impl MountConfig {
    pub fn new(source: Source, client_name: impl Into<String>) -> MountConfig {
        MountConfig {
            coordinators: source.coordinators,
            volume: source.volume,
            subdir: source.subdir,
            timeout: DEFAULT_TIMEOUT,
            buffer_size: DEFAULT_BUFFER_SIZE,
            disk_cache: None,
            read_only: false,
            atime: Atime::default(),
            client_name: client_name.into(),
            attr_ttl: DEFAULT_CACHE_TTL,
            entry_ttl: DEFAULT_CACHE_TTL,
            observer: Observer::new(),
            metrics_listen: Listen::Off,
            slow_call: DEFAULT_SLOW_CALL,
            writes_back: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read() {
        let source = Source::parse("dfs://a,b:1,[::1],[::1]:2/vol/x//y/").unwrap();
        assert_eq!(source.coordinators, ["a:7400", "b:1", "[::1]:7400", "[::1]:2"]);
        assert_eq!((source.volume.as_str(), source.subdir.as_str()), ("vol", "x/y"));
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for bad in [
            "",
            "dfs://",
            "dfs://h",
            "dfs://h/",
            "dfs:///v",
            "nfs://h/v",
            "dfs://h:x/v",
            "dfs://h/v/../w",
        ] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }
}
