//! Numbers and arguments of the ioctls that a DFS mount understands. The kernel's door answers them, the commands send
//! them. A mount may be older or newer than the command: numbers and places of words are never given another meaning.

use std::os::fd::AsRawFd;
use std::time::Duration;

/// `_IO('D', 1)`: make everything that this mount was given durable, as `syncfs` does.
pub const DFS_IOC_SYNC: u32 = ((b'D' as u32) << 8) | 1;
/// `_IOWR('D', 2, [u64; 8])` on an open file or directory: bring a part of its content into the caches, or say how
/// much of it is there.
pub const DFS_IOC_WARM: u32 = read_write(2, WORDS_BYTES);

/// `_IOWR('D', 3, ..)` on the root of a mount: a page of what it counts of itself, for its owner and root.
pub const DFS_IOC_REPORT: u32 = read_write(3, REPORT_BYTES);

/// `_IOWR('D', 4, [u64; 8])` on the root of a mount: begins to record where the time of its calls goes.
pub const DFS_IOC_PROFILE: u32 = read_write(4, WORDS_BYTES);

/// As large as an ioctl's argument may be, in whole words: the number of the page, or the length of the text, then the text.
const REPORT_BYTES: usize = 16_376;
/// Most bytes of a page.
pub const REPORT_TEXT: usize = REPORT_BYTES - 8;

/// Most bytes of a file that one call brings; the answer says how far it came.
pub const WARM_STEP: u64 = 4 << 20;

const WORDS: usize = 8;
const WORDS_BYTES: usize = WORDS * 8;

const fn read_write(number: u32, size: usize) -> u32 {
    (3 << 30) | ((size as u32) << 16) | ((b'D' as u32) << 8) | number
}

/// Asks the mount that `file` is on for a page of its report.
pub fn report(file: &std::fs::File, page: u32) -> std::io::Result<String> {
    let mut argument = vec![0; REPORT_BYTES];
    argument[..4].copy_from_slice(&page.to_ne_bytes());
    // SAFETY: the kernel reads and writes as many bytes as the number says, which is the argument's size.
    let answer = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            libc::c_ulong::from(DFS_IOC_REPORT) as _,
            argument.as_mut_ptr(),
        )
    };
    if answer < 0 {
        return Err(std::io::Error::last_os_error());
    }
    report_text(&argument).ok_or_else(|| std::io::Error::other("the mount's answer makes no sense"))
}

/// Has the mount that `file` is on record calls that take at least `slower`, for so long; 0 ends it.
pub fn profile(file: &std::fs::File, length: Duration, slower: Duration) -> std::io::Result<()> {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut argument = bytes([micros(length), micros(slower), 0, 0, 0, 0, 0, 0]);
    // SAFETY: the kernel reads and writes as many bytes as the number says, which is the argument's size.
    let answer = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            libc::c_ulong::from(DFS_IOC_PROFILE) as _,
            argument.as_mut_ptr(),
        )
    };
    match answer {
        0.. => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Length and least time that are asked for.
pub fn profile_ask(argument: &[u8]) -> Option<(Duration, Duration)> {
    let [length, slower, ..] = words(argument)?;
    Some((Duration::from_micros(length), Duration::from_micros(slower)))
}

/// The number of the page that is asked for.
pub fn report_page(argument: &[u8]) -> Option<u32> {
    let number = argument.get(..4)?.try_into().ok()?;
    (argument.len() == REPORT_BYTES).then_some(u32::from_ne_bytes(number))
}

/// The answer with a page; `None` when it is too long.
pub fn report_answer(text: &str) -> Option<Vec<u8>> {
    let len = u32::try_from(text.len())
        .ok()
        .filter(|_| text.len() <= REPORT_TEXT)?;
    let mut answer = Vec::with_capacity(8 + text.len());
    answer.extend_from_slice(&len.to_ne_bytes());
    answer.extend_from_slice(&[0; 4]);
    answer.extend_from_slice(text.as_bytes());
    Some(answer)
}

fn report_text(answer: &[u8]) -> Option<String> {
    let len = u32::from_ne_bytes(answer.get(..4)?.try_into().ok()?) as usize;
    String::from_utf8(answer.get(8..8 + len)?.to_vec()).ok()
}

/// What is to be warmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmAsk {
    pub offset: u64,
    pub len: u64,
    /// Only say what is there.
    pub check: bool,
}

/// What came of it. Bytes are those of the part that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Where the part ends that this is about; the file's end or beyond it when nothing is left.
    pub end: u64,
    /// Bytes that are content: neither holes nor beyond the end.
    pub content: u64,
    /// Of these, in a cache before.
    pub before: u64,
    /// Of these, in the cache now where they stay: that on disk when there is one, else memory.
    pub cached: u64,
    /// Bytes that this cache holds at most.
    pub capacity: u64,
    /// Blocks that had to leave this cache for others since the mount began.
    pub evicted: u64,
    /// Whether this cache is on a disk.
    pub on_disk: bool,
}

fn bytes(words: [u64; WORDS]) -> [u8; WORDS_BYTES] {
    let mut bytes = [0; WORDS_BYTES];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn words(bytes: &[u8]) -> Option<[u64; WORDS]> {
    let mut words = [0; WORDS];
    for (word, place) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(place.try_into().ok()?);
    }
    (bytes.len() == WORDS_BYTES).then_some(words)
}

impl WarmAsk {
    pub fn encode(self) -> [u8; WORDS_BYTES] {
        bytes([self.offset, self.len, self.check.into(), 0, 0, 0, 0, 0])
    }

    pub fn decode(given: &[u8]) -> Option<WarmAsk> {
        let [offset, len, check, ..] = words(given)?;
        (check <= 1).then_some(WarmAsk {
            offset,
            len,
            check: check == 1,
        })
    }

    /// Asks the mount that `file` is on.
    pub fn send(self, file: &std::fs::File) -> std::io::Result<Warmed> {
        let mut argument = self.encode();
        // SAFETY: the kernel reads and writes as many bytes as the number says, which is the argument's size.
        let answer = unsafe {
            libc::ioctl(
                file.as_raw_fd(),
                libc::c_ulong::from(DFS_IOC_WARM) as _,
                argument.as_mut_ptr(),
            )
        };
        if answer < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Warmed::decode(&argument).ok_or_else(|| std::io::Error::other("the mount's answer makes no sense"))
    }
}

impl Warmed {
    pub fn encode(self) -> [u8; WORDS_BYTES] {
        bytes([
            self.end,
            self.content,
            self.before,
            self.cached,
            self.capacity,
            self.evicted,
            self.on_disk.into(),
            0,
        ])
    }

    pub fn decode(given: &[u8]) -> Option<Warmed> {
        let [end, content, before, cached, capacity, evicted, on_disk, _] = words(given)?;
        Some(Warmed {
            end,
            content,
            before,
            cached,
            capacity,
            evicted,
            on_disk: on_disk != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_stay_as_they_are() {
        assert_eq!(DFS_IOC_SYNC, 0x4401);
        assert_eq!(DFS_IOC_WARM, 0xc040_4402);
        assert_eq!(DFS_IOC_PROFILE, 0xc040_4404);
        let asked = bytes([2_000_000, 10_000, 0, 0, 0, 0, 0, 0]);
        let times = (Duration::from_secs(2), Duration::from_millis(10));
        assert_eq!(profile_ask(&asked), Some(times));
        let ask = WarmAsk {
            offset: 1,
            len: 2,
            check: true,
        };
        assert_eq!(ask.encode()[..3 * 8], [1u64, 2, 1].map(u64::to_ne_bytes).concat());
        assert_eq!(WarmAsk::decode(&ask.encode()), Some(ask));
        let said = Warmed {
            end: 1,
            content: 2,
            before: 3,
            cached: 4,
            capacity: 5,
            evicted: 6,
            on_disk: true,
        };
        let words = [1u64, 2, 3, 4, 5, 6, 1, 0].map(u64::to_ne_bytes);
        assert_eq!(said.encode()[..], words.concat());
        assert_eq!(Warmed::decode(&said.encode()), Some(said));
    }

    #[test]
    fn a_page_comes_as_it_was_given_and_one_that_is_too_long_does_not() {
        assert_eq!(DFS_IOC_REPORT, 0xfff8_4403);
        let mut asked = vec![0; REPORT_BYTES];
        asked[0] = 2;
        assert_eq!((report_page(&asked), report_page(&asked[1..])), (Some(2), None));
        let longest = "é".repeat(REPORT_TEXT / 2);
        let mut answer = report_answer(&longest).unwrap();
        assert_eq!(report_text(&answer), Some(longest));
        answer.truncate(100);
        assert_eq!(report_text(&answer), None);
        assert_eq!(report_answer(&"a".repeat(REPORT_TEXT + 1)), None);
    }

    #[test]
    fn another_size_or_flag_is_refused() {
        assert_eq!(WarmAsk::decode(&[0; WORDS_BYTES - 8]), None);
        assert_eq!(WarmAsk::decode(&bytes([0, 0, 2, 0, 0, 0, 0, 0])), None);
        assert_eq!(Warmed::decode(&[]), None);
    }
}
