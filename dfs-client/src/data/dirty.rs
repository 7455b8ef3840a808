//! Written bytes that are in no chunk yet: the newest layer of a file's content. Owned by the inode's state; pure.

use bytes::Bytes;
use std::collections::BTreeMap;

/// A segment grows by appending up to this; then a new one begins, so that no long copy ever happens.
const SEGMENT_MAX: usize = 1 << 20;
/// Most segments taken at once: each may become an extent, and a commit has a bound on those.
pub(crate) const TAKE_MAX: usize = 16_384;

/// Runs of bytes by file offset, never overlapping. Neighbours need not be merged.
#[derive(Default)]
pub(crate) struct Dirty {
    segments: BTreeMap<u64, Vec<u8>>,
    bytes: u64,
}

impl Dirty {
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// First byte after the last one held; 0 when empty.
    pub fn end(&self) -> u64 {
        self.segments
            .last_key_value()
            .map_or(0, |(offset, data)| offset + data.len() as u64)
    }

    /// Lays `data` over what is there. Returns the growth in bytes held.
    pub fn write(&mut self, mut offset: u64, mut data: &[u8]) -> u64 {
        let before = self.bytes;
        while !data.is_empty() {
            let taken = self
                .overwrite(offset, data)
                .unwrap_or_else(|| self.fill_gap(offset, data));
            offset += taken as u64;
            data = &data[taken..];
        }
        self.bytes - before
    }

    /// Copies into the segment that holds `offset`: how many bytes.
    fn overwrite(&mut self, offset: u64, data: &[u8]) -> Option<usize> {
        let (start, segment) = self.segments.range_mut(..=offset).next_back()?;
        let at = (offset - start) as usize;
        if at >= segment.len() {
            return None;
        }
        let taken = data.len().min(segment.len() - at);
        segment[at..at + taken].copy_from_slice(&data[..taken]);
        Some(taken)
    }

    /// Adds bytes where there are none, to the end of the segment before or as a new one: how many.
    fn fill_gap(&mut self, offset: u64, data: &[u8]) -> usize {
        let next = self
            .segments
            .range(offset..)
            .next()
            .map(|(start, _)| start - offset);
        let room = next.map_or(data.len(), |gap| {
            data.len().min(usize::try_from(gap).unwrap_or(usize::MAX))
        });
        let before = self.segments.range_mut(..offset).next_back();
        let taken = match before {
            Some((start, segment))
                if start + segment.len() as u64 == offset && segment.len() < SEGMENT_MAX =>
            {
                let taken = room.min(SEGMENT_MAX - segment.len());
                segment.extend_from_slice(&data[..taken]);
                taken
            }
            _ => {
                let taken = room.min(SEGMENT_MAX);
                self.segments.insert(offset, data[..taken].to_vec());
                taken
            }
        };
        self.bytes += taken as u64;
        taken
    }

    /// Forgets everything from `size` on. Returns how many bytes.
    pub fn truncate(&mut self, size: u64) -> u64 {
        let before = self.bytes;
        let beyond = self.segments.split_off(&size);
        self.bytes -= beyond.values().map(|data| data.len() as u64).sum::<u64>();
        if let Some((start, segment)) = self
            .segments
            .last_entry()
            .map(|entry| (*entry.key(), entry.into_mut()))
        {
            let keep = (size - start) as usize;
            if keep < segment.len() {
                self.bytes -= (segment.len() - keep) as u64;
                segment.truncate(keep);
            }
        }
        before - self.bytes
    }

    /// Takes out whole segments in order, at most `limit` bytes and [`TAKE_MAX`] of them.
    pub fn take(&mut self, limit: u64) -> Vec<(u64, Bytes)> {
        let mut taken = Vec::new();
        let mut room = limit;
        while let Some(entry) = self.segments.first_entry() {
            let len = entry.get().len() as u64;
            if len > room || taken.len() >= TAKE_MAX {
                break;
            }
            room -= len;
            self.bytes -= len;
            let (offset, data) = entry.remove_entry();
            taken.push((offset, Bytes::from(data)));
        }
        taken
    }

    /// Visits what is held of `[start, end)`, in order.
    pub fn overlay(&self, start: u64, end: u64, visit: &mut dyn FnMut(u64, &[u8])) {
        let before = self.segments.range(..start).next_back();
        for (offset, data) in before
            .into_iter()
            .chain(self.segments.range(start..end.max(start)))
        {
            let from = start.max(*offset);
            let to = end.min(offset + data.len() as u64);
            if from < to {
                visit(from, &data[(from - offset) as usize..(to - offset) as usize]);
            }
        }
    }

    pub fn clear(&mut self) -> u64 {
        self.segments.clear();
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, usize, u8),
        Truncate(usize),
        Take(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0usize..200, 1usize..60, 1u8..255).prop_map(|(at, len, byte)| Step::Write(at, len, byte)),
            1 => (0usize..260).prop_map(Step::Truncate),
            1 => (0u64..100).prop_map(Step::Take),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_byte_array_holds(steps in steps()) {
            let mut dirty = Dirty::default();
            let mut model: Vec<Option<u8>> = vec![None; 300];
            for step in steps {
                match step {
                    Step::Write(at, len, byte) => {
                        dirty.write(at as u64, &vec![byte; len]);
                        model[at..at + len].fill(Some(byte));
                    }
                    Step::Truncate(size) => {
                        dirty.truncate(size as u64);
                        model[size..].fill(None);
                    }
                    Step::Take(limit) => {
                        for (at, data) in dirty.take(limit) {
                            for (place, byte) in (at as usize..).zip(data.iter()) {
                                prop_assert_eq!(model[place], Some(*byte));
                                model[place] = None;
                            }
                        }
                    }
                }
                let mut held = vec![None; 300];
                dirty.overlay(0, 300, &mut |at, data| {
                    for (place, byte) in (at as usize..).zip(data) {
                        held[place] = Some(*byte);
                    }
                });
                prop_assert_eq!(&held, &model);
                prop_assert_eq!(dirty.bytes(), model.iter().flatten().count() as u64);
                let end = model.iter().rposition(Option::is_some).map_or(0, |last| last as u64 + 1);
                prop_assert_eq!(dirty.end(), end);
            }
        }
    }

    #[test]
    fn scattered_bytes_are_taken_in_bounded_parts() {
        let mut dirty = Dirty::default();
        for number in 0..TAKE_MAX as u64 + 10 {
            dirty.write(number * 100, &[7]);
        }
        assert_eq!(dirty.take(u64::MAX).len(), TAKE_MAX);
        assert_eq!(dirty.take(u64::MAX).len(), 10);
    }

    #[test]
    fn small_appends_become_few_segments() {
        let mut dirty = Dirty::default();
        for number in 0..10_000u64 {
            dirty.write(number * 100, &[7; 100]);
        }
        assert_eq!(dirty.take(u64::MAX).len(), 1);
    }
}
