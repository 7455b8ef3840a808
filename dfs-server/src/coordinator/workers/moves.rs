//! What the cleaner moves: extents of chunks that are to go, and runs of many small extents, gathered while all extents
//! are walked in the order of their keys. Knows no store and no datanode.

use dfs_core::chunk::CHUNK_MAX;
use dfs_core::ids::{ChunkId, Ino, SetId};
use dfs_core::op::Move;
use dfs_core::types::Extent;
use std::collections::{BTreeMap, BTreeSet};

/// A file with more extents than this, on average shorter than that, is compacted.
const FRAGMENTS: usize = 1000;
const FRAGMENT_MEAN: u64 = 64 << 10;
/// Fewer extents in a row are not worth a copy; so many become one, so that a file is soon compact for good.
const RUN_MIN: usize = 16;
/// Extents of one file looked at together.
const WINDOW: usize = 4096;
/// Most extents and files in one chunk: what one operation changes, and whose leases it recalls.
const BATCH_EXTENTS: usize = 4096;
const BATCH_MOVES: usize = 512;

/// Extents of one file without a gap, all of chunks of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub ino: Ino,
    pub content: u64,
    pub old: Vec<Extent>,
}

impl Run {
    fn bytes(&self) -> u64 {
        match (self.old.first(), self.old.last()) {
            (Some(first), Some(last)) => last.end() - first.offset,
            _ => 0,
        }
    }

    fn takes(&self, extent: &Extent) -> bool {
        self.old.last().is_some_and(|last| {
            last.end() == extent.offset
                && last.chunk.set == extent.chunk.set
                && self.bytes() + extent.len <= u64::from(CHUNK_MAX)
        })
    }
}

/// The content of one new chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub runs: Vec<Run>,
    pub len: u64,
    extents: usize,
}

impl Batch {
    fn has_room(&self, run: &Run) -> bool {
        self.len + run.bytes() <= u64::from(CHUNK_MAX)
            && self.extents + run.old.len() <= BATCH_EXTENTS
            && self.runs.len() < BATCH_MOVES
    }

    fn push(&mut self, run: Run) {
        self.len += run.bytes();
        self.extents += run.old.len();
        self.runs.push(run);
    }

    /// Where the extents go, once their bytes are in the new chunk in this order.
    pub fn moves(&self) -> Vec<Move> {
        let mut at = 0;
        let one = |run: &Run| {
            let chunk_offset = at;
            at += run.bytes() as u32;
            Move {
                ino: run.ino,
                content: run.content,
                old: run.old.clone(),
                chunk_offset,
            }
        };
        self.runs.iter().map(one).collect()
    }
}

/// Collects runs from extents that come file by file.
pub struct Gatherer {
    victims: BTreeSet<ChunkId>,
    /// Sets that take new chunks now.
    sets: BTreeSet<SetId>,
    file: Option<(Ino, u64)>,
    window: Vec<Extent>,
    runs: Vec<Run>,
    bytes: u64,
    bytes_max: u64,
}

impl Gatherer {
    pub fn new(victims: BTreeSet<ChunkId>, sets: BTreeSet<SetId>, bytes_max: u64) -> Gatherer {
        Gatherer {
            victims,
            sets,
            file: None,
            window: Vec::new(),
            runs: Vec::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    pub fn add(&mut self, ino: Ino, content: u64, extent: Extent) {
        if self.file != Some((ino, content)) || self.window.len() >= WINDOW {
            self.end_window();
            self.file = Some((ino, content));
        }
        self.window.push(extent);
    }

    fn end_window(&mut self) {
        let window = std::mem::take(&mut self.window);
        let Some((ino, content)) = self.file else {
            return;
        };
        let bytes: u64 = window.iter().map(|extent| extent.len).sum();
        let fragmented = window.len() > FRAGMENTS && bytes / (window.len() as u64) < FRAGMENT_MEAN;
        let mut runs: Vec<Run> = Vec::new();
        for extent in window {
            let victim = self.victims.contains(&extent.chunk);
            let small = fragmented && extent.len < FRAGMENT_MEAN && extent.chunk != ChunkId::ZEROS;
            if !(victim || small) || !self.sets.contains(&extent.chunk.set) {
                continue;
            }
            match runs.last_mut().filter(|run| run.takes(&extent)) {
                Some(run) => run.old.push(extent),
                None => runs.push(Run {
                    ino,
                    content,
                    old: vec![extent],
                }),
            }
        }
        let holds_victim = |run: &Run| run.old.iter().any(|extent| self.victims.contains(&extent.chunk));
        runs.retain(|run| run.old.len() >= RUN_MIN || holds_victim(run));
        self.bytes += runs.iter().map(Run::bytes).sum::<u64>();
        self.runs.extend(runs);
    }

    /// What goes to one new chunk each, by set.
    pub fn finish(mut self) -> Vec<(SetId, Batch)> {
        self.end_window();
        let mut open: BTreeMap<SetId, Batch> = BTreeMap::new();
        let mut full = Vec::new();
        for run in self.runs {
            let set = run.old[0].chunk.set;
            let batch = open.entry(set).or_default();
            if !batch.has_room(&run) {
                full.push((set, std::mem::take(batch)));
            }
            batch.push(run);
        }
        full.extend(open);
        full.retain(|(_, batch)| !batch.runs.is_empty());
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(set: u32, seq: u64) -> ChunkId {
        ChunkId { set: SetId(set), seq }
    }

    fn extent(offset: u64, len: u64, chunk: ChunkId) -> Extent {
        Extent {
            offset,
            len,
            chunk,
            chunk_offset: 7,
        }
    }

    fn gatherer(victims: &[ChunkId]) -> Gatherer {
        let sets = [SetId(1), SetId(2)].into();
        Gatherer::new(victims.iter().copied().collect(), sets, 1 << 30)
    }

    #[test]
    fn what_refers_to_a_victim_goes_to_a_chunk_of_its_set() {
        let (one, two, other) = (chunk(1, 1), chunk(2, 1), chunk(3, 1));
        let mut all = gatherer(&[one, two, other]);
        all.add(Ino(5), 0, extent(0, 10, one));
        all.add(Ino(5), 0, extent(10, 10, one));
        all.add(Ino(5), 0, extent(30, 10, one));
        all.add(Ino(5), 0, extent(40, 10, two));
        all.add(Ino(6), 1, extent(0, 10, chunk(1, 2)));
        all.add(Ino(6), 1, extent(10, 4, one));
        all.add(Ino(7), 0, extent(0, 4, other));
        let batches = all.finish();
        let sets: Vec<_> = batches.iter().map(|(set, batch)| (set.0, batch.len)).collect();
        assert_eq!(sets, [(1, 34), (2, 10)], "set 3 takes nothing now");
        let moves = batches[0].1.moves();
        let places: Vec<_> = moves
            .iter()
            .map(|moved| (moved.ino.0, moved.content, moved.old.len(), moved.chunk_offset))
            .collect();
        assert_eq!(places, [(5, 0, 2, 0), (5, 0, 1, 20), (6, 1, 1, 30)]);
    }

    #[test]
    fn a_file_of_many_small_extents_is_compacted_and_one_of_few_is_left() {
        let mut all = gatherer(&[]);
        for ino in [5, 6, 7] {
            for n in 0..1100 {
                // Neighbours in another set cannot be joined.
                let set = if ino == 6 { 1 + (n % 2) as u32 } else { 1 };
                let len = if ino == 7 { 1 << 20 } else { 4096 };
                all.add(Ino(ino), 0, extent(n * len, len, chunk(set, n)));
            }
        }
        let batches = all.finish();
        let runs: Vec<_> = batches.iter().flat_map(|(_, batch)| &batch.runs).collect();
        assert_eq!(runs.len(), 1);
        assert_eq!((runs[0].ino, runs[0].old.len()), (Ino(5), 1100));
    }

    #[test]
    fn no_chunk_becomes_too_large() {
        let victims: Vec<ChunkId> = (0..40).map(|n| chunk(1, n)).collect();
        let mut all = gatherer(&victims);
        for n in 0..40 {
            all.add(Ino(5), 0, extent(n << 20, 1 << 20, chunk(1, n)));
        }
        let batches = all.finish();
        assert_eq!(batches.len(), 5);
        assert!(batches.iter().all(|(_, batch)| batch.len <= u64::from(CHUNK_MAX)));
    }
}
