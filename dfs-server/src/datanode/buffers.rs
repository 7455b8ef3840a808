//! Page-aligned memory for a MiB of content, kept for the next one: what is received into it can go to the disk past the
//! system's cache as it is. The chunk service fills them from the network, the segment store gathers in them what came in
//! other memory.

use bytes::Bytes;
use dfs_core::chunk::header::SLOT_ALIGN;
use parking_lot::Mutex;
use std::sync::Arc;

/// Disks and file systems ask for no more; slots begin at multiples of it.
pub const ALIGN: usize = SLOT_ALIGN as usize;
/// Bytes of a buffer: large enough that calls do not count, small enough that receiving and writing overlap.
pub const LEN: usize = 1 << 20;
/// Buffers kept: two chunks of the longest kind. More are made and given back.
const KEPT_MAX: usize = 16;

/// Buffers that nobody uses.
#[derive(Default)]
pub struct Buffers(Mutex<Vec<Memory>>);

/// `LEN` aligned bytes, somewhere in a longer allocation.
struct Memory {
    bytes: Box<[u8]>,
    skip: usize,
}

impl Memory {
    fn new() -> Memory {
        let bytes = vec![0; LEN + ALIGN].into_boxed_slice();
        let skip = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Memory { bytes, skip }
    }
}

/// A buffer in use; given back when it is dropped. It holds what somebody else left in it.
pub struct Buffer {
    /// None only while it is dropped.
    memory: Option<Memory>,
    /// How much of it is shown.
    len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    pub fn take(self: &Arc<Self>) -> Buffer {
        let kept = self.0.lock().pop();
        Buffer {
            memory: Some(kept.unwrap_or_else(Memory::new)),
            len: LEN,
            home: self.clone(),
        }
    }

    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.0.lock().len()
    }
}

impl Buffer {
    /// Its first `len` bytes as content that is shared, without a copy.
    pub fn share(mut self, len: usize) -> Bytes {
        self.len = len.min(LEN);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        let memory = self.memory.as_ref();
        memory.map_or(&[], |memory| &memory.bytes[memory.skip..memory.skip + self.len])
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        let memory = self.memory.as_mut();
        memory.map_or(&mut [], |memory| {
            &mut memory.bytes[memory.skip..memory.skip + self.len]
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock();
        if kept.len() < KEPT_MAX {
            kept.extend(self.memory.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_shared_without_a_copy_and_comes_back_when_nobody_has_it() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take();
        buffer.as_mut()[..3].copy_from_slice(b"abc");
        let place = buffer.as_ref().as_ptr();
        assert_eq!(place as usize % ALIGN, 0);
        let shared = buffer.share(3);
        let other = shared.clone();
        assert_eq!((&other[..], other.as_ptr()), (&b"abc"[..], place));
        drop(shared);
        assert_eq!(buffers.kept(), 0, "somebody still has it");
        drop(other);
        assert_eq!(buffers.kept(), 1);
        assert_eq!(buffers.take().as_ref().len(), LEN);
    }

    #[test]
    fn no_more_are_kept_than_allowed() {
        let buffers = Arc::new(Buffers::default());
        let many: Vec<Buffer> = (0..KEPT_MAX + 3).map(|_| buffers.take()).collect();
        drop(many);
        assert_eq!(buffers.kept(), KEPT_MAX);
    }
}
