//! The `-o` options of `dfs mount` and fstab. Pure; called by `mount` and `mount_program`. Unknown ones are refused by
//! name; those that concern mount(8), systemd or the VFS are understood, so that any fstab line works.

use std::path::PathBuf;
use std::time::Duration;

use dfs_client::observe::Listen;
use nix::mount::MsFlags;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("unknown mount option `{0}`; `dfs mount --help` lists those that dfs knows")]
    Unknown(String),
    #[error("mount option `{name}` needs a value: {name}={wants}")]
    NoValue { name: String, wants: &'static str },
    #[error("mount option `{name}={value}`: not understood; write {name}={wants}")]
    BadValue {
        name: String,
        value: String,
        wants: &'static str,
    },
}

/// What the options say; `None` leaves the client's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub flags: MsFlags,
    pub remount: bool,
    pub allow_other: bool,
    /// Mount over a directory that is not empty.
    pub nonempty: bool,
    pub subdir: Option<String>,
    pub cache_dir: Option<PathBuf>,
    pub cache_size: Option<u64>,
    pub buffer_size: Option<u64>,
    pub timeout: Option<Duration>,
    pub attr_ttl: Option<Duration>,
    pub entry_ttl: Option<Duration>,
    /// Where figures are served.
    pub metrics: Option<Listen>,
    pub slow_call: Option<Duration>,
    /// Names and attributes are changed by the mount itself where leases allow it: `nowsync`.
    pub writes_back: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flags: MsFlags::empty(),
            remount: false,
            allow_other: false,
            nonempty: false,
            subdir: None,
            cache_dir: None,
            cache_size: None,
            buffer_size: None,
            timeout: None,
            attr_ttl: None,
            entry_ttl: None,
            metrics: None,
            slow_call: None,
            writes_back: true,
        }
    }
}

/// VFS flags by name: what each sets and what it takes away.
const FLAGS: &[(&str, MsFlags, MsFlags)] = {
    const NONE: MsFlags = MsFlags::empty();
    &[
        ("ro", MsFlags::MS_RDONLY, NONE),
        ("rw", NONE, MsFlags::MS_RDONLY),
        ("nosuid", MsFlags::MS_NOSUID, NONE),
        ("suid", NONE, MsFlags::MS_NOSUID),
        ("nodev", MsFlags::MS_NODEV, NONE),
        ("dev", NONE, MsFlags::MS_NODEV),
        ("noexec", MsFlags::MS_NOEXEC, NONE),
        ("exec", NONE, MsFlags::MS_NOEXEC),
        ("sync", MsFlags::MS_SYNCHRONOUS, NONE),
        ("async", NONE, MsFlags::MS_SYNCHRONOUS),
        ("dirsync", MsFlags::MS_DIRSYNC, NONE),
        (
            "noatime",
            MsFlags::MS_NOATIME,
            MsFlags::MS_RELATIME.union(MsFlags::MS_STRICTATIME),
        ),
        ("atime", NONE, MsFlags::MS_NOATIME),
        (
            "relatime",
            MsFlags::MS_RELATIME,
            MsFlags::MS_NOATIME.union(MsFlags::MS_STRICTATIME),
        ),
        ("norelatime", NONE, MsFlags::MS_RELATIME),
        (
            "strictatime",
            MsFlags::MS_STRICTATIME,
            MsFlags::MS_NOATIME.union(MsFlags::MS_RELATIME),
        ),
        ("nostrictatime", NONE, MsFlags::MS_STRICTATIME),
        ("nodiratime", MsFlags::MS_NODIRATIME, NONE),
        ("diratime", NONE, MsFlags::MS_NODIRATIME),
        ("lazytime", MsFlags::MS_LAZYTIME, NONE),
        ("nolazytime", NONE, MsFlags::MS_LAZYTIME),
        ("bind", MsFlags::MS_BIND, NONE),
    ]
};

/// Understood and of no consequence here: for mount(8), systemd and people; the kernel's own names, which a remount
/// repeats; mandatory locks, which Linux no longer has.
const WITHOUT_EFFECT: &[&str] = &[
    "defaults",
    "default_permissions",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "group",
    "comment",
    "mand",
    "nomand",
    "silent",
    "loud",
    "iversion",
    "noiversion",
    "symfollow",
    "user_id",
    "group_id",
    "max_read",
    "rootmode",
];

impl Options {
    /// Reads a comma-separated list; later options win. `sloppy` skips unknown ones (`mount -s`).
    pub fn parse(list: &str, sloppy: bool) -> Result<Self, OptionError> {
        let mut options = Options::default();
        for option in list.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            match options.take(option) {
                Err(OptionError::Unknown(_)) if sloppy => {}
                other => other?,
            }
        }
        Ok(options)
    }

    fn take(&mut self, option: &str) -> Result<(), OptionError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        if let Some((_, set, clear)) = FLAGS.iter().find(|(flag, ..)| *flag == name && value.is_none()) {
            self.flags = (self.flags - *clear) | *set;
            return Ok(());
        }
        if WITHOUT_EFFECT.contains(&name) || name.starts_with("x-") || name.starts_with("X-") {
            return Ok(());
        }
        // fstab has both spellings, often in one line.
        match name.replace('_', "-").as_str() {
            "remount" => self.remount = true,
            "allow-other" => self.allow_other = true,
            "nonempty" => self.nonempty = true,
            "subdir" => self.subdir = Some(needed(name, value, "DIRECTORY")?.to_string()),
            "cache-dir" => self.cache_dir = Some(needed(name, value, "DIRECTORY")?.into()),
            "cache-size" => self.cache_size = Some(size(name, value)?),
            "buffer-size" => self.buffer_size = Some(size(name, value)?),
            "metrics" => self.metrics = Some(listen(name, value)?),
            "wsync" => self.writes_back = false,
            "nowsync" => self.writes_back = true,
            "slow-call" => self.slow_call = Some(duration(name, value)?),
            "timeout" => self.timeout = Some(duration(name, value)?),
            "attr-cache" | "attr-timeout" => self.attr_ttl = Some(duration(name, value)?),
            // One time for all names, present or absent: the shortest that was asked for.
            "entry-cache"
            | "entry-timeout"
            | "dir-entry-cache"
            | "negative-entry-cache"
            | "negative-timeout" => {
                let asked = duration(name, value)?;
                self.entry_ttl = Some(self.entry_ttl.map_or(asked, |ttl| ttl.min(asked)));
            }
            _ => return Err(OptionError::Unknown(name.to_string())),
        }
        Ok(())
    }
}

fn needed<'a>(name: &str, value: Option<&'a str>, wants: &'static str) -> Result<&'a str, OptionError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| OptionError::NoValue {
            name: name.to_string(),
            wants,
        })
}

/// An address, or nowhere.
fn listen(name: &str, value: Option<&str>) -> Result<Listen, OptionError> {
    const WANTS: &str = "ADDRESS:PORT or metrics=off";
    let value = needed(name, value, WANTS)?;
    value.parse().map_err(|_| OptionError::BadValue {
        name: name.to_string(),
        value: value.to_string(),
        wants: WANTS,
    })
}

/// Number and unit, apart.
fn split_unit(value: &str) -> (&str, &str) {
    value.split_at(
        value
            .find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(value.len()),
    )
}

/// Bytes; a bare number counts MiB, as elsewhere in the field.
fn size(name: &str, value: Option<&str>) -> Result<u64, OptionError> {
    const WANTS: &str = "SIZE such as 512M or 2G (a bare number is MiB)";
    let value = needed(name, value, WANTS)?;
    let bad = || OptionError::BadValue {
        name: name.to_string(),
        value: value.to_string(),
        wants: WANTS,
    };
    let (number, unit) = split_unit(value);
    let shift = match unit
        .to_ascii_lowercase()
        .trim_end_matches('b')
        .trim_end_matches('i')
    {
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "" if unit.is_empty() => 20,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// A time; a bare number counts seconds.
pub(super) fn duration(name: &str, value: Option<&str>) -> Result<Duration, OptionError> {
    const WANTS: &str = "TIME such as 30, 0.5, 500ms or 5m (a bare number is seconds)";
    let value = needed(name, value, WANTS)?;
    let bad = || OptionError::BadValue {
        name: name.to_string(),
        value: value.to_string(),
        wants: WANTS,
    };
    let (number, unit) = split_unit(value);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Options {
        Options::parse(list, false).unwrap()
    }

    #[test]
    fn an_fstab_line_as_people_write_it_is_understood() {
        let options = parse(
            "defaults,ro,_netdev,nofail,noauto,x-systemd.automount,x-systemd.requires=network.target,user,users,\
             comment=hello,suid,dev,exec,async,mand,X-mount.mkdir,default_permissions,allow_other,owner,group",
        );
        assert_eq!(options.flags, MsFlags::MS_RDONLY);
        assert!(options.allow_other && !options.remount);
    }

    #[test]
    fn later_options_win_and_opposites_cancel() {
        assert_eq!(
            parse("ro,rw,nosuid,suid,nodev,dev,noexec,exec,sync,async").flags,
            MsFlags::empty()
        );
        assert_eq!(parse("relatime,noatime").flags, MsFlags::MS_NOATIME);
        assert_eq!(parse("noatime,relatime").flags, MsFlags::MS_RELATIME);
        let all = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_DIRSYNC;
        assert_eq!(parse("nosuid,nodev,noexec,dirsync").flags, all);
        assert_eq!(parse("").flags, MsFlags::empty());
    }

    #[test]
    fn a_remount_may_repeat_what_the_kernel_shows() {
        let shown = "rw,nosuid,relatime,user_id=0,group_id=0,default_permissions,allow_other,max_read=1048576,remount,ro";
        let options = parse(shown);
        assert!(options.remount);
        assert_eq!(
            options.flags,
            MsFlags::MS_NOSUID | MsFlags::MS_RELATIME | MsFlags::MS_RDONLY
        );
    }

    #[test]
    fn values_are_read_in_the_fields_spellings() {
        let options =
            parse("cache-dir=/var/cache/dfs,cache_size=512,timeout=10,attr-cache=0.5,subdir=a/b,nonempty");
        assert_eq!(options.cache_dir.as_deref(), Some("/var/cache/dfs".as_ref()));
        assert_eq!(options.cache_size, Some(512 << 20));
        assert_eq!(options.timeout, Some(Duration::from_secs(10)));
        assert_eq!(options.attr_ttl, Some(Duration::from_millis(500)));
        assert_eq!(options.subdir.as_deref(), Some("a/b"));
        assert!(options.nonempty);
        assert_eq!(parse("cache-size=2GiB").cache_size, Some(2 << 30));
        assert_eq!(parse("buffer_size=300").buffer_size, Some(300 << 20));
        assert_eq!(parse("cache-size=4k").cache_size, Some(4096));
        assert_eq!(parse("attr_timeout=1m").attr_ttl, Some(Duration::from_secs(60)));
        assert_eq!(parse("metrics=off").metrics, Some(Listen::Off));
        let shown = parse("metrics=127.0.0.1:7490,slow-call=250ms");
        assert_eq!(shown.metrics, Some(Listen::At(([127, 0, 0, 1], 7490).into())));
        assert_eq!(shown.slow_call, Some(Duration::from_millis(250)));
        let shortest = parse("entry-cache=5,dir-entry-cache=300ms,negative_timeout=1");
        assert_eq!(shortest.entry_ttl, Some(Duration::from_millis(300)));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let refused = |list: &str| Options::parse(list, false).unwrap_err().to_string();
        assert!(refused("ro,no-such-option").contains("`no-such-option`"));
        assert!(refused("allow_root").contains("`allow_root`"));
        assert!(refused("cache-dir").contains("cache-dir=DIRECTORY"));
        assert!(refused("timeout=soon").contains("timeout=soon"));
        assert!(refused("timeout=-1").contains("timeout=-1"));
        assert!(refused("cache-size=9999999999999T").contains("cache-size"));
        assert!(refused("cache-size=5x").contains("5x"));
        assert!(refused("metrics=7490").contains("metrics=7490"));
        assert!(refused("ro=1").contains("`ro`"));
        assert_eq!(
            Options::parse("no-such-option,ro", true).unwrap().flags,
            MsFlags::MS_RDONLY
        );
        assert!(Options::parse("timeout=x", true).is_err());
    }
}
