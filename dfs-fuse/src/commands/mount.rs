//! `dfs mount`: reads the options, checks the mountpoint, and serves here or in the background. Also called by
//! `mount_program` with what mount(8) gave it.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use clap::Args;
use dfs_client::config::{Atime, DEFAULT_DISK_CACHE_SIZE, DiskCacheConfig, MountConfig, Source};
use nix::mount::MsFlags;

use super::background::{self, Ready};
use super::options::Options;
use super::serve::{Plan, serve};
use super::{Failure, log};
use crate::kernel::mount::{self, Attach, check_mountpoint};
use crate::kernel::mountinfo;

/// Mount a volume, or a directory of it; returns when the mount is usable
#[derive(Args)]
#[command(after_help = OPTIONS)]
pub struct Mount {
    /// dfs://HOST[:PORT][,HOST...]/VOLUME[/SUBDIR]; the port is 7400 unless given
    pub source: String,
    /// An empty directory
    pub mountpoint: PathBuf,
    /// Comma-separated mount options, see below; may be repeated
    #[arg(short = 'o', long = "options", value_name = "OPTIONS")]
    pub options: Vec<String>,
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    pub foreground: bool,
    /// Log file of a mount in the background [default: /var/log/dfs-MOUNTPOINT.log]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Where the serving process says that the mount is usable.
    #[arg(long, hide = true)]
    pub ready_fd: Option<RawFd>,
    /// Skip options that dfs does not know (`mount -s`).
    #[arg(long, hide = true)]
    pub sloppy: bool,
}

const OPTIONS: &str = "\
Options after -o:
  ro, rw                 read-only or not [rw]
  allow_other            let other users in; without it only the mounting user is served
  default_permissions    the kernel checks permissions (always on)
  noatime, relatime      do reads change access times [relatime]
  sync                   every write and every change of names is durable when it returns; it includes wsync
  dirsync                the same for changes of names only: another word for wsync
  suid, dev, exec        and their opposites nosuid, nodev, noexec
  subdir=DIRECTORY       mount this directory of the volume
  buffer-size=SIZE       memory for cached content, such as 512M; a bare number is MiB [256M]
  cache-dir=DIRECTORY    keep cached content on this local disk too; it outlives the mount
  cache-size=SIZE        with cache-dir: most of that disk for this mount, at least 16M [10G];
                         without cache-dir: another name of buffer-size
  attr-cache=TIME        how long the kernel may keep attributes while a lease protects them [1h]
  entry-cache=TIME       the same for names; also dir-entry-cache, negative-timeout
  timeout=TIME           longest wait for a server before a call fails with an error [30s]
  metrics=ADDRESS:PORT   serve /metrics, /healthz and /readyz there; a mount does not unless told to [off]
  nowsync, wsync         nowsync: names and attributes are changed by the mount itself where nobody else is at work, seen by all
                         mounts at once, and durable within a second or by fsync of the file or directory, as on a local disk;
                         wsync: each change is durable when its call returns, which waits for a server's disk [nowsync]
  slow-call=TIME         calls that take longer get a line in the log [1s]
  nonempty               mount over a directory that is not empty
  remount                change ro, rw and the like of a mount in place
  _netdev, nofail, noauto, user, x-systemd.*, comment=...   accepted for fstab
attr_timeout, entry_timeout and negative_timeout are understood too.

Signals: SIGTERM and SIGINT flush and unmount.  Environment: DFS_LOG=debug logs more.";

impl Mount {
    pub fn run(self) -> Result<(), Failure> {
        let ready = self.ready_fd.map(Ready::from_number).transpose()?;
        match (self.run_with_options(), ready) {
            (Ok(Next::Done), _) => Ok(()),
            (Ok(Next::Serve(plan)), None) => {
                log::to_stderr();
                serve(*plan, || Ok(()))
            }
            (Ok(Next::Serve(plan)), Some(ready)) => serve_in_background(*plan, ready),
            (Err(failure), None) => Err(failure),
            (Err(failure), Some(ready)) => {
                ready.failed(&failure.to_string());
                Err(failure)
            }
        }
    }

    /// Everything up to serving.
    fn run_with_options(&self) -> Result<Next, Failure> {
        let list = self.options.join(",");
        let options = Options::parse(&list, self.sloppy)?;
        if options.remount {
            return self.remount(&list).map(|()| Next::Done);
        }
        let source = self.source(&options)?;
        let mountpoint = check_mountpoint(&self.mountpoint, options.nonempty)?;
        if !self.foreground && self.ready_fd.is_none() {
            return self.start_in_background(&mountpoint).map(|()| Next::Done);
        }
        let attach = Attach {
            source: self.source.clone(),
            mountpoint: mountpoint.clone(),
            flags: options.flags,
            allow_other: options.allow_other,
            default_permissions: true,
        };
        let config = configure(source, &options, &mountpoint)?;
        let sync = options.flags.contains(MsFlags::MS_SYNCHRONOUS);
        Ok(Next::Serve(Box::new(Plan { config, attach, sync })))
    }

    fn source(&self, options: &Options) -> Result<Source, Failure> {
        let whole = match &options.subdir {
            Some(subdir) => format!("{}/{subdir}", self.source),
            None => self.source.clone(),
        };
        Ok(Source::parse(&whole)?)
    }

    /// Changes the VFS flags of the mount that is there; its client goes on.
    fn remount(&self, list: &str) -> Result<(), Failure> {
        let mountpoint = mountinfo::absolute(&self.mountpoint)?;
        let mounted = mount::find(&mountpoint)?.ok_or_else(|| {
            format!(
                "no dfs is mounted on {}, so it cannot be remounted",
                mountpoint.display()
            )
        })?;
        let flags = Options::parse(&format!("{},{list}", mounted.options), true)?.flags;
        mount::remount(&mountpoint, flags)
            .map_err(|e| format!("cannot remount {}: {e}", mountpoint.display()).into())
    }

    fn start_in_background(&self, mountpoint: &Path) -> Result<(), Failure> {
        let mut args: Vec<OsString> = vec![self.source.clone().into(), mountpoint.into()];
        if !self.options.is_empty() {
            args.extend(["-o".into(), self.options.join(",").into()]);
        }
        if self.sloppy {
            args.push("--sloppy".into());
        }
        let log = self.log.clone().unwrap_or_else(|| log::default_file(mountpoint));
        background::start(&args, &log)
    }
}

/// What is left to do after the options.
enum Next {
    Done,
    Serve(Box<Plan>),
}

fn serve_in_background(plan: Plan, ready: Ready) -> Result<(), Failure> {
    log::to_stderr();
    // No directory of anybody's stays busy because of this process.
    std::env::set_current_dir("/")?;
    let mut ready = Some(ready);
    let result = serve(plan, || ready.take().map_or(Ok(()), Ready::usable));
    if let (Err(failure), Some(ready)) = (&result, ready) {
        ready.failed(&failure.to_string());
    }
    result
}

fn configure(source: Source, options: &Options, mountpoint: &Path) -> Result<MountConfig, Failure> {
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let mut config = MountConfig::new(
        source,
        format!("{host}:{}:{}", std::process::id(), mountpoint.display()),
    );
    // The kernel refuses changes of a read-only mount, and a remount tells only the kernel: the client stays able to
    // write, but reads must change nothing either.
    if options.flags.intersects(MsFlags::MS_NOATIME | MsFlags::MS_RDONLY) {
        config.atime = Atime::Noatime;
    }
    set_caches(&mut config, options)?;
    config.timeout = options.timeout.unwrap_or(config.timeout);
    config.metrics_listen = options.metrics.unwrap_or(config.metrics_listen);
    let each = MsFlags::MS_SYNCHRONOUS | MsFlags::MS_DIRSYNC;
    config.writes_back = options.writes_back && !options.flags.intersects(each);
    config.slow_call = options.slow_call.unwrap_or(config.slow_call);
    config.attr_ttl = options.attr_ttl.unwrap_or(config.attr_ttl);
    config.entry_ttl = options.entry_ttl.unwrap_or(config.entry_ttl);
    Ok(config)
}

/// `cache-size` is the disk's when there is one, as elsewhere in the field; otherwise all the cache there is.
fn set_caches(config: &mut MountConfig, options: &Options) -> Result<(), Failure> {
    let Some(dir) = &options.cache_dir else {
        if options.cache_size.is_some() && options.buffer_size.is_some() {
            return Err(
                "cache-size without cache-dir is memory, as buffer-size is: give one of them, or add cache-dir=DIRECTORY"
                    .into(),
            );
        }
        let memory = options.buffer_size.or(options.cache_size);
        config.buffer_size = memory.unwrap_or(config.buffer_size);
        return Ok(());
    };
    config.buffer_size = options.buffer_size.unwrap_or(config.buffer_size);
    config.disk_cache = Some(DiskCacheConfig {
        dir: std::path::absolute(dir)?,
        size: options.cache_size.unwrap_or(DEFAULT_DISK_CACHE_SIZE),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(options: &str) -> Result<MountConfig, Failure> {
        let source = Source::parse("dfs://localhost/v").unwrap();
        configure(
            source,
            &Options::parse(options, false).unwrap(),
            Path::new("/mnt"),
        )
    }

    #[test]
    fn whoever_asks_for_synchronous_changes_gets_them() {
        let writes_back = |options: &str| configured(options).unwrap().writes_back;
        assert!(writes_back("") && writes_back("wsync,nowsync") && writes_back("sync,async"));
        for synchronous in ["wsync", "nowsync,wsync", "sync", "dirsync", "sync,nowsync"] {
            assert!(!writes_back(synchronous), "{synchronous}");
        }
    }

    #[test]
    fn a_size_is_the_disks_when_there_is_a_directory() {
        let config = configured("cache-dir=/c,cache-size=20480").unwrap();
        let disk = DiskCacheConfig {
            dir: "/c".into(),
            size: 20 << 30,
        };
        assert_eq!((config.disk_cache, config.buffer_size), (Some(disk), 256 << 20));
        let config = configured("cache-dir=/c,buffer-size=64").unwrap();
        let size = config.disk_cache.map(|disk| disk.size);
        assert_eq!((size, config.buffer_size), (Some(10 << 30), 64 << 20));
        for memory in ["cache-size=64", "buffer-size=64M"] {
            let config = configured(memory).unwrap();
            assert_eq!((config.disk_cache, config.buffer_size), (None, 64 << 20));
        }
        assert!(configured("cache-size=1,buffer-size=1").is_err());
    }
}
