//! Frames of the metadata log: magic, version, length, CRC-32C, body. Whoever appends writes them; whoever
//! recovers walks them and is told whether the tail is torn or the middle is damaged. Knows nothing of the body.

/// First bytes of each frame, little-endian "DFSL".
pub const MAGIC: u32 = u32::from_le_bytes(*b"DFSL");
/// The version of the frame itself.
pub const VERSION: u8 = 1;
/// Bytes before the body: magic 4, version 1, length 4, CRC-32C 4.
pub const HEADER_LEN: usize = 13;
/// Longest body: a record gathers up to about 1 MiB; one operation's effects can be more when it cuts a file of
/// a million extents.
pub const BODY_MAX: usize = 256 << 20;

/// What is found at a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A frame that verifies; `size` bytes in all.
    Whole { body: &'a [u8], size: usize },
    /// The bytes stop inside the frame.
    Torn,
    /// Nothing was ever written here: all zeros, or no bytes.
    End,
    /// Bytes that are no frame.
    Corrupt { reason: &'static str },
}

/// Appends a frame with this body. Panics when the body is longer than [`BODY_MAX`]: written, it could never be
/// read again.
pub fn put(body: &[u8], out: &mut Vec<u8>) {
    assert!(
        body.len() <= BODY_MAX,
        "a log record of {} bytes could not be read again",
        body.len()
    );
    out.reserve(HEADER_LEN + body.len());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.push(VERSION);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    out.extend_from_slice(body);
}

/// The length of the body that a frame's header announces, when it is one: for readers that take a frame at a time.
pub fn body_len(header: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER_LEN] = header.try_into().ok()?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let len = word(5) as usize;
    (word(0) == MAGIC && header[4] == VERSION && len <= BODY_MAX).then_some(len)
}

/// Looks at the frame that begins `bytes`. A preallocated file ends in zeros: a header that is cut off by them
/// cannot be told from damage, so the caller treats damage in the last written place as torn only when nothing
/// whole follows.
pub fn next(bytes: &[u8]) -> Frame<'_> {
    if bytes.iter().take(HEADER_LEN).all(|byte| *byte == 0) {
        return match bytes.iter().all(|byte| *byte == 0) {
            true => Frame::End,
            false => Frame::Corrupt {
                reason: "zeros where a frame should begin, and bytes after them",
            },
        };
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Frame::Torn;
    };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(0) != MAGIC {
        return Frame::Corrupt {
            reason: "no frame begins here (wrong magic)",
        };
    }
    if header[4] != VERSION {
        return Frame::Corrupt {
            reason: "the frame's version is not known to this program",
        };
    }
    let len = word(5) as usize;
    if len > BODY_MAX {
        return Frame::Corrupt {
            reason: "the frame's length is impossible",
        };
    }
    let Some(body) = rest.get(..len) else {
        return Frame::Torn;
    };
    if crc32c::crc32c(body) != word(9) {
        return Frame::Corrupt {
            reason: "the frame's checksum is wrong",
        };
    }
    Frame::Whole {
        body,
        size: HEADER_LEN + len,
    }
}
