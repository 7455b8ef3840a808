//! What a range of a file consists of: its extents, with what is not committed laid over them. Pure.

use crate::inode::State;
use bytes::Bytes;
use dfs_core::extents::ExtentMap;
use dfs_core::ids::ChunkId;

/// A run of bytes and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Here(Bytes),
    /// A hole, or allocated and never written.
    Zeros(u64),
    Chunk {
        chunk: ChunkId,
        offset: u32,
        len: u32,
    },
}

/// The pieces of `[start, end)` in order, gapless. The extents of the range must be known.
pub(crate) fn pieces(state: &State, start: u64, end: u64) -> Vec<Piece> {
    if state.content.is_clean() {
        return from_extents(&state.extents.map, start, end);
    }
    // Layers that are not committed, oldest first.
    let mut layers: Vec<(u64, Bytes)> = Vec::new();
    for flight in &state.content.flights {
        for (offset, data) in &flight.segments {
            lay(&mut layers, start, end, *offset, data.clone());
        }
    }
    state.content.dirty.overlay(start, end, &mut |offset, data| {
        lay(&mut layers, start, end, offset, Bytes::copy_from_slice(data));
    });
    let mut all = Vec::with_capacity(layers.len() * 2 + 1);
    let mut place = start;
    for (offset, data) in layers {
        if place < offset {
            all.extend(from_extents(&state.extents.map, place, offset));
        }
        place = offset + data.len() as u64;
        all.push(Piece::Here(data));
    }
    if place < end {
        all.extend(from_extents(&state.extents.map, place, end));
    }
    all
}

/// The pieces of `[start, end)` as they are in chunks, whatever lies over them.
pub(crate) fn of_chunks(state: &State, start: u64, end: u64) -> Vec<Piece> {
    from_extents(&state.extents.map, start, end)
}

/// Lays a run over the others, which are in order and do not overlap.
fn lay(layers: &mut Vec<(u64, Bytes)>, start: u64, end: u64, offset: u64, data: Bytes) {
    let from = offset.max(start);
    let to = (offset + data.len() as u64).min(end);
    if from >= to {
        return;
    }
    let data = data.slice((from - offset) as usize..(to - offset) as usize);
    let first = layers.partition_point(|(at, old)| at + old.len() as u64 <= from);
    let last = layers.partition_point(|(at, _)| *at < to);
    let mut replaced = Vec::with_capacity(3);
    if let Some((at, old)) = layers[first..last].first().filter(|(at, _)| *at < from) {
        replaced.push((*at, old.slice(..(from - at) as usize)));
    }
    replaced.push((from, data));
    if let Some((at, old)) = layers[first..last]
        .last()
        .filter(|(at, old)| at + old.len() as u64 > to)
    {
        replaced.push((to, old.slice((to - at) as usize..)));
    }
    layers.splice(first..last, replaced);
}

fn from_extents(extents: &ExtentMap, start: u64, end: u64) -> Vec<Piece> {
    let run = |(range, extent): (std::ops::Range<u64>, Option<dfs_core::types::Extent>)| match extent {
        Some(extent) if extent.chunk != ChunkId::ZEROS => Piece::Chunk {
            chunk: extent.chunk,
            offset: extent.chunk_offset,
            len: extent.len as u32,
        },
        _ => Piece::Zeros(range.end - range.start),
    };
    extents.lookup(start, end - start).map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::ids::SetId;
    use dfs_core::types::Extent;
    use proptest::prelude::*;

    const LEN: usize = 200;

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, usize),
        Seal,
        /// The oldest flight is committed.
        Land,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0usize..LEN - 50, 1usize..50).prop_map(|(at, len)| Step::Write(at, len)),
            2 => Just(Step::Seal),
            1 => Just(Step::Land),
        ]
    }

    /// Runs the steps on a state, a store of chunks, and a byte array.
    fn play(steps: &[Step]) -> (State, Vec<Vec<u8>>, Vec<u8>) {
        let mut state = State::default();
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        let mut model = vec![0u8; LEN];
        for (number, step) in steps.iter().enumerate() {
            let byte = (number % 250) as u8 + 1;
            match step {
                Step::Write(at, len) => {
                    state.content.dirty.write(*at as u64, &vec![byte; *len]);
                    model[*at..at + len].fill(byte);
                }
                Step::Seal => {
                    state.content.seal(u64::MAX);
                }
                Step::Land => {
                    if let Some(flight) = state.content.flights.front().cloned() {
                        let chunk = ChunkId {
                            set: SetId(1),
                            seq: chunks.len() as u64,
                        };
                        flight.extents(chunk, 0).into_iter().for_each(|extent: Extent| {
                            state.extents.map.insert(extent);
                        });
                        chunks.push(
                            flight
                                .segments
                                .iter()
                                .flat_map(|(_, data)| data.to_vec())
                                .collect(),
                        );
                        state.content.land(flight.number);
                    }
                }
            }
        }
        (state, chunks, model)
    }

    proptest! {
        #[test]
        fn layers_read_as_the_byte_array_does(
            steps in prop::collection::vec(step(), 1..60),
            start in 0usize..LEN,
            len in 0usize..LEN,
        ) {
            let (state, chunks, model) = play(&steps);
            let end = (start + len).min(LEN);
            let mut read = Vec::new();
            for piece in pieces(&state, start as u64, end as u64) {
                match piece {
                    Piece::Here(data) => read.extend_from_slice(&data),
                    Piece::Zeros(len) => read.resize(read.len() + len as usize, 0),
                    Piece::Chunk { chunk, offset, len } => {
                        read.extend_from_slice(&chunks[chunk.seq as usize][offset as usize..(offset + len) as usize]);
                    }
                }
            }
            prop_assert_eq!(&read[..], &model[start..end]);
        }
    }
}
