//! How extents are laid over one another and cut. The namespace does it with rows, the client with the map of
//! a file's extents that it caches. Knows nothing of chunks' content.

use crate::ids::ChunkId;
use crate::types::Extent;
use std::collections::BTreeMap;
use std::ops::Range;

/// The extents that a change takes away and those it puts in their place, both in order.
pub type Edit = (Vec<Extent>, Vec<Extent>);

/// The part of the extent inside `[start, end)`, `None` when there is none.
pub fn clip(extent: &Extent, start: u64, end: u64) -> Option<Extent> {
    let from = extent.offset.max(start);
    let to = extent.end().min(end);
    if from >= to {
        return None;
    }
    let skipped = if extent.chunk == ChunkId::ZEROS {
        0
    } else {
        (from - extent.offset) as u32
    };
    Some(Extent {
        offset: from,
        len: to - from,
        chunk: extent.chunk,
        chunk_offset: extent.chunk_offset + skipped,
    })
}

/// Cuts `[start, end)` out of the extents: what goes and what stays of those that go.
pub fn cut(existing: &[Extent], start: u64, end: u64) -> Edit {
    let mut edit = Edit::default();
    if start >= end {
        return edit;
    }
    for extent in existing
        .iter()
        .filter(|extent| extent.offset < end && extent.end() > start)
    {
        edit.0.push(*extent);
        edit.1.extend(clip(extent, 0, start));
        edit.1.extend(clip(extent, end, u64::MAX));
    }
    edit
}

/// Lays `new` over the extents: what goes, and what comes, `new` included.
pub fn overlay(existing: &[Extent], new: Extent) -> Edit {
    let (removed, mut added) = cut(existing, new.offset, new.end());
    let place = added.partition_point(|extent| extent.offset < new.offset);
    added.insert(place, new);
    (removed, added)
}

/// A file's extents in memory, or the part of them that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentMap {
    by_offset: BTreeMap<u64, Extent>,
}

impl ExtentMap {
    pub fn new() -> ExtentMap {
        ExtentMap::default()
    }

    /// Lays the extent over what is there.
    pub fn insert(&mut self, extent: Extent) {
        if extent.len > 0 {
            self.cut(extent.offset, extent.end());
            self.by_offset.insert(extent.offset, extent);
        }
    }

    /// Makes `[start, end)` a hole.
    pub fn cut(&mut self, start: u64, end: u64) {
        let touched: Vec<Extent> = self.touching(start, end).copied().collect();
        let (removed, added) = cut(&touched, start, end);
        for extent in removed {
            self.by_offset.remove(&extent.offset);
        }
        for extent in added {
            self.by_offset.insert(extent.offset, extent);
        }
    }

    /// Splits `[offset, offset+len)` into runs, in order and without gaps: each range with the extent, clipped
    /// to the range, that it is found in, or `None` for a hole.
    pub fn lookup(&self, offset: u64, len: u64) -> impl Iterator<Item = (Range<u64>, Option<Extent>)> + '_ {
        let end = offset.saturating_add(len);
        let mut place = offset;
        let mut pending = None;
        let mut extents = self.touching(offset, end);
        std::iter::from_fn(move || {
            if let Some(extent) = pending.take() {
                return Some(run(extent, &mut place));
            }
            if place >= end {
                return None;
            }
            let Some(extent) = extents.next().and_then(|extent| clip(extent, offset, end)) else {
                let hole = place..end;
                place = end;
                return Some((hole, None));
            };
            if extent.offset > place {
                let hole = place..extent.offset;
                place = extent.offset;
                pending = Some(extent);
                return Some((hole, None));
            }
            Some(run(extent, &mut place))
        })
    }

    pub fn clear(&mut self) {
        self.by_offset.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.by_offset.is_empty()
    }

    /// Number of extents.
    pub fn len(&self) -> usize {
        self.by_offset.len()
    }

    /// All extents in order.
    pub fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.by_offset.values()
    }

    /// The extents that touch `[start, end)`, whole.
    pub fn touching(&self, start: u64, end: u64) -> impl Iterator<Item = &Extent> + '_ {
        let first = self
            .by_offset
            .range(..=start)
            .next_back()
            .filter(|(_, extent)| extent.end() > start)
            .map_or(start, |(offset, _)| *offset);
        self.by_offset
            .range(first..end.max(first))
            .map(|(_, extent)| extent)
    }
}

fn run(extent: Extent, place: &mut u64) -> (Range<u64>, Option<Extent>) {
    *place = extent.end();
    (extent.offset..extent.end(), Some(extent))
}
