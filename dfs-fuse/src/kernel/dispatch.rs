//! From an understood operation to the method that does it. Called by the session for everything that is answered.

use std::sync::Arc;

use super::device::Device;
use super::filesystem::Filesystem;
use super::interrupt::EndsBy;
use super::reply::{Errno, Reply};
use super::request::*;

/// What may end a wait in this operation.
pub fn ends_by(operation: &Operation<'_>) -> EndsBy {
    match operation {
        Operation::WaitLock(_) => EndsBy::AnySignal,
        Operation::Read(read) if read.flags & libc::O_DIRECT as u32 == 0 => EndsBy::Exit,
        _ => EndsBy::Death,
    }
}

/// Largest length that COPY_FILE_RANGE's 32-bit answer can name, at a page's bound.
const NARROW_COPY: u64 = 0xffff_f000;

pub fn dispatch(fs: &dyn Filesystem, req: &Request<'_>, operation: Operation<'_>, device: &Arc<Device>) {
    use Operation as Op;
    macro_rules! to {
        ($method:ident($($arg:expr),*)) => { to!($method($($arg),*), 0) };
        ($method:ident($($arg:expr),*), $room:expr) => {
            fs.$method(req, $($arg,)* Reply::new(device.clone(), req.unique, $room as usize))
        };
    }
    match operation {
        Op::Lookup { name } => to!(lookup(name)),
        Op::GetAttr { handle } => to!(getattr(handle)),
        Op::Statx(statx) => to!(statx(&statx)),
        Op::SetAttr(set) => to!(setattr(&set)),
        Op::ReadLink => to!(readlink(), libc::PATH_MAX - 1),
        Op::Symlink { name, target } => to!(symlink(name, target)),
        Op::MkNod { name, make } => to!(mknod(name, &make)),
        Op::MkDir { name, mode, umask } => to!(mkdir(name, mode, umask)),
        Op::Unlink { name } => to!(unlink(name)),
        Op::RmDir { name } => to!(rmdir(name)),
        Op::Rename(rename) => to!(rename(&rename)),
        Op::Link { node, new_name } => to!(link(node, new_name)),
        Op::Open(open) => to!(open(&open)),
        Op::Create { name, create } => to!(create(name, &create)),
        Op::TmpFile(create) => to!(tmpfile(&create)),
        Op::Read(read) => to!(read(&read), read.size),
        Op::Write(write) => to!(write(&write)),
        Op::Flush { handle, lock_owner } => to!(flush(handle, lock_owner)),
        Op::Release(release) => to!(release(&release)),
        Op::Fsync { handle, data_only } => to!(fsync(handle, data_only)),
        Op::OpenDir(open) => to!(opendir(&open)),
        Op::ReadDir(read) => to!(readdir(&read), read.size),
        Op::ReadDirPlus(read) => to!(readdirplus(&read), read.size),
        Op::ReleaseDir(release) => to!(releasedir(&release)),
        Op::FsyncDir { handle, data_only } => to!(fsyncdir(handle, data_only)),
        Op::StatFs => to!(statfs()),
        Op::SyncFs => to!(syncfs()),
        Op::Access { mask } => to!(access(mask)),
        Op::SetXattr(set) => to!(setxattr(&set)),
        Op::GetXattr { name, size } => to!(getxattr(name), size),
        Op::ListXattr { size } => to!(listxattr(), size),
        Op::RemoveXattr { name } => to!(removexattr(name)),
        Op::GetLock(lock) => to!(getlk(&lock)),
        Op::SetLock(lock) => to!(setlk(&lock)),
        Op::WaitLock(lock) => to!(setlkw(&lock)),
        Op::Ioctl(ioctl) => to!(ioctl(&ioctl), ioctl.output_size),
        Op::Poll(poll) => to!(poll(&poll)),
        Op::Allocate(allocate) => to!(fallocate(&allocate)),
        Op::Seek(seek) => to!(lseek(&seek)),
        Op::CopyRange { copy, wide: true } => to!(copy_file_range(&copy), 8),
        Op::CopyRange {
            mut copy,
            wide: false,
        } => {
            copy.length = copy.length.min(NARROW_COPY);
            to!(copy_file_range(&copy), 4)
        }
        Op::Destroy => device.answer(req.unique, 0, &[]),
        // A second INIT, or something that is never answered: the session sorted those out before.
        Op::Init(_) | Op::Interrupt { .. } | Op::Forget { .. } | Op::BatchForget(_) | Op::NotifyReply => {
            device.answer(req.unique, Errno(libc::EIO).0, &[]);
        }
    }
}
