//! Bytes of /dev/fuse to `Operation`. Pure; called by the session for each request.
//! Nothing here panics whatever the bytes are: a bad request is `Refused`, which the session answers.

use super::abi::{self, cap, fattr, op};
use super::cursor::{Cursor, Malformed};
use super::request::*;

/// Why a request cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// An opcode that this door does not know: ENOSYS, which also stops the kernel from asking again.
    Unknown,
    /// Shorter or otherwise not as its opcode demands: EIO.
    Malformed,
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Refused::Malformed
    }
}

impl Header {
    /// Head of a request of exactly `bytes.len()` bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(bytes);
        let header = Header {
            len: c.u32()?,
            opcode: c.u32()?,
            unique: c.u64()?,
            node: c.u64()?,
            uid: c.u32()?,
            gid: c.u32()?,
            pid: c.u32()?,
            extensions: c.u16()?,
        };
        c.skip(2)?;
        Ok(header)
    }

    /// The body behind the head, without the extensions at its end.
    pub fn body<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
        if self.len as usize != bytes.len() {
            return Err(Malformed);
        }
        let end = bytes
            .len()
            .checked_sub(usize::from(self.extensions) * 8)
            .ok_or(Malformed)?;
        bytes.get(abi::IN_HEADER..end).ok_or(Malformed)
    }
}

/// The operation of `opcode` with this body. `setxattr_ext` says which layout of SETXATTR was negotiated.
pub fn operation(opcode: u32, body: &[u8], setxattr_ext: bool) -> Result<Operation<'_>, Refused> {
    let c = &mut Cursor::new(body);
    let operation = match opcode {
        op::INIT => init(c)?,
        op::DESTROY => Operation::Destroy,
        op::INTERRUPT => Operation::Interrupt { unique: c.u64()? },
        op::FORGET => Operation::Forget { lookups: c.u64()? },
        op::BATCH_FORGET => batch_forget(c)?,
        op::NOTIFY_REPLY => Operation::NotifyReply,
        op::STATFS => Operation::StatFs,
        op::SYNCFS => Operation::SyncFs,
        op::ACCESS => Operation::Access { mask: c.u32()? },
        op::GETATTR..=op::READLINK | op::LOOKUP | op::STATX => attributes(opcode, c)?,
        op::SYMLINK..=op::LINK | op::RENAME2 => names(opcode, c)?,
        op::SETXATTR..=op::REMOVEXATTR => xattrs(opcode, c, setxattr_ext)?,
        op::GETLK..=op::SETLKW => locks(opcode, c)?,
        op::OPENDIR..=op::FSYNCDIR | op::READDIRPLUS => directories(opcode, c)?,
        _ => files(opcode, c)?,
    };
    Ok(operation)
}

fn init<'a>(c: &mut Cursor<'a>) -> Result<Operation<'a>, Refused> {
    let (major, minor) = (c.u32()?, c.u32()?);
    if major > abi::MAJOR {
        return Ok(Operation::Init(InitIn {
            major,
            minor,
            max_readahead: 0,
            flags: 0,
        }));
    }
    let (max_readahead, low) = (c.u32()?, c.u32()?);
    let mut flags = u64::from(low);
    if flags & cap::INIT_EXT != 0 {
        flags |= u64::from(c.u32()?) << 32;
    }
    Ok(Operation::Init(InitIn {
        major,
        minor,
        max_readahead,
        flags,
    }))
}

fn batch_forget<'a>(c: &mut Cursor<'a>) -> Result<Operation<'a>, Refused> {
    let count = c.u32()? as usize;
    c.skip(4)?;
    let raw = c.bytes(count.checked_mul(16).ok_or(Malformed)?)?;
    Ok(Operation::BatchForget(Forgets { raw }))
}

fn attributes<'a>(opcode: u32, c: &mut Cursor<'a>) -> Result<Operation<'a>, Refused> {
    Ok(match opcode {
        op::LOOKUP => Operation::Lookup { name: c.name()? },
        op::READLINK => Operation::ReadLink,
        op::SETATTR => Operation::SetAttr(setattr(c)?),
        op::STATX => {
            let flags = c.u32()?;
            c.skip(4)?;
            let handle = c.u64()?;
            let handle = (flags & abi::GETATTR_FH != 0).then_some(handle);
            Operation::Statx(Statx {
                handle,
                flags: c.u32()?,
                mask: c.u32()?,
            })
        }
        _ => {
            let flags = c.u32()?;
            c.skip(4)?;
            let handle = c.u64()?;
            Operation::GetAttr {
                handle: (flags & abi::GETATTR_FH != 0).then_some(handle),
            }
        }
    })
}

fn setattr(c: &mut Cursor<'_>) -> Result<SetAttr, Refused> {
    let valid = c.u32()?;
    c.skip(4)?;
    let has = |bit: u32| valid & bit != 0;
    let (handle, size, lock_owner) = (c.u64()?, c.u64()?, c.u64()?);
    let seconds = [c.i64()?, c.i64()?, c.i64()?];
    let nanoseconds = [c.u32()?, c.u32()?, c.u32()?];
    let at = |i: usize| Timestamp {
        seconds: seconds[i],
        nanoseconds: nanoseconds[i],
    };
    let time = |set: u32, now: u32, i: usize| match (has(set), has(now)) {
        (_, true) => Some(SetTime::Now),
        (true, false) => Some(SetTime::At(at(i))),
        (false, false) => None,
    };
    let mode = c.u32()?;
    c.skip(4)?;
    let (uid, gid) = (c.u32()?, c.u32()?);
    Ok(SetAttr {
        handle: has(fattr::FH).then_some(handle),
        mode: has(fattr::MODE).then_some(mode),
        uid: has(fattr::UID).then_some(uid),
        gid: has(fattr::GID).then_some(gid),
        size: has(fattr::SIZE).then_some(size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, 0),
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, 1),
        ctime: has(fattr::CTIME).then(|| at(2)),
        lock_owner: has(fattr::LOCKOWNER).then_some(lock_owner),
        kill_suidgid: has(fattr::KILL_SUIDGID),
    })
}

fn names<'a>(opcode: u32, c: &mut Cursor<'a>) -> Result<Operation<'a>, Refused> {
    Ok(match opcode {
        op::SYMLINK => Operation::Symlink {
            name: c.name()?,
            target: c.text()?,
        },
        op::MKNOD => {
            let make = MkNod {
                mode: c.u32()?,
                rdev: c.u32()?,
                umask: c.u32()?,
            };
            c.skip(4)?;
            Operation::MkNod {
                name: c.name()?,
                make,
            }
        }
        op::MKDIR => {
            let (mode, umask) = (c.u32()?, c.u32()?);
            Operation::MkDir {
                name: c.name()?,
                mode,
                umask,
            }
        }
        op::UNLINK => Operation::Unlink { name: c.name()? },
        op::RMDIR => Operation::RmDir { name: c.name()? },
        op::RENAME | op::RENAME2 => {
            let new_parent = c.u64()?;
            let mut flags = 0;
            if opcode == op::RENAME2 {
                flags = c.u32()?;
                c.skip(4)?;
            }
            Operation::Rename(Rename {
                name: c.name()?,
                new_parent,
                new_name: c.name()?,
                flags,
            })
        }
        op::LINK => Operation::Link {
            node: c.u64()?,
            new_name: c.name()?,
        },
        _ => return Err(Refused::Unknown),
    })
}

fn xattrs<'a>(opcode: u32, c: &mut Cursor<'a>, setxattr_ext: bool) -> Result<Operation<'a>, Refused> {
    Ok(match opcode {
        op::SETXATTR => {
            let (size, flags) = (c.u32()? as usize, c.u32()?);
            let mut extra = 0;
            if setxattr_ext {
                extra = c.u32()?;
                c.skip(4)?;
            }
            let acl_kill_sgid = extra & abi::SETXATTR_ACL_KILL_SGID != 0;
            Operation::SetXattr(SetXattr {
                name: c.text()?,
                value: c.bytes(size)?,
                flags,
                acl_kill_sgid,
            })
        }
        op::REMOVEXATTR => Operation::RemoveXattr { name: c.text()? },
        op::GETXATTR | op::LISTXATTR => {
            let size = c.u32()?;
            c.skip(4)?;
            match opcode {
                op::GETXATTR => Operation::GetXattr {
                    name: c.text()?,
                    size,
                },
                _ => Operation::ListXattr { size },
            }
        }
        _ => return Err(Refused::Unknown),
    })
}

fn locks<'a>(opcode: u32, c: &mut Cursor<'a>) -> Result<Operation<'a>, Refused> {
    let (handle, owner) = (c.u64()?, c.u64()?);
    let lock = FileLock {
        start: c.u64()?,
        end: c.u64()?,
        kind: c.u32()?,
        pid: c.u32()?,
    };
    let flock = c.u32()? & abi::LK_FLOCK != 0;
    let request = LockRequest {
        handle,
        owner,
        lock,
        flock,
    };
    Ok(match opcode {
        op::GETLK => Operation::GetLock(request),
        op::SETLK => Operation::SetLock(request),
        _ => Operation::WaitLock(request),
    })
}

fn open(c: &mut Cursor<'_>) -> Result<Open, Malformed> {
    let flags = c.u32()?;
    Ok(Open {
        flags,
        kill_suidgid: c.u32()? & abi::OPEN_KILL_SUIDGID != 0,
    })
}

fn create(c: &mut Cursor<'_>) -> Result<Create, Malformed> {
    let (flags, mode, umask) = (c.u32()?, c.u32()?, c.u32()?);
    Ok(Create {
        flags,
        mode,
        umask,
        kill_suidgid: c.u32()? & abi::OPEN_KILL_SUIDGID != 0,
    })
}

fn read(c: &mut Cursor<'_>) -> Result<Read, Malformed> {
    let (handle, offset, size, read_flags) = (c.u64()?, c.u64()?, c.u32()?, c.u32()?);
    let (owner, flags) = (c.u64()?, c.u32()?);
    let lock_owner = (read_flags & abi::READ_LOCKOWNER != 0).then_some(owner);
    Ok(Read {
        handle,
        offset,
        size,
        flags,
        lock_owner,
    })
}

fn write<'a>(c: &mut Cursor<'a>) -> Result<Write<'a>, Malformed> {
    let (handle, offset, size, write_flags) = (c.u64()?, c.u64()?, c.u32()?, c.u32()?);
    let (owner, flags) = (c.u64()?, c.u32()?);
    c.skip(4)?;
    Ok(Write {
        handle,
        offset,
        data: c.bytes(size as usize)?,
        flags,
        lock_owner: (write_flags & abi::WRITE_LOCKOWNER != 0).then_some(owner),
        from_cache: write_flags & abi::WRITE_CACHE != 0,
        kill_suidgid: write_flags & abi::WRITE_KILL_SUIDGID != 0,
    })
}

fn release(c: &mut Cursor<'_>) -> Result<Release, Malformed> {
    let (handle, flags, release_flags) = (c.u64()?, c.u32()?, c.u32()?);
    let flock_unlock = release_flags & abi::RELEASE_FLOCK_UNLOCK != 0;
    Ok(Release {
        handle,
        flags,
        lock_owner: c.u64()?,
        flock_unlock,
    })
}

fn directories<'a>(opcode: u32, c: &mut Cursor<'a>) -> Result<Operation<'a>, Refused> {
    Ok(match opcode {
        op::OPENDIR => Operation::OpenDir(open(c)?),
        op::READDIR => Operation::ReadDir(read(c)?),
        op::READDIRPLUS => Operation::ReadDirPlus(read(c)?),
        op::RELEASEDIR => Operation::ReleaseDir(release(c)?),
        _ => {
            let handle = c.u64()?;
            Operation::FsyncDir {
                handle,
                data_only: c.u32()? & abi::FSYNC_FDATASYNC != 0,
            }
        }
    })
}

fn files<'a>(opcode: u32, c: &mut Cursor<'a>) -> Result<Operation<'a>, Refused> {
    Ok(match opcode {
        op::OPEN => Operation::Open(open(c)?),
        op::CREATE => {
            let create = create(c)?;
            Operation::Create {
                name: c.name()?,
                create,
            }
        }
        // The kernel sends a name with TMPFILE too; it means nothing.
        op::TMPFILE => Operation::TmpFile(create(c)?),
        op::READ => Operation::Read(read(c)?),
        op::WRITE => Operation::Write(write(c)?),
        op::RELEASE => Operation::Release(release(c)?),
        op::FLUSH => {
            let handle = c.u64()?;
            c.skip(8)?;
            Operation::Flush {
                handle,
                lock_owner: c.u64()?,
            }
        }
        op::FSYNC => {
            let handle = c.u64()?;
            Operation::Fsync {
                handle,
                data_only: c.u32()? & abi::FSYNC_FDATASYNC != 0,
            }
        }
        _ => ranges(opcode, c)?,
    })
}

fn ranges<'a>(opcode: u32, c: &mut Cursor<'a>) -> Result<Operation<'a>, Refused> {
    Ok(match opcode {
        op::IOCTL => {
            let (handle, flags, command, argument) = (c.u64()?, c.u32()?, c.u32()?, c.u64()?);
            let (input_size, output_size) = (c.u32()?, c.u32()?);
            let input = c.bytes(input_size as usize)?;
            Operation::Ioctl(Ioctl {
                handle,
                flags,
                command,
                argument,
                input,
                output_size,
            })
        }
        op::POLL => {
            let (handle, kernel_handle) = (c.u64()?, c.u64()?);
            Operation::Poll(Poll {
                handle,
                kernel_handle,
                flags: c.u32()?,
                events: c.u32()?,
            })
        }
        op::FALLOCATE => {
            let (handle, offset, length) = (c.u64()?, c.u64()?, c.u64()?);
            Operation::Allocate(Allocate {
                handle,
                offset,
                length,
                mode: c.u32()?,
            })
        }
        op::LSEEK => Operation::Seek(Seek {
            handle: c.u64()?,
            offset: c.u64()?,
            whence: c.u32()?,
        }),
        op::COPY_FILE_RANGE | op::COPY_FILE_RANGE_64 => {
            let copy = CopyRange {
                handle_in: c.u64()?,
                offset_in: c.u64()?,
                node_out: c.u64()?,
                handle_out: c.u64()?,
                offset_out: c.u64()?,
                length: c.u64()?,
                flags: c.u64()?,
            };
            Operation::CopyRange {
                copy,
                wide: opcode == op::COPY_FILE_RANGE_64,
            }
        }
        _ => return Err(Refused::Unknown),
    })
}
