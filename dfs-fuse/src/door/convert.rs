//! Values of the core and the client to those of the kernel and back. Pure; used by all callbacks.

use dfs_client::vfs;
use dfs_core::types::{self, FileKind};

use crate::kernel::abi::fopen;
use crate::kernel::answer::{Attr, Entry, Opened};
use crate::kernel::request::Timestamp;

/// Preferred size of I/O that stat(2) shows: a block, the least that is read from a datanode.
const BLKSIZE: u32 = 64 << 10;

pub fn time(time: types::Timestamp) -> Timestamp {
    Timestamp {
        seconds: time.secs,
        nanoseconds: time.nanos,
    }
}

pub fn core_time(time: Timestamp) -> types::Timestamp {
    types::Timestamp {
        secs: time.seconds,
        nanos: time.nanoseconds,
    }
}

/// The file type bits of `st_mode`.
pub fn kind_bits(kind: FileKind) -> u32 {
    match kind {
        FileKind::File => libc::S_IFREG,
        FileKind::Directory => libc::S_IFDIR,
        FileKind::Symlink => libc::S_IFLNK,
        FileKind::Fifo => libc::S_IFIFO,
        FileKind::Socket => libc::S_IFSOCK,
        FileKind::CharDevice => libc::S_IFCHR,
        FileKind::BlockDevice => libc::S_IFBLK,
    }
}

/// What mknod(2) wants made; without type bits a regular file.
pub fn kind(mode: u32) -> Option<FileKind> {
    Some(match mode & libc::S_IFMT {
        0 | libc::S_IFREG => FileKind::File,
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFLNK => FileKind::Symlink,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFCHR => FileKind::CharDevice,
        libc::S_IFBLK => FileKind::BlockDevice,
        _ => return None,
    })
}

pub fn attr(attr: &types::Attr) -> Attr {
    Attr {
        ino: attr.ino.0,
        size: attr.size,
        blocks: attr.blocks,
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
        mode: kind_bits(attr.kind) | attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLKSIZE,
    }
}

/// Inode numbers are never reused, so the generation is always 0.
pub fn entry(entry: &vfs::Entry) -> Entry {
    Entry {
        node: entry.attr.ino.0,
        generation: 0,
        entry_valid: entry.entry_ttl,
        attr_valid: entry.attr_ttl,
        attr: attr(&entry.attr),
    }
}

pub fn opened(opened: &vfs::Opened) -> Opened {
    let wish = |wanted: bool, flag: u32| if wanted { flag } else { 0 };
    let flags = wish(opened.keep_cache, fopen::KEEP_CACHE)
        | wish(opened.direct_io, fopen::DIRECT_IO)
        | wish(opened.cache_dir, fopen::CACHE_DIR);
    Opened {
        handle: opened.fh,
        flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::ids::Ino;

    #[test]
    fn file_types_convert_both_ways() {
        let kinds = [
            FileKind::File,
            FileKind::Directory,
            FileKind::Symlink,
            FileKind::Fifo,
            FileKind::Socket,
            FileKind::CharDevice,
            FileKind::BlockDevice,
        ];
        for expected in kinds {
            assert_eq!(kind(kind_bits(expected) | 0o7777), Some(expected));
        }
        assert_eq!(kind(0o644), Some(FileKind::File));
        assert_eq!(kind(0o170000), None);
    }

    #[test]
    fn attributes_keep_every_field() {
        let at = |secs, nanos| types::Timestamp { secs, nanos };
        let from = types::Attr {
            ino: Ino(1),
            kind: FileKind::Directory,
            mode: 0o1777,
            nlink: 2,
            uid: 3,
            gid: 4,
            rdev: 5,
            size: 6,
            blocks: 7,
            atime: at(-8, 9),
            mtime: at(10, 11),
            ctime: at(12, 13),
            btime: at(14, 15),
            version: 16,
            content_epoch: 17,
            quota: Ino(18),
            xattrs: 19,
        };
        let time = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
        let expected = Attr {
            ino: 1,
            size: 6,
            blocks: 7,
            atime: time(-8, 9),
            mtime: time(10, 11),
            ctime: time(12, 13),
            mode: libc::S_IFDIR | 0o1777,
            nlink: 2,
            uid: 3,
            gid: 4,
            rdev: 5,
            blksize: BLKSIZE,
        };
        assert_eq!(attr(&from), expected);
    }
}
