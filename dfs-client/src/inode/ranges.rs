//! A set of byte ranges: of which parts of a file the extents are known. Pure.

use std::collections::BTreeMap;

/// Disjoint ranges `[start, end)` that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    pub fn insert(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        while let Some((from, to)) = self.touching(start, end) {
            self.ends.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.ends.insert(start, end);
    }

    pub fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        while let Some((from, to)) = self.overlap(start, end) {
            self.ends.remove(&from);
            if from < start {
                self.ends.insert(from, start);
            }
            if to > end {
                self.ends.insert(end, to);
            }
        }
    }

    pub fn covers(&self, start: u64, end: u64) -> bool {
        start >= end || self.around(start).is_some_and(|(_, to)| to >= end)
    }

    /// The range that holds the byte.
    pub fn around(&self, byte: u64) -> Option<(u64, u64)> {
        let before = self.ends.range(..=byte).next_back();
        before.map(|(from, to)| (*from, *to)).filter(|(_, to)| *to > byte)
    }

    pub fn clear(&mut self) {
        self.ends.clear();
    }

    /// A range that overlaps or adjoins `[start, end)`.
    fn touching(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let last = self
            .ends
            .range(..=end)
            .next_back()
            .map(|(from, to)| (*from, *to))?;
        (last.1 >= start).then_some(last)
    }

    /// A range that overlaps `[start, end)`.
    fn overlap(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let last = self
            .ends
            .range(..end)
            .next_back()
            .map(|(from, to)| (*from, *to))?;
        (last.1 > start).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_bytes(changes in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 1..40)) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 64];
            for (add, start, end) in changes {
                if add { ranges.insert(start, end) } else { ranges.remove(start, end) }
                if start < end { bytes[start as usize..end as usize].fill(add) }
                for from in 0..64usize {
                    for to in from..64 {
                        let expected = bytes[from..to].iter().all(|known| *known);
                        prop_assert_eq!(ranges.covers(from as u64, to as u64), expected);
                    }
                    let first = (0..from).rev().take_while(|byte| bytes[*byte]).last().unwrap_or(from);
                    let last = (from..64).take_while(|byte| bytes[*byte]).last();
                    prop_assert_eq!(ranges.around(from as u64), last.map(|last| (first as u64, last as u64 + 1)));
                }
            }
        }
    }
}
