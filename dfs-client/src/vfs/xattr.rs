//! Extended attributes, kept under the inode's lease; their absence too, since the kernel asks for
//! `security.capability` at every write.

use super::{Caller, Vfs};
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply, XattrMode};
use dfs_core::types::{LeaseMode, XATTR_NAME_MAX, XATTR_VALUE_MAX};
use std::time::{Duration, Instant};

/// Where names may be that a file without attributes simply lacks.
const SPACES: [&[u8]; 4] = [b"user.", b"security.", b"trusted.", b"system.posix_acl_"];

/// Sums of what is below a directory: they change without it, and are never answered from memory.
const SUMS: &[u8] = b"dfs.rstat.";
/// Sums that are behind, since very much was changed a moment ago, are asked for again for so long.
const SUMS_WAIT: Duration = Duration::from_secs(2);
const SUMS_PAUSE: Duration = Duration::from_millis(20);

impl Vfs {
    pub fn getxattr(&self, caller: &Caller<'_>, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> {
        check(name)?;
        let inode = self.inode(ino);
        if name.starts_with(SUMS) {
            return self.sums(caller, inode.ino, name);
        }
        {
            let state = inode.state.lock();
            if self.holds(&state, LeaseMode::Shared) {
                if let Some(known) = state.xattrs.get(name) {
                    return known.clone().ok_or(FsError::NoAttribute);
                }
                let known = SPACES.iter().any(|space| name.starts_with(space));
                if known && state.attr.is_some_and(|attr| attr.xattrs == 0) {
                    return Err(FsError::NoAttribute);
                }
            }
        }
        self.ask(inode.ino, name, self.patience(caller))
    }

    fn ask(&self, ino: Ino, name: &[u8], patience: Patience<'_>) -> FsResult<Vec<u8>> {
        let name = name.to_vec();
        match self.session.call(Op::GetXattr { ino, name }, patience)? {
            Reply::Value(value) => Ok(value),
            _ => Err(FsError::Io),
        }
    }

    fn sums(&self, caller: &Caller<'_>, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> {
        // They count what the coordinator was told.
        self.save_all(caller)?;
        let patience = self.patience(caller);
        let until = Instant::now() + SUMS_WAIT;
        loop {
            match self.ask(ino, name, patience) {
                Err(FsError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(SUMS_PAUSE.min(patience.left()?));
                }
                answer => return answer,
            }
        }
    }

    pub fn listxattr(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<Vec<Vec<u8>>> {
        let inode = self.inode(ino);
        {
            let state = inode.state.lock();
            if self.holds(&state, LeaseMode::Shared) {
                if let Some(names) = &state.xattr_names {
                    return Ok(names.clone());
                }
                if state.attr.is_some_and(|attr| attr.xattrs == 0) {
                    return Ok(Vec::new());
                }
            }
        }
        match self
            .session
            .call(Op::ListXattr { ino: inode.ino }, self.patience(caller))?
        {
            Reply::Names(names) => Ok(names),
            _ => Err(FsError::Io),
        }
    }

    pub fn setxattr(
        &self,
        caller: &Caller<'_>,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        kill_sgid: bool,
    ) -> FsResult<()> {
        self.check_writable()?;
        check(name)?;
        if value.len() > XATTR_VALUE_MAX {
            return Err(FsError::TooBig);
        }
        let inode = self.inode(ino);
        let (name, value) = (name.to_vec(), value.to_vec());
        let op = Op::SetXattr {
            ino: inode.ino,
            name,
            value,
            mode,
            kill_sgid,
        };
        self.change_there(&[&inode], op, self.patience(caller))
            .map(|_| ())
    }

    pub fn removexattr(&self, caller: &Caller<'_>, ino: Ino, name: &[u8]) -> FsResult<()> {
        self.check_writable()?;
        check(name)?;
        let inode = self.inode(ino);
        let op = Op::RemoveXattr {
            ino: inode.ino,
            name: name.to_vec(),
        };
        self.change_there(&[&inode], op, self.patience(caller))
            .map(|_| ())
    }
}

fn check(name: &[u8]) -> FsResult<()> {
    if name.len() > XATTR_NAME_MAX {
        Err(FsError::Range)
    } else {
        Ok(())
    }
}
