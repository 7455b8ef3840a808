//! What the kernel can ask: one variant per operation, borrowing names and payloads from the read buffer.
//! Made by `parse`, consumed by `dispatch`; the structs are handed to `Filesystem`. Decides nothing.

use super::interrupt::Interrupt;

/// Who asks, about which inode, and how the question may be cut short.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The kernel's id of this request; also that of its interrupt.
    pub unique: u64,
    /// The inode that the operation is about (the parent directory where a name follows).
    pub node: u64,
    pub uid: u32,
    pub gid: u32,
    /// Thread id of the caller in the mount's pid namespace; 0 when it has none there or the kernel itself asks.
    pub pid: u32,
    pub interrupt: &'a Interrupt,
}

/// The fixed head of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub len: u32,
    pub opcode: u32,
    pub unique: u64,
    pub node: u64,
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
    /// Length of the extensions behind the body, in units of 8 bytes.
    pub extensions: u16,
}

/// A time as the kernel writes it: seconds may be negative, nanoseconds count upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamp {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// utimensat's choices for one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    Now,
    At(Timestamp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// ftruncate and friends name the handle; path based calls do not.
    pub handle: Option<u64>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    pub ctime: Option<Timestamp>,
    pub lock_owner: Option<u64>,
    /// Clear set-user-id, and set-group-id if group-executable, as part of this change.
    pub kill_suidgid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MkNod {
    pub mode: u32,
    pub rdev: u32,
    pub umask: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rename<'a> {
    pub name: &'a [u8],
    pub new_parent: u64,
    pub new_name: &'a [u8],
    /// RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT.
    pub flags: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// open(2) flags.
    pub flags: u32,
    pub kill_suidgid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create {
    pub flags: u32,
    pub mode: u32,
    pub umask: u32,
    pub kill_suidgid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub handle: u64,
    pub offset: u64,
    pub size: u32,
    /// open(2) flags of the handle at this moment (fcntl may change them).
    pub flags: u32,
    pub lock_owner: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    pub handle: u64,
    pub offset: u64,
    pub data: &'a [u8],
    pub flags: u32,
    pub lock_owner: Option<u64>,
    /// Written back from the page cache: handle and caller are guesses.
    pub from_cache: bool,
    pub kill_suidgid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    pub handle: u64,
    pub flags: u32,
    pub lock_owner: u64,
    pub flock_unlock: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetXattr<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// XATTR_CREATE, XATTR_REPLACE.
    pub flags: u32,
    /// The caller may not keep set-group-id with this access ACL.
    pub acl_kill_sgid: bool,
}

/// A byte-range or whole-file lock, ends inclusive as in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLock {
    pub start: u64,
    pub end: u64,
    /// F_RDLCK, F_WRLCK, F_UNLCK.
    pub kind: u32,
    pub pid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRequest {
    pub handle: u64,
    pub owner: u64,
    pub lock: FileLock,
    /// flock(2) rather than fcntl(2).
    pub flock: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ioctl<'a> {
    pub handle: u64,
    pub flags: u32,
    pub command: u32,
    pub argument: u64,
    pub input: &'a [u8],
    pub output_size: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poll {
    pub handle: u64,
    pub kernel_handle: u64,
    pub flags: u32,
    pub events: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocate {
    pub handle: u64,
    pub offset: u64,
    pub length: u64,
    pub mode: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seek {
    pub handle: u64,
    pub offset: u64,
    pub whence: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRange {
    pub handle_in: u64,
    pub offset_in: u64,
    pub node_out: u64,
    pub handle_out: u64,
    pub offset_out: u64,
    pub length: u64,
    pub flags: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statx {
    pub handle: Option<u64>,
    pub flags: u32,
    pub mask: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitIn {
    pub major: u32,
    pub minor: u32,
    pub max_readahead: u32,
    pub flags: u64,
}

/// Pairs of (inode, lookups to drop) of a BATCH_FORGET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgets<'a> {
    pub(super) raw: &'a [u8],
}

impl Forgets<'_> {
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.raw.as_chunks::<16>().0.iter().map(|pair| {
            let (words, _) = pair.as_chunks::<8>();
            (u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1]))
        })
    }
}

/// One request, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    Init(InitIn),
    Destroy,
    Interrupt { unique: u64 },
    Forget { lookups: u64 },
    BatchForget(Forgets<'a>),
    NotifyReply,
    Lookup { name: &'a [u8] },
    GetAttr { handle: Option<u64> },
    Statx(Statx),
    SetAttr(SetAttr),
    ReadLink,
    Symlink { name: &'a [u8], target: &'a [u8] },
    MkNod { name: &'a [u8], make: MkNod },
    MkDir { name: &'a [u8], mode: u32, umask: u32 },
    Unlink { name: &'a [u8] },
    RmDir { name: &'a [u8] },
    Rename(Rename<'a>),
    Link { node: u64, new_name: &'a [u8] },
    Open(Open),
    Create { name: &'a [u8], create: Create },
    TmpFile(Create),
    Read(Read),
    Write(Write<'a>),
    Flush { handle: u64, lock_owner: u64 },
    Release(Release),
    Fsync { handle: u64, data_only: bool },
    OpenDir(Open),
    ReadDir(Read),
    ReadDirPlus(Read),
    ReleaseDir(Release),
    FsyncDir { handle: u64, data_only: bool },
    StatFs,
    SyncFs,
    Access { mask: u32 },
    SetXattr(SetXattr<'a>),
    GetXattr { name: &'a [u8], size: u32 },
    ListXattr { size: u32 },
    RemoveXattr { name: &'a [u8] },
    GetLock(LockRequest),
    SetLock(LockRequest),
    WaitLock(LockRequest),
    Ioctl(Ioctl<'a>),
    Poll(Poll),
    Allocate(Allocate),
    Seek(Seek),
    CopyRange { copy: CopyRange, wide: bool },
}

impl Operation<'_> {
    /// What calls are counted as.
    pub const NAMES: [&'static str; 40] = [
        "lookup",
        "getattr",
        "statx",
        "setattr",
        "readlink",
        "symlink",
        "mknod",
        "mkdir",
        "unlink",
        "rmdir",
        "rename",
        "link",
        "open",
        "create",
        "tmpfile",
        "read",
        "write",
        "flush",
        "release",
        "fsync",
        "opendir",
        "readdir",
        "readdirplus",
        "releasedir",
        "fsyncdir",
        "statfs",
        "syncfs",
        "access",
        "setxattr",
        "getxattr",
        "listxattr",
        "removexattr",
        "getlk",
        "setlk",
        "setlkw",
        "ioctl",
        "poll",
        "fallocate",
        "lseek",
        "copy_file_range",
    ];

    /// The place of this call's name in `NAMES`; none for what is no call of anybody.
    pub fn number(&self) -> Option<usize> {
        Some(match self {
            Operation::Lookup { .. } => 0,
            Operation::GetAttr { .. } => 1,
            Operation::Statx(_) => 2,
            Operation::SetAttr(_) => 3,
            Operation::ReadLink => 4,
            Operation::Symlink { .. } => 5,
            Operation::MkNod { .. } => 6,
            Operation::MkDir { .. } => 7,
            Operation::Unlink { .. } => 8,
            Operation::RmDir { .. } => 9,
            Operation::Rename(_) => 10,
            Operation::Link { .. } => 11,
            Operation::Open(_) => 12,
            Operation::Create { .. } => 13,
            Operation::TmpFile(_) => 14,
            Operation::Read(_) => 15,
            Operation::Write(_) => 16,
            Operation::Flush { .. } => 17,
            Operation::Release(_) => 18,
            Operation::Fsync { .. } => 19,
            Operation::OpenDir(_) => 20,
            Operation::ReadDir(_) => 21,
            Operation::ReadDirPlus(_) => 22,
            Operation::ReleaseDir(_) => 23,
            Operation::FsyncDir { .. } => 24,
            Operation::StatFs => 25,
            Operation::SyncFs => 26,
            Operation::Access { .. } => 27,
            Operation::SetXattr(_) => 28,
            Operation::GetXattr { .. } => 29,
            Operation::ListXattr { .. } => 30,
            Operation::RemoveXattr { .. } => 31,
            Operation::GetLock(_) => 32,
            Operation::SetLock(_) => 33,
            Operation::WaitLock(_) => 34,
            Operation::Ioctl(_) => 35,
            Operation::Poll(_) => 36,
            Operation::Allocate(_) => 37,
            Operation::Seek(_) => 38,
            Operation::CopyRange { .. } => 39,
            Operation::Init(_)
            | Operation::Destroy
            | Operation::Interrupt { .. }
            | Operation::Forget { .. }
            | Operation::BatchForget(_)
            | Operation::NotifyReply => return None,
        })
    }
}
