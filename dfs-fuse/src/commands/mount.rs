//! `dfs mount`: reads the options, checks the mountpoint, and serves here or in the background. Also called by
//! `mount_program` with what mount(8) gave it.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use clap::Args;
use dfs_client::config::{Atime, MountConfig, Source};
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
  sync, dirsync          every write is durable when it returns
  suid, dev, exec        and their opposites nosuid, nodev, noexec
  subdir=DIRECTORY       mount this directory of the volume
  cache-size=SIZE        memory for cached content, such as 512M or 2G [256M]
  cache-dir=DIRECTORY    keep cached content on this local disk too
  attr-cache=TIME        how long the kernel may keep attributes while a lease protects them [1h]
  entry-cache=TIME       the same for names; also dir-entry-cache, negative-timeout
  timeout=TIME           longest wait for a server before a call fails with an error [30s]
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
    config.cache_dir = options
        .cache_dir
        .as_deref()
        .map(std::path::absolute)
        .transpose()?;
    config.cache_size = options.cache_size.unwrap_or(config.cache_size);
    config.timeout = options.timeout.unwrap_or(config.timeout);
    config.attr_ttl = options.attr_ttl.unwrap_or(config.attr_ttl);
    config.entry_ttl = options.entry_ttl.unwrap_or(config.entry_ttl);
    Ok(config)
}
