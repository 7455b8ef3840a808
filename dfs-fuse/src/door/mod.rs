//! DFS behind the kernel's door: each callback converts, calls `dfs_client::vfs::Vfs`, and replies. One file per group
//! of callbacks; every decision of POSIX is made in the core or the client. Made by `dfs mount`.

mod attributes;
mod convert;
mod directories;
mod figures;
mod files;
mod invalidate;
mod locks;
mod names;
mod xattrs;

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use dfs_client::ioctl::{
    DFS_IOC_PROFILE, DFS_IOC_REPORT, DFS_IOC_SYNC, DFS_IOC_WARM, WarmAsk, profile_ask, report_answer,
    report_page,
};
use dfs_client::report;
use dfs_client::vfs::{Caller, Vfs};
use dfs_client::wait::Cancel;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;

use crate::kernel::answer::*;
use crate::kernel::reply::{Data, Directory, Errno, IoctlOutput, Reply, Xattr};
use crate::kernel::request::*;
use crate::kernel::{Filesystem, Request};

use figures::Calls;
pub use invalidate::Invalidate;

/// The file system as the kernel sees it.
pub struct Door {
    vfs: Arc<Vfs>,
    /// Mounted with `-o sync`: every write is durable when it returns.
    sync: bool,
    calls: Calls,
    /// The user whose process serves this mount.
    owner: u32,
}

impl Door {
    pub fn new(vfs: Arc<Vfs>, sync: bool) -> Self {
        let calls = Calls::new(&vfs.observer().metrics);
        let owner = nix::unistd::geteuid().as_raw();
        Self {
            vfs,
            sync,
            calls,
            owner,
        }
    }

    /// Calls the client on behalf of the request's caller; its waits end with the request.
    fn call<T>(
        &self,
        req: &Request<'_>,
        call: impl FnOnce(&Vfs, &Caller<'_>) -> FsResult<T>,
    ) -> Result<T, Errno> {
        let cancel = cancel(req);
        let caller = Caller {
            uid: req.uid,
            gid: req.gid,
            pid: req.pid,
            cancel: Some(&cancel),
        };
        call(&self.vfs, &caller).map_err(|error| {
            self.calls.failed(error);
            errno(error)
        })
    }

    /// A page of what this mount counts of itself, for root and whoever mounted it.
    fn report(&self, req: &Request<'_>, ioctl: &Ioctl<'_>) -> FsResult<Vec<u8>> {
        self.check_owner(req)?;
        let page = match report_page(ioctl.input).ok_or(FsError::Invalid)? {
            report::CALLS => Some(self.calls.page()),
            page => self.vfs.report(page),
        };
        let text = page.ok_or(FsError::Invalid)?.to_string();
        report_answer(&text).ok_or(FsError::TooBig)
    }

    fn profile(&self, req: &Request<'_>, ioctl: &Ioctl<'_>) -> FsResult<Vec<u8>> {
        self.check_owner(req)?;
        let (length, slower) = profile_ask(ioctl.input).ok_or(FsError::Invalid)?;
        self.vfs.profile(length, slower)?;
        Ok(Vec::new())
    }

    fn check_owner(&self, req: &Request<'_>) -> FsResult<()> {
        match req.uid == 0 || req.uid == self.owner {
            true => Ok(()),
            false => Err(FsError::NotPermitted),
        }
    }
}

fn cancel(req: &Request<'_>) -> Cancel {
    let cancel = Cancel::new();
    let fired = cancel.clone();
    req.interrupt.on_fire(move || fired.cancel());
    cancel
}

fn errno(error: FsError) -> Errno {
    Errno(error.errno())
}

/// Callbacks that are a conversion, a call and a reply: `method(arguments) -> answer = group::function`.
macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $kind:ty = $group:ident;)*) => {
        $(fn $name(&self, req: &Request<'_>, $($arg: $type,)* reply: Reply<$kind>) {
            reply.send(self.call(req, |vfs, caller| $group::$name(vfs, caller, Ino(req.node), $($arg),*)));
            self.vfs.answered();
        })*
    };
}

impl Filesystem for Door {
    forward! {
        lookup(name: &[u8]) -> Entry = names;
        symlink(name: &[u8], target: &[u8]) -> Entry = names;
        mknod(name: &[u8], make: &MkNod) -> Entry = names;
        mkdir(name: &[u8], mode: u32, umask: u32) -> Entry = names;
        unlink(name: &[u8]) -> Done = names;
        rmdir(name: &[u8]) -> Done = names;
        rename(rename: &Rename<'_>) -> Done = names;
        link(node: u64, new_name: &[u8]) -> Entry = names;
        getattr(handle: Option<u64>) -> Attributes = attributes;
        statx(statx: &Statx) -> Extended = attributes;
        setattr(set: &SetAttr) -> Attributes = attributes;
        statfs() -> Statistics = attributes;
        open(open: &Open) -> Opened = files;
        create(name: &[u8], create: &Create) -> Created = files;
        tmpfile(create: &Create) -> Created = files;
        flush(handle: u64, lock_owner: u64) -> Done = files;
        release(release: &Release) -> Done = files;
        fsync(handle: u64, data_only: bool) -> Done = files;
        fallocate(allocate: &Allocate) -> Done = files;
        lseek(seek: &Seek) -> Offset = files;
        copy_file_range(copy: &CopyRange) -> Copied = files;
        opendir(open: &Open) -> Opened = directories;
        releasedir(release: &Release) -> Done = directories;
        fsyncdir(handle: u64, data_only: bool) -> Done = directories;
        setxattr(set: &SetXattr<'_>) -> Done = xattrs;
        removexattr(name: &[u8]) -> Done = xattrs;
        getlk(lock: &LockRequest) -> FileLock = locks;
    }

    fn served(&self, operation: usize, node: u64, time: Duration) {
        self.calls.took(operation, time);
        self.vfs.served(Operation::NAMES[operation], Ino(node), time);
    }

    fn kept(&self, time: Duration) {
        self.vfs.waited_for_thread(time);
    }

    fn forget(&self, node: u64, lookups: u64) {
        self.vfs.forget(Ino(node), lookups);
    }

    fn readlink(&self, req: &Request<'_>, reply: Reply<Data>) {
        match self.call(req, |vfs, caller| vfs.readlink(caller, Ino(req.node))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(&self, req: &Request<'_>, read: &Read, reply: Reply<Data>) {
        let read = |vfs: &Vfs, caller: &Caller<'_>| {
            // What goes to the caller's own memory bears the mark of its lock owner; what fills pages does not.
            let into_pages = read.lock_owner.is_none();
            vfs.read(
                caller,
                Ino(req.node),
                read.handle,
                read.offset,
                read.size,
                into_pages,
            )
        };
        match self.call(req, read) {
            Ok(parts) => {
                self.vfs
                    .moved(parts.iter().map(|part| part.len() as u64).sum(), 0);
                reply.slices(&parts.iter().map(|part| IoSlice::new(part)).collect::<Vec<_>>());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(&self, req: &Request<'_>, write: &Write<'_>, reply: Reply<Written>) {
        self.vfs.moved(0, write.data.len() as u64);
        reply.send(self.call(req, |vfs, caller| {
            files::write(vfs, caller, Ino(req.node), write, self.sync)
        }));
    }

    fn readdir(&self, req: &Request<'_>, read: &Read, reply: Reply<Directory>) {
        match self.call(req, |vfs, caller| {
            directories::list(vfs, caller, Ino(req.node), read, false)
        }) {
            Ok(listing) => reply.listing(&listing),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(&self, req: &Request<'_>, read: &Read, reply: Reply<Directory>) {
        match self.call(req, |vfs, caller| {
            directories::list(vfs, caller, Ino(req.node), read, true)
        }) {
            Ok(listing) => reply.listing(&listing),
            Err(errno) => reply.error(errno),
        }
        self.vfs.answered();
    }

    fn getxattr(&self, req: &Request<'_>, name: &[u8], reply: Reply<Xattr>) {
        match self.call(req, |vfs, caller| vfs.getxattr(caller, Ino(req.node), name)) {
            Ok(value) => reply.value(&value),
            Err(errno) => reply.error(errno),
        }
    }

    fn listxattr(&self, req: &Request<'_>, reply: Reply<Xattr>) {
        match self.call(req, |vfs, caller| xattrs::list(vfs, caller, Ino(req.node))) {
            Ok(names) => reply.value(&names),
            Err(errno) => reply.error(errno),
        }
    }

    fn setlk(&self, req: &Request<'_>, lock: &LockRequest, reply: Reply<Done>) {
        locks::set(&self.vfs, req, lock, false, reply);
    }

    fn setlkw(&self, req: &Request<'_>, lock: &LockRequest, reply: Reply<Done>) {
        locks::set(&self.vfs, req, lock, true, reply);
    }

    fn syncfs(&self, req: &Request<'_>, reply: Reply<Done>) {
        reply.send(self.call(req, |vfs, caller| vfs.syncfs(caller)).map(|()| Done));
    }

    fn ioctl(&self, req: &Request<'_>, ioctl: &Ioctl<'_>, reply: Reply<IoctlOutput>) {
        let output = match ioctl.command {
            DFS_IOC_SYNC => self.call(req, |vfs, caller| vfs.syncfs(caller).map(|()| Vec::new())),
            DFS_IOC_WARM => self.call(req, |vfs, caller| {
                let ask = WarmAsk::decode(ioctl.input).ok_or(FsError::Invalid)?;
                Ok(vfs.warm(caller, Ino(req.node), ask)?.encode().to_vec())
            }),
            DFS_IOC_REPORT => self.report(req, ioctl).map_err(errno),
            DFS_IOC_PROFILE => self.profile(req, ioctl).map_err(errno),
            _ => return reply.error(Errno(libc::ENOTTY)),
        };
        match output {
            Ok(output) => reply.output(0, &output),
            Err(errno) => reply.error(errno),
        }
    }
}
