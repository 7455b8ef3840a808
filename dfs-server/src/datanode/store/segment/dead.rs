//! Dead slots of one segment. Neighbours become one run with one mark, so that all of its pages but the first go
//! back to the disk: slots of one page, which small synced writes leave behind, free nothing by themselves.

use super::index::Place;
use dfs_core::chunk::header::SLOT_ALIGN;
use std::collections::BTreeMap;

/// Runs of dead slots by their offset. Each begins with a mark that says how long it is.
#[derive(Default)]
pub struct Dead(BTreeMap<u64, u64>);

/// What must be done so that slots are dead: marks first, durable, then holes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Offset and length of runs.
    pub marks: Vec<(u64, u64)>,
    /// Offset and length of what nobody needs any more.
    pub holes: Vec<(u64, u64)>,
}

impl Dead {
    /// A run that is on the disk already.
    pub fn found(&mut self, offset: u64, len: u64) {
        self.0.insert(offset, len);
    }

    /// What to do so that `places` are dead, too. Nothing is remembered before `done`.
    pub fn plan(&self, places: &[Place]) -> Deeds {
        let mut runs = self.0.clone();
        let mut fresh: Vec<(u64, u64)> = places
            .iter()
            .map(|place| (place.offset(), place.slot()))
            .collect();
        fresh.sort_unstable();
        for (offset, len) in &fresh {
            // A deletion that is repeated must not make its run shorter.
            runs.entry(*offset).or_insert(*len);
        }
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (offset, len) in runs {
            match joined.last_mut() {
                Some((from, so_far)) if *from + *so_far == offset => *so_far += len,
                _ => joined.push((offset, len)),
            }
        }
        let changed = |(offset, len): &(u64, u64)| self.0.get(offset) != Some(len);
        let marks: Vec<(u64, u64)> = joined.into_iter().filter(changed).collect();
        let holes = marks
            .iter()
            .flat_map(|(offset, len)| self.holes(*offset, *len))
            .collect();
        Deeds { marks, holes }
    }

    /// The parts of a run that are no holes yet, but for its own first page.
    fn holes(&self, offset: u64, len: u64) -> Vec<(u64, u64)> {
        let (mut holes, mut at, end) = (Vec::new(), offset + SLOT_ALIGN, offset + len);
        for (old, old_len) in self.0.range(offset..end) {
            // Of a run that is absorbed only the page with its mark is left.
            let marked = if *old == offset { *old } else { *old + SLOT_ALIGN };
            if marked > at {
                holes.push((at, marked - at));
            }
            at = at.max(old + old_len);
        }
        if end > at {
            holes.push((at, end - at));
        }
        holes
    }

    /// The marks are durable.
    pub fn done(&mut self, marks: &[(u64, u64)]) {
        for (offset, len) in marks {
            let absorbed: Vec<u64> = self.0.range(*offset..offset + len).map(|(at, _)| *at).collect();
            for at in absorbed {
                self.0.remove(&at);
            }
            self.0.insert(*offset, *len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::chunk::header::Layout;

    const PAGE: u64 = SLOT_ALIGN;

    fn slot(page: u64, pages: u64) -> Place {
        // The content that makes a slot of so many pages with its header of one sector.
        Place::new(0, page * PAGE, (pages * PAGE - 512) as u32, Layout::Blocks)
    }

    fn kill(dead: &mut Dead, places: &[Place]) -> Deeds {
        let deeds = dead.plan(places);
        dead.done(&deeds.marks);
        let pages = |runs: &[(u64, u64)]| runs.iter().map(|(at, len)| (at / PAGE, len / PAGE)).collect();
        Deeds {
            marks: pages(&deeds.marks),
            holes: pages(&deeds.holes),
        }
    }

    #[test]
    fn neighbours_become_one_run_and_keep_one_page() {
        let mut dead = Dead::default();
        let deeds = kill(&mut dead, &[slot(5, 1), slot(1, 2)]);
        assert_eq!(deeds.marks, [(1, 2), (5, 1)]);
        assert_eq!(deeds.holes, [(2, 1)]);
        // Between the two: the first run's mark grows over both, whose pages go.
        let deeds = kill(&mut dead, &[slot(3, 2)]);
        assert_eq!(deeds.marks, [(1, 5)]);
        assert_eq!(deeds.holes, [(3, 3)]);
        // Before a run: its mark's page goes as well.
        let deeds = kill(&mut dead, &[slot(0, 1)]);
        assert_eq!((deeds.marks, deeds.holes), (vec![(0, 6)], vec![(1, 1)]));
        assert_eq!(kill(&mut dead, &[]), Deeds::default());
        let deeds = kill(&mut dead, &[slot(8, 1), slot(7, 1), slot(9, 4)]);
        assert_eq!((deeds.marks, deeds.holes), (vec![(7, 6)], vec![(8, 5)]));
    }
}
