//! The first exchange on a connection: what the kernel offers, what this door wants, and the answer's bytes.
//! Pure; the session sends it.

use super::abi::{self, cap};
use super::answer::Frame;
use super::request::InitIn;

/// Largest WRITE and READ: fewer requests per byte (3.1 GB/s at 1 MiB against 0.2 GB/s at 4 KiB were measured).
pub const MAX_WRITE: u32 = 1 << 20;
const PAGE: u32 = 4096;
/// Asynchronous requests (read-ahead, O_DIRECT) that the kernel keeps in flight, and when it calls that congested.
const MAX_BACKGROUND: u16 = 64;
const CONGESTION: u16 = 48;
/// Read-ahead asked for in INIT; the kernel's own default caps it, so the mount raises it again through sysfs.
const MAX_READAHEAD: u32 = 4 << 20;

/// AUTO_INVAL_DATA stays off: leases say when pages are stale, so EXPLICIT_INVAL_DATA. WRITEBACK_CACHE stays off: with
/// it the kernel ignores sizes and times that come from elsewhere. NO_OPEN_SUPPORT stays off: open handles keep
/// unlinked files alive. EXPORT_SUPPORT stays off: the client looks up names, not bare inode numbers.
const WANTED: u64 = cap::ASYNC_READ
    | cap::POSIX_LOCKS
    | cap::ATOMIC_O_TRUNC
    | cap::BIG_WRITES
    | cap::DONT_MASK
    | cap::FLOCK_LOCKS
    | cap::HAS_IOCTL_DIR
    | cap::DO_READDIRPLUS
    | cap::READDIRPLUS_AUTO
    | cap::ASYNC_DIO
    | cap::PARALLEL_DIROPS
    | cap::POSIX_ACL
    | cap::MAX_PAGES
    | cap::CACHE_SYMLINKS
    | cap::EXPLICIT_INVAL_DATA
    | cap::HANDLE_KILLPRIV_V2
    | cap::SETXATTR_EXT
    | cap::INIT_EXT
    | cap::HAS_EXPIRE_ONLY
    | cap::DIRECT_IO_ALLOW_MMAP;

/// Without these the promises of the file system cannot be kept on this kernel.
const NEEDED: u64 = cap::ATOMIC_O_TRUNC
    | cap::BIG_WRITES
    | cap::DONT_MASK
    | cap::POSIX_LOCKS
    | cap::FLOCK_LOCKS
    | cap::POSIX_ACL
    | cap::MAX_PAGES
    | cap::EXPLICIT_INVAL_DATA;

/// What both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The kernel's protocol version.
    pub minor: u32,
    pub flags: u64,
    pub max_write: u32,
    pub max_readahead: u32,
}

impl Negotiated {
    pub fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

/// What to do with an INIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Agreed(Negotiated),
    /// The kernel is newer than 7: answer with our version, it asks again.
    AskAgain,
    /// Too old a kernel; the text names what is missing.
    TooOld(u64),
}

pub fn decide(offer: &InitIn) -> Decision {
    if offer.major > abi::MAJOR {
        return Decision::AskAgain;
    }
    if offer.major < abi::MAJOR || offer.minor < abi::OLDEST_MINOR || offer.flags & NEEDED != NEEDED {
        return Decision::TooOld(NEEDED & !offer.flags);
    }
    Decision::Agreed(Negotiated {
        minor: offer.minor,
        flags: offer.flags & WANTED,
        max_write: MAX_WRITE,
        max_readahead: offer.max_readahead.min(MAX_READAHEAD),
    })
}

/// fuse_init_out.
pub fn encode(agreed: Option<&Negotiated>, frame: &mut Frame) {
    frame.u32(abi::MAJOR).u32(abi::MINOR);
    let Some(agreed) = agreed else {
        frame.zeros(56);
        return;
    };
    frame.u32(agreed.max_readahead).u32(agreed.flags as u32);
    frame.u16(MAX_BACKGROUND).u16(CONGESTION).u32(agreed.max_write);
    // Times in nanoseconds.
    frame.u32(1);
    frame
        .u16((agreed.max_write / PAGE) as u16)
        .u16(0)
        .u32((agreed.flags >> 32) as u32);
    frame.zeros(28);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> InitIn {
        InitIn {
            major: 7,
            minor: 45,
            max_readahead: 128 << 10,
            flags: u64::MAX,
        }
    }

    #[test]
    fn a_modern_kernel_is_answered_with_the_wanted_flags() {
        let Decision::Agreed(agreed) = decide(&offer()) else {
            panic!("refused")
        };
        assert!(agreed.has(cap::EXPLICIT_INVAL_DATA) && agreed.has(cap::DIRECT_IO_ALLOW_MMAP));
        for off in [
            cap::WRITEBACK_CACHE,
            cap::AUTO_INVAL_DATA,
            cap::NO_OPEN_SUPPORT,
            cap::EXPORT_SUPPORT,
        ] {
            assert!(!agreed.has(off));
        }
        let mut frame = Frame::new();
        encode(Some(&agreed), &mut frame);
        let out = frame.as_slice();
        assert_eq!(out.len(), 64);
        assert_eq!(out[..12], [7, 0, 0, 0, 45, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(out[12..16], (WANTED as u32).to_ne_bytes());
        assert_eq!(out[16..20], [64, 0, 48, 0]);
        assert_eq!(out[20..28], [0, 0, 16, 0, 1, 0, 0, 0]);
        assert_eq!(out[28..36], [0, 1, 0, 0, 0b1_1000, 0, 0, 0]);
        assert_eq!(out[36..], [0; 28]);
    }

    #[test]
    fn an_old_kernel_is_refused_and_a_future_one_asked_again() {
        assert_eq!(decide(&InitIn { minor: 30, ..offer() }), Decision::TooOld(0));
        let poor = InitIn {
            flags: !cap::POSIX_ACL,
            ..offer()
        };
        assert_eq!(decide(&poor), Decision::TooOld(cap::POSIX_ACL));
        assert_eq!(decide(&InitIn { major: 8, ..offer() }), Decision::AskAgain);
    }
}
