//! What a file system behind this door must do: one method per operation, answered through a `Reply`, now or later,
//! here or on another thread. Called by the session's threads, many at once. Defaults answer ENOSYS, after which the
//! kernel does without the operation.

use std::time::Duration;

use super::answer::*;
use super::init::Negotiated;
use super::reply::{Data, Directory, Errno, IoctlOutput, Reply, Xattr};
use super::request::*;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $kind:ty;)*) => {
        $($(#[$doc])*
        #[allow(unused_variables)]
        fn $name(&self, req: &Request<'_>, $($arg: $type,)* reply: Reply<$kind>) {
            reply.error(Errno(libc::ENOSYS));
        })*
    };
}

pub trait Filesystem: Send + Sync + 'static {
    /// Before any other call.
    fn start(&self, _negotiated: &Negotiated) {}
    /// After the last call: unmounted or aborted.
    fn stop(&self) {}
    /// The kernel dropped `lookups` references to `node`; never answered.
    fn forget(&self, _node: u64, _lookups: u64) {}

    /// This thread has served a call (`Operation::NAMES[operation]`); one that waits for a lock may be answered later.
    fn served(&self, _operation: usize, _node: u64, _time: Duration) {}

    /// The call that this thread is about to serve was read so long ago, and waited for a thread.
    fn kept(&self, _time: Duration) {}

    operations! {
        lookup(name: &[u8]) -> Entry;
        getattr(handle: Option<u64>) -> Attributes;
        statx(statx: &Statx) -> Extended;
        setattr(set: &SetAttr) -> Attributes;
        readlink() -> Data;
        symlink(name: &[u8], target: &[u8]) -> Entry;
        mknod(name: &[u8], make: &MkNod) -> Entry;
        mkdir(name: &[u8], mode: u32, umask: u32) -> Entry;
        unlink(name: &[u8]) -> Done;
        rmdir(name: &[u8]) -> Done;
        rename(rename: &Rename<'_>) -> Done;
        /// `req.node` is the directory, `node` the inode that gets the name.
        link(node: u64, new_name: &[u8]) -> Entry;
        open(open: &Open) -> Opened;
        create(name: &[u8], create: &Create) -> Created;
        tmpfile(create: &Create) -> Created;
        read(read: &Read) -> Data;
        write(write: &Write<'_>) -> Written;
        flush(handle: u64, lock_owner: u64) -> Done;
        release(release: &Release) -> Done;
        fsync(handle: u64, data_only: bool) -> Done;
        opendir(open: &Open) -> Opened;
        readdir(read: &Read) -> Directory;
        readdirplus(read: &Read) -> Directory;
        releasedir(release: &Release) -> Done;
        fsyncdir(handle: u64, data_only: bool) -> Done;
        statfs() -> Statistics;
        syncfs() -> Done;
        access(mask: u32) -> Done;
        setxattr(set: &SetXattr<'_>) -> Done;
        getxattr(name: &[u8]) -> Xattr;
        listxattr() -> Xattr;
        removexattr(name: &[u8]) -> Done;
        getlk(lock: &LockRequest) -> FileLock;
        setlk(lock: &LockRequest) -> Done;
        /// Waits: keep the reply and answer later, EINTR when `req.interrupt` fires.
        setlkw(lock: &LockRequest) -> Done;
        ioctl(ioctl: &Ioctl<'_>) -> IoctlOutput;
        poll(poll: &Poll) -> Ready;
        fallocate(allocate: &Allocate) -> Done;
        lseek(seek: &Seek) -> Offset;
        copy_file_range(copy: &CopyRange) -> Copied;
    }
}
