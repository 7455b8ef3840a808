//! Where a file's bytes are: fallocate, lseek for data and holes, copy_file_range.

use super::attr::{Hold, attr_of};
use super::{Caller, Vfs};
use crate::inode::Inode;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{ChunkId, Ino};
use dfs_core::op::{AllocateMode, AttrChanges, Op, Reply};
use dfs_core::types::{LeaseMode, SIZE_MAX};
use std::sync::Arc;

impl Vfs {
    pub fn fallocate(
        &self,
        caller: &Caller<'_>,
        _ino: Ino,
        fh: u64,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> FsResult<()> {
        self.check_writable()?;
        let handle = self.handles.find(fh)?;
        let mode = allocate_mode(mode)?;
        if len == 0 {
            return Err(FsError::Invalid);
        }
        if offset.checked_add(len).is_none_or(|end| end > SIZE_MAX) {
            return Err(FsError::FileTooLarge);
        }
        let patience = self.patience(caller);
        let inode = &handle.inode;
        self.data.flush_and_wait(inode, patience)?;
        self.drop_set_id_bits(caller, inode, patience)?;
        let _hold = Hold::new(inode);
        self.data.wait_for_flights(inode, patience)?;
        attr_of(self.call(
            &[inode],
            Op::Allocate {
                ino: inode.ino,
                mode,
                offset,
                len,
            },
            patience,
        )?)?;
        Ok(())
    }

    /// `SEEK_DATA` and `SEEK_HOLE`.
    pub fn lseek(&self, caller: &Caller<'_>, _ino: Ino, fh: u64, offset: u64, whence: i32) -> FsResult<u64> {
        let handle = self.handles.find(fh)?;
        let patience = self.patience(caller);
        let inode = &handle.inode;
        self.data.flush_and_wait(inode, patience)?;
        let size = self.acquire_size(inode, patience)?;
        if offset >= size {
            return Err(FsError::NoData);
        }
        let data = match whence {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => return Err(FsError::Invalid),
        };
        let found = self.find_run(inode, offset, size, data, patience)?;
        match (found, data) {
            (Some(found), _) => Ok(found),
            (None, false) => Ok(size),
            (None, true) => Err(FsError::NoData),
        }
    }

    fn acquire_size(&self, inode: &Arc<Inode>, patience: Patience<'_>) -> FsResult<u64> {
        {
            let state = inode.state.lock();
            if self.holds(&state, LeaseMode::Shared)
                && let Some(attr) = state.attr()
            {
                return Ok(attr.size);
            }
        }
        self.acquire(inode, LeaseMode::Shared, patience)
            .map(|attr| attr.size)
    }

    /// The first byte from `offset` on that is (not) in an extent with content.
    fn find_run(
        &self,
        inode: &Inode,
        offset: u64,
        size: u64,
        data: bool,
        patience: Patience<'_>,
    ) -> FsResult<Option<u64>> {
        let mut place = offset;
        while place < size {
            let op = Op::GetExtents {
                ino: inode.ino,
                offset: place,
                len: size - place,
            };
            let Reply::Extents { extents, next } = self.session.call(op, patience)? else {
                return Err(FsError::Io);
            };
            for extent in extents.iter().filter(|extent| extent.chunk != ChunkId::ZEROS) {
                if data && extent.end() > place {
                    return Ok(Some(extent.offset.max(place)).filter(|found| *found < size));
                }
                if !data && extent.offset > place {
                    return Ok(Some(place));
                }
                place = place.max(extent.end());
            }
            match next {
                Some(next) => place = place.max(next),
                None => return Ok(Some(place).filter(|place| !data && *place < size)),
            }
        }
        Ok(None)
    }

    /// Shares chunks instead of moving bytes: how many bytes.
    #[expect(clippy::too_many_arguments, reason = "the kernel's request")]
    pub fn copy_file_range(
        &self,
        caller: &Caller<'_>,
        _src: Ino,
        src_fh: u64,
        src_offset: u64,
        _dst: Ino,
        dst_fh: u64,
        dst_offset: u64,
        len: u64,
    ) -> FsResult<u64> {
        self.check_writable()?;
        let (src, dst) = (self.handles.find(src_fh)?, self.handles.find(dst_fh)?);
        let (src, dst) = (&src.inode, &dst.inode);
        let patience = self.patience(caller);
        let len = len
            .min(SIZE_MAX.saturating_sub(src_offset))
            .min(SIZE_MAX.saturating_sub(dst_offset));
        self.data.flush_and_wait(src, patience)?;
        self.data.flush_and_wait(dst, patience)?;
        self.drop_set_id_bits(caller, dst, patience)?;
        let _holds = (Hold::new(src), Hold::new(dst));
        self.data.wait_for_flights(dst, patience)?;
        let op = Op::CopyRange {
            src: src.ino,
            src_offset,
            dst: dst.ino,
            dst_offset,
            len,
        };
        match self.call(&[src, dst], op, patience)? {
            Reply::Copied { len, .. } => Ok(len),
            _ => Err(FsError::Io),
        }
    }
}

impl Vfs {
    /// The kernel says with a write whether set-id bits must go, but not with these calls.
    fn drop_set_id_bits(
        &self,
        caller: &Caller<'_>,
        inode: &Arc<Inode>,
        patience: Patience<'_>,
    ) -> FsResult<()> {
        if caller.uid == 0 {
            return Ok(());
        }
        let mode = self.acquire(inode, LeaseMode::Shared, patience)?.mode;
        if mode & (libc::S_ISUID | libc::S_ISGID) == 0 {
            return Ok(());
        }
        let changes = AttrChanges {
            kill_suidgid: true,
            ..AttrChanges::default()
        };
        let ino = inode.ino;
        self.call(&[inode], Op::SetAttr { ino, changes }, patience)
            .map(|_| ())
    }
}

fn allocate_mode(mode: i32) -> FsResult<AllocateMode> {
    let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
    match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 => Ok(AllocateMode::Reserve { keep_size }),
        libc::FALLOC_FL_PUNCH_HOLE if keep_size => Ok(AllocateMode::PunchHole),
        libc::FALLOC_FL_ZERO_RANGE => Ok(AllocateMode::ZeroRange { keep_size }),
        _ => Err(FsError::NotSupported),
    }
}
